/** The fold of the log: what each event does to the state. The only place that says so, live and after a crash alike. */
import type { EventOf, LoggedEvent } from '../../protocol/index.js';
import { BOUNDS, NO_USAGE } from '../../protocol/index.js';
import type { DeltaRecord } from './log-record.js';
import {
  addUsage,
  type Call,
  type CallState,
  type HistoryItem,
  isSame,
  type OpenBlock,
  type Participant,
  type PendingSteer,
  type QueuedTurn,
  type SessionState,
  type StepBlock,
  type Turn,
} from './session-state.js';

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
    case 'session.deleted':
      return { ...state, deleted: true };
    default:
      return turn && event.turn_id === turn.turnId ? withTurn(state, applyToTurn(turn, event, at)) : state;
  }
}

/** Folds one delta into the block it belongs to. */
export function applyDelta(before: SessionState, delta: DeltaRecord): SessionState {
  const turn = before.turn;
  if (!turn || turn.turnId !== delta.turnId) return { ...before, seq: delta.seq };
  const open = turn.open.map((block) => (block.id === delta.eventId ? extend(block, delta) : block));
  return { ...before, seq: delta.seq, turn: { ...turn, open } };
}

function extend(block: OpenBlock, delta: DeltaRecord): OpenBlock {
  switch (block.kind) {
    case 'call':
      return { ...block, json: block.json + delta.text };
    case 'thinking':
      return { ...block, thinking: block.thinking + delta.text };
    case 'message': {
      const content = block.content.slice();
      const last = content[delta.index];
      content[delta.index] = { ...last, type: 'text', text: `${last?.['text'] ?? ''}${delta.text}` };
      return { ...block, content };
    }
  }
}

function applyToTurn(turn: Turn, event: LoggedEvent, at: number): Turn {
  switch (event.type) {
    case 'steer.joined': {
      const steer = turn.steers.find((s) => s.steerId === event.steer_id);
      if (!steer) return turn;
      return {
        ...turn,
        steers: turn.steers.filter((s) => s !== steer),
        items: [...turn.items, { kind: 'user', turnId: turn.turnId, id: steer.steerId, content: steer.content }],
      };
    }
    case 'span.model_request_start': {
      const phase = { name: 'streaming', spanId: event.id, spanUsage: NO_USAGE, stopReason: null } as const;
      const step = event.step ?? turn.step;
      const items = step === turn.step ? turn.items : [...turn.items, toStepItem(turn.turnId, step)];
      return { ...turn, step, attempt: event.attempt ?? 1, phase, items, open: [], calls: [] };
    }
    case 'span.model_request_end':
      return onRequestEnd(turn, event);
    case 'event_start':
      return onEventStart(turn, event);
    case 'agent.message':
      return addBlock(turn, event.id, {
        kind: 'message',
        index: event.index ?? 0,
        id: event.id,
        content: event.content,
      });
    case 'agent.thinking': {
      const { thinking, signature, data, model } = event;
      const block =
        data !== undefined ? { type: 'redacted_thinking', data } : { type: 'thinking', thinking, signature };
      return addBlock(turn, event.id, { kind: 'thinking', index: event.index ?? 0, id: event.id, block, model });
    }
    case 'agent.tool_use':
    case 'agent.mcp_tool_use':
    case 'agent.custom_tool_use':
      return onToolUse(turn, event, at);
    case 'tool.offered':
      return setCall(turn, event.tool_use_id, {
        state: { name: 'offered', connectionId: event.connection_id, expiresAt: Date.parse(event.expires_at) },
        begun: true,
      });
    case 'tool.started':
      return setCall(turn, event.tool_use_id, { state: { name: 'started' }, begun: true });
    case 'user.tool_confirmation':
      return onConfirmation(turn, event, at);
    case 'agent.tool_result':
      return onToolResult(turn, event);
    case 'turn.waiting':
      return { ...turn, phase: { name: 'waiting', remainingMs: Math.max(0, turn.deadlineAt - at) } };
    case 'turn.resumed':
      return {
        ...turn,
        deadlineAt: Date.parse(event.deadline_at),
        phase: turn.phase.name === 'waiting' ? { name: 'executing_tools' } : turn.phase,
        recoveries: event.recovery ?? turn.recoveries,
      };
    case 'step.superseded':
      return {
        ...turn,
        phase: { name: 'admitting' },
        open: [],
        calls: [],
        items: turn.items.map((item) => (isStep(item, turn.step) ? { ...item, blocks: [] } : item)),
      };
    default:
      return turn;
  }
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
    phase: { name: 'admitting' },
    items: [{ kind: 'user', turnId: queued.turnId, id: queued.messageId, content: queued.content }],
    open: [],
    calls: [],
    steers: [],
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
    history: turn ? [...state.history, ...toKept(turn, event)] : state.history,
    replayFrom: turn && isHistoryTooLong(state, turn, event) ? toLaterHalf(state) : state.replayFrom,
    ended: [...state.ended, { ...entry, endedSeq: event.seq }],
    usage: addUsage(state.usage, event.usage),
    costNanoUsd: state.costNanoUsd + (turn?.costNanoUsd ?? 0),
  };
}

/** Whether it was the history, and not the message, that didn't fit the model's window: then no message would fit (TURN-5). */
function isHistoryTooLong(state: SessionState, turn: Turn, event: EventOf<'turn.ended'>): boolean {
  const isWindow = event.error?.code === 'context_window_exceeded';
  return isWindow && turn.step <= 1 && sizeOf(turn.items) * 2 < sizeOf(state.history.slice(state.replayFrom));
}

/** The first turn of the later half of what is replayed now. */
function toLaterHalf(state: SessionState): number {
  const { history, replayFrom } = state;
  const starts = history.flatMap((item, at) =>
    at > replayFrom && item.turnId !== history[at - 1]?.turnId ? [at] : [],
  );
  const half = replayFrom + (history.length - replayFrom) / 2;
  return starts.find((at) => at >= half) ?? history.length;
}

const sizeOf = (items: readonly HistoryItem[]): number => JSON.stringify(items).length;

/** What of an ended turn is replayed: nothing that would poison the session (TURN-5). */
function toKept(turn: Turn, event: EventOf<'turn.ended'>): readonly HistoryItem[] {
  const isProduced = turn.items.some((item) => item.kind === 'step' && item.blocks.length > 0);
  const isFailed = event.stop_reason !== 'cancelled' && event.partial && event.error !== undefined;
  if (event.stop_reason === 'refusal') {
    // The provider asks to take a refused exchange back: it would refuse whatever follows it.
    const kept = turn.items.filter((item) => !isStep(item, turn.step));
    return turn.step <= 1 ? [] : kept;
  }
  if (isFailed && !isProduced) return [];
  const isOurs = event.error?.code === 'upstream_refused' || event.error?.code === 'context_window_exceeded';
  return isOurs ? withoutLastAdditions(turn.items) : turn.items;
}

/** Takes back what the refused request added to the last one that was accepted: steers go, results become a note. */
function withoutLastAdditions(items: readonly HistoryItem[]): readonly HistoryItem[] {
  const kept = items.filter((item) => item.kind === 'user' || item.blocks.length > 0);
  while (kept.length > 1 && kept.at(-1)?.kind === 'user') kept.pop();
  const last = kept.at(-1);
  if (last?.kind === 'step') kept[kept.length - 1] = { ...last, blocks: last.blocks.map((b) => replaceResult(b)) };
  return kept;
}

const REPLACED = 'The result was left out: the model’s API did not accept it.';

function replaceResult(block: StepBlock): StepBlock {
  if (block.kind !== 'call' || !block.result) return block;
  return { ...block, result: { content: [{ type: 'text', text: REPLACED }], isError: true } };
}

function onRequestEnd(turn: Turn, event: EventOf<'span.model_request_end'>): Turn {
  const refused = event.refused_tool_use_ids;
  const items = refused
    ? turn.items.map((item) =>
        item.kind === 'step'
          ? { ...item, blocks: item.blocks.map((b) => (refused.includes(b.id) ? replaceResult(b) : b)) }
          : item,
      )
    : turn.items;
  return {
    ...turn,
    items,
    phase: event.is_error ? { name: 'admitting' } : { name: 'executing_tools' },
    open: [],
    usage: addUsage(turn.usage, event.model_usage),
    estimated: turn.estimated || event.estimated,
    costNanoUsd: turn.costNanoUsd + Math.round(event.cost_usd * 1e9),
    resultsReplaced: turn.resultsReplaced || refused !== undefined,
  };
}

function onEventStart(turn: Turn, event: EventOf<'event_start'>): Turn {
  const known = turn.open.find((block) => block.id === event.event.id);
  if (known) {
    if (known.kind === 'call') return turn;
    return { ...turn, open: turn.open.map((block) => (block === known ? { ...known, shown: true } : block)) };
  }
  const base = { index: event.index ?? 0, id: event.event.id };
  switch (event.event.type) {
    case 'agent.message':
      return { ...turn, open: [...turn.open, { kind: 'message', ...base, content: [], shown: true }] };
    case 'agent.thinking':
      return { ...turn, open: [...turn.open, { kind: 'thinking', ...base, thinking: '', signature: '', shown: true }] };
    default:
      // The block of an unfinished call can't be used after a crash; its deltas have nowhere to go.
      return turn;
  }
}

function onToolUse(
  turn: Turn,
  event: EventOf<'agent.tool_use' | 'agent.mcp_tool_use' | 'agent.custom_tool_use'>,
  at: number,
): Turn {
  const expiresAt = event.expires_at === undefined ? at : Date.parse(event.expires_at);
  const call: Call = {
    id: event.id,
    type: event.type,
    name: event.name,
    label: event.label,
    input: event.input,
    edited: false,
    madeAt: at,
    begun: false,
    state: toFirstState(event.type, event.evaluated_permission, expiresAt, at),
  };
  const block: StepBlock = {
    kind: 'call',
    index: event.index ?? 0,
    id: event.id,
    modelToolUseId: event.model_tool_use_id,
    name: event.name,
    input: event.input,
  };
  return { ...addBlock(turn, event.id, block), calls: [...turn.calls, call] };
}

function toFirstState(type: Call['type'], permission: string, expiresAt: number, at: number): CallState {
  if (permission === 'ask') return { name: 'asking', expiresAt };
  return type === 'agent.custom_tool_use' ? { name: 'unoffered', expiresAt, offerAt: at } : { name: 'planned' };
}

function onConfirmation(turn: Turn, event: EventOf<'user.tool_confirmation'>, at: number): Turn {
  const call = turn.calls.find((c) => c.id === event.tool_use_id);
  if (!call || event.result === 'deny') return turn;
  const tool = turn.clientTools.find((t) => t.name === call.name);
  const expiresAt = at + (tool?.timeout_ms ?? BOUNDS.clientToolTimeoutMs);
  const state: CallState =
    call.type === 'agent.custom_tool_use' ? { name: 'unoffered', expiresAt, offerAt: at } : { name: 'planned' };
  return setCall(turn, call.id, {
    state,
    input: event.updated_input ?? call.input,
    edited: event.updated_input !== undefined,
  });
}

function onToolResult(turn: Turn, event: EventOf<'agent.tool_result'>): Turn {
  const result = { content: event.content, isError: event.is_error };
  return {
    ...setCall(turn, event.tool_use_id, { state: { name: 'resolved' } }),
    items: turn.items.map((item) =>
      isStep(item, turn.step)
        ? {
            ...item,
            blocks: item.blocks.map((b) => (b.kind === 'call' && b.id === event.tool_use_id ? { ...b, result } : b)),
          }
        : item,
    ),
  };
}

function setCall(turn: Turn, id: string, patch: Partial<Call>): Turn {
  return { ...turn, calls: turn.calls.map((call) => (call.id === id ? { ...call, ...patch } : call)) };
}

function addBlock(turn: Turn, id: string, block: StepBlock): Turn {
  return {
    ...turn,
    open: turn.open.filter((o) => o.id !== id),
    items: turn.items.map((item) =>
      isStep(item, turn.step) ? { ...item, blocks: [...item.blocks, block].sort((a, b) => a.index - b.index) } : item,
    ),
  };
}

type StepItem = Extract<HistoryItem, { kind: 'step' }>;
const isStep = (item: HistoryItem, step: number): item is StepItem => item.kind === 'step' && item.step === step;
const toStepItem = (turnId: string, step: number): StepItem => ({ kind: 'step', turnId, step, blocks: [] });
const withTurn = (state: SessionState, turn: Turn): SessionState => ({ ...state, turn });
const toParticipant = (actor: { user_id: string } | undefined, state: SessionState): Participant => ({
  user_id: actor?.user_id ?? state.owner.user_id,
  org_id: state.owner.org_id,
});
