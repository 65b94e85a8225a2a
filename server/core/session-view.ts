/** The fold of the log: what each event does to the state. The only place that says so, live and after a crash alike. */
import { type EventOf, type LoggedEvent, NO_USAGE } from '../../protocol/index.js';
import { isHistoryTooLong, toKept, toLaterHalf, toTrusted } from './kept-history.js';
import { isEditor, withMember } from './membership.js';
import {
  addUsage,
  isSame,
  type Participant,
  type PendingSteer,
  type QueuedTurn,
  type SessionState,
  type Turn,
} from './session-state.js';
import { applyToTurn } from './turn-view.js';

/** Folds one event. Unknown types change nothing but `seq`. */
export function applyEvent(before: SessionState, event: LoggedEvent): SessionState {
  const at = Date.parse(event.processed_at);
  const state: SessionState = { ...before, seq: event.seq, updatedAt: at };
  const turn = state.turn;
  switch (event.type) {
    case 'user.message':
      return onUserMessage(state, event);
    case 'user.steer':
      return turn ? withTurn(state, onSteer(turn, event, state.owner.org_id)) : state;
    case 'turn.queued':
      return onQueued(state, event);
    case 'turn.started':
      return onStarted(state, event, at);
    case 'turn.ended':
      return onEnded(state, event);
    case 'session.status_running':
      return { ...state, running: true, idleReason: undefined };
    case 'session.status_idle':
      return { ...state, running: false, idleReason: event.stop_reason.type };
    case 'session.member_updated':
      return onMemberUpdated(state, event);
    case 'session.deleted':
      return { ...state, deleted: true };
    default:
      return turn && event.turn_id === turn.turnId ? onTurnEvent(state, turn, event, at) : state;
  }
}

/** What somebody steered who may no longer prompt does not join the turn. */
function onMemberUpdated(before: SessionState, event: EventOf<'session.member_updated'>): SessionState {
  const state = { ...before, members: withMember(before.members, event.user_id, event.role) };
  const steers = state.turn?.steers.filter(({ from }) => isEditor(state, from));
  return state.turn && steers ? withTurn(state, { ...state.turn, steers }) : state;
}

function onTurnEvent(state: SessionState, turn: Turn, event: LoggedEvent, at: number): SessionState {
  const next = withTurn(state, applyToTurn(turn, event, at));
  if (event.type !== 'span.model_request_end') return next;
  const current = turn.items.findIndex((item) => item.kind === 'step' && item.step === turn.step);
  const item = turn.items[current];
  // A request that was answered was taken, with everything before the answer.
  return item?.kind === 'step' && item.blocks.length > 0 ? { ...next, proven: state.history.length + current } : next;
}

function onUserMessage(state: SessionState, event: EventOf<'user.message'>): SessionState {
  const from = toParticipant(event.actor, state);
  if (event.steer_id !== undefined && state.turn) {
    const steer = { steerId: event.steer_id, content: event.content, from, commandId: event.command_id };
    return withTurn(state, addSteer(state.turn, steer));
  }
  const queued: QueuedTurn = {
    turnId: event.turn_id ?? '',
    messageId: event.message_id,
    commandId: event.command_id,
    content: event.content,
    from,
    request: {
      model: event.model ?? state.agent.model,
      maxTokens: event.max_tokens ?? state.agent.max_tokens,
      toolChoice: event.tool_choice as QueuedTurn['request']['toolChoice'],
      deadlineMs: event.deadline_ms ?? state.agent.deadline_ms,
      tags: event.tags ?? [],
    },
    isAhead: event.on_busy === 'interrupt',
  };
  return { ...state, queue: queued.isAhead ? [queued, ...state.queue] : [...state.queue, queued] };
}

function onSteer(turn: Turn, event: EventOf<'user.steer'>, orgId: string): Turn {
  const from = { user_id: event.actor?.user_id ?? '', org_id: orgId };
  return addSteer(turn, { steerId: event.steer_id, content: event.content, from, commandId: event.command_id });
}

/** Who steers takes part, so the policy asks for them too (TOOL-1). */
function addSteer(turn: Turn, steer: PendingSteer): Turn {
  const isKnown = turn.participants.some((p) => isSame(p, steer.from));
  const participants = isKnown ? turn.participants : [...turn.participants, steer.from];
  return { ...turn, steers: [...turn.steers, steer], participants };
}

/** A steer that missed its turn becomes a turn of its own; it keeps what the ended turn would have used. */
function onQueued(state: SessionState, event: EventOf<'turn.queued'>): SessionState {
  const steer = state.turn?.steers.find((s) => s.steerId === event.steer_id);
  if (!steer || !state.turn) return state;
  const queued: QueuedTurn = {
    turnId: event.turn_id ?? '',
    messageId: steer.steerId,
    commandId: steer.commandId,
    content: steer.content,
    from: steer.from,
    request: { ...state.turn.request, toolChoice: undefined, deadlineMs: state.agent.deadline_ms },
    isAhead: false,
  };
  const queue = [...state.queue.slice(0, event.position), queued, ...state.queue.slice(event.position)];
  return { ...state, queue, turn: { ...state.turn, steers: state.turn.steers.filter((s) => s !== steer) } };
}

function onStarted(state: SessionState, event: EventOf<'turn.started'>, at: number): SessionState {
  const queued = state.queue.find((q) => q.turnId === event.turn_id);
  if (!queued) return state;
  const turn: Turn = {
    turnId: queued.turnId,
    messageId: queued.messageId,
    commandId: queued.commandId,
    payer: event.payer,
    participants: [queued.from],
    request: { ...queued.request, model: event.model },
    startedAt: at,
    deadlineAt: Date.parse(event.deadline_at),
    serverTools: event.tools,
    clientTools: event.client_tools,
    step: 0,
    attempt: 0,
    phase: { name: 'admitting', step: 1 },
    items: [{ kind: 'user', turnId: queued.turnId, id: queued.messageId, content: queued.content }],
    open: [],
    calls: [],
    steers: [],
    joined: [],
    usage: NO_USAGE,
    estimated: false,
    costNanoUsd: 0,
    recoveries: 0,
    resultsReplaced: false,
  };
  return { ...state, turn, queue: state.queue.filter((q) => q !== queued) };
}

function onEnded(state: SessionState, event: EventOf<'turn.ended'>): SessionState {
  const turn = state.turn?.turnId === event.turn_id ? state.turn : undefined;
  const queued = state.queue.find((q) => q.turnId === event.turn_id);
  const ids = turn ?? queued;
  const entry = { turnId: event.turn_id ?? '', messageId: ids?.messageId ?? '', commandId: ids?.commandId ?? '' };
  return {
    ...state,
    turn: turn ? undefined : state.turn,
    queue: queued ? state.queue.filter((q) => q !== queued) : state.queue,
    history: turn ? [...toTrusted(state, turn, event), ...toKept(turn, event)] : state.history,
    replayFrom: turn && isHistoryTooLong(state, turn, event) ? toLaterHalf(state) : state.replayFrom,
    ended: [...state.ended, { ...entry, endedSeq: event.seq, joined: turn?.joined ?? [] }],
    usage: addUsage(state.usage, event.usage),
    costNanoUsd: state.costNanoUsd + (turn?.costNanoUsd ?? 0),
  };
}

const withTurn = (state: SessionState, turn: Turn): SessionState => ({ ...state, turn });
const toParticipant = (actor: { user_id: string } | undefined, state: SessionState): Participant => ({
  user_id: actor?.user_id ?? state.owner.user_id,
  org_id: state.owner.org_id,
});
