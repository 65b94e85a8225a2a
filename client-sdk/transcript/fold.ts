/** Folds the events of a session into its transcript: pure, and the same whether deltas came singly, merged or not at all. */
import type { EventOf, SessionEvent } from '../../protocol/events.js';
import { foldDelta, foldStart } from './fold-delta.js';
import { foldToolEvent } from './fold-tools.js';
import { dropStep, dropUnfinished, putItem } from './items.js';
import { addUsage, type QueuedItem, type Transcript, type TranscriptTurn, ZERO_USAGE } from './transcript.js';

/** The transcript after `event`. Unknown events change nothing but `seq`. */
export function fold(before: Transcript, event: SessionEvent): Transcript {
  return foldKnown({ ...before, seq: event.seq }, event);
}

function foldKnown(state: Transcript, event: SessionEvent): Transcript {
  switch (event.type) {
    case 'event_delta':
      return foldDelta(state, event);
    case 'event_start':
      return foldStart(state, event);
    case 'user.message':
      return foldUserMessage(state, event);
    case 'user.steer':
      return addSteer(state, event);
    case 'steer.joined':
      return foldJoined(state, event);
    case 'turn.queued':
      return foldQueued(state, event);
    case 'turn.started':
      return foldStarted(state, event);
    case 'turn.waiting':
      return changeTurn(state, event.turn_id, (turn) => ({ ...turn, status: 'waiting' }));
    case 'turn.resumed':
      return changeTurn(state, event.turn_id, (turn) => ({
        ...turn,
        status: 'running',
        deadlineAt: event.deadline_at,
      }));
    case 'span.model_request_start':
      return changeTurn(dropUnfinished(state, event.turn_id), event.turn_id, (turn) => ({
        ...turn,
        step: event.step ?? turn.step,
      }));
    case 'span.model_request_end':
      return changeTurn(dropUnfinished(state, event.turn_id), event.turn_id, (turn) => ({
        ...turn,
        usage: addUsage(turn.usage, event.model_usage),
        costUsd: turn.costUsd + event.cost_usd,
      }));
    case 'agent.message': {
      const { id, turn_id: turnId, step, index, content, status } = event;
      return put(state, { kind: 'assistant', id, turnId, step, index, content, status });
    }
    case 'agent.thinking': {
      const { id, turn_id: turnId, step, index, thinking, data } = event;
      const status = data === undefined ? 'complete' : 'redacted';
      return put(state, { kind: 'thinking', id, turnId, step, index, text: thinking ?? '', status });
    }
    case 'step.superseded':
      return dropStep(state, event);
    case 'turn.ended':
      return foldEnded(state, event);
    case 'session.status_running':
      return { ...state, status: 'running', idleReason: undefined };
    case 'session.status_idle': {
      const { type } = event.stop_reason;
      return { ...state, status: type === 'requires_action' ? type : 'idle', idleReason: type };
    }
    case 'session.error': {
      const { code, message } = event.error;
      return put(state, { kind: 'error', id: event.id, turnId: event.turn_id, code, message });
    }
    case 'session.deleted':
      return { ...state, deleted: true, status: 'idle' };
    case 'budget.warning':
      return { ...state, budgetWarning: event };
    default:
      return foldToolEvent(state, event);
  }
}

const put = (state: Transcript, item: Transcript['items'][number]): Transcript => ({
  ...state,
  items: putItem(state.items, item),
});

function changeTurn(
  state: Transcript,
  turnId: string | undefined,
  change: (turn: TranscriptTurn) => TranscriptTurn,
): Transcript {
  return state.turn && state.turn.turnId === turnId ? { ...state, turn: change(state.turn) } : state;
}

/** Positions follow from the order: everything that is ahead counts, the running turn too. */
export function toPositions(queue: readonly QueuedItem[], turn: TranscriptTurn | undefined): readonly QueuedItem[] {
  const ahead = turn ? 1 : 0;
  return queue.map((item, at) => (item.position === at + ahead ? item : { ...item, position: at + ahead }));
}

const withQueue = (state: Transcript, queue: readonly QueuedItem[]): Transcript => ({
  ...state,
  queue: toPositions(queue, state.turn),
});

function foldUserMessage(state: Transcript, event: EventOf<'user.message'>): Transcript {
  if (event.steer_id !== undefined) return addSteer(state, { ...event, steer_id: event.steer_id });
  const item: QueuedItem = {
    turnId: event.turn_id ?? '',
    messageId: event.message_id,
    position: event.position,
    content: event.content,
    userId: event.actor?.user_id,
  };
  const isAhead = event.on_busy === 'interrupt';
  return withQueue(state, isAhead ? [item, ...state.queue] : [...state.queue, item]);
}

type SteerEcho = Pick<EventOf<'user.steer'>, 'steer_id' | 'turn_id' | 'content' | 'actor'>;

function addSteer(state: Transcript, event: SteerEcho): Transcript {
  const { steer_id: steerId, turn_id: turnId, content, actor } = event;
  return { ...state, steers: [...state.steers, { steerId, turnId, content, userId: actor?.user_id }] };
}

function foldJoined(state: Transcript, event: EventOf<'steer.joined'>): Transcript {
  const steer = state.steers.find(({ steerId }) => steerId === event.steer_id);
  if (!steer) return state;
  const { steerId: id, content, userId } = steer;
  const joined = put(state, { kind: 'user', id, turnId: event.turn_id, content, userId, isSteer: true });
  return { ...joined, steers: state.steers.filter((other) => other !== steer) };
}

/** A steer that missed its turn became a turn of its own. */
function foldQueued(state: Transcript, event: EventOf<'turn.queued'>): Transcript {
  const steer = state.steers.find(({ steerId }) => steerId === event.steer_id);
  if (!steer) return state;
  const { steerId: messageId, content, userId } = steer;
  const item: QueuedItem = { turnId: event.turn_id ?? '', messageId, position: event.position, content, userId };
  const steers = state.steers.filter((other) => other !== steer);
  return withQueue({ ...state, steers }, state.queue.toSpliced(event.position, 0, item));
}

function foldStarted(state: Transcript, event: EventOf<'turn.started'>): Transcript {
  const turnId = event.turn_id ?? '';
  const queued = state.queue.find((item) => item.turnId === turnId);
  const turn: TranscriptTurn = {
    turnId,
    messageId: queued?.messageId,
    status: 'running',
    step: 0,
    model: event.model,
    startedAt: event.processed_at,
    deadlineAt: event.deadline_at,
    usage: ZERO_USAGE,
    costUsd: 0,
  };
  const rest = state.queue.filter((item) => item !== queued);
  const started = withQueue({ ...state, turn }, rest);
  if (!queued) return started;
  const { messageId: id, content, userId } = queued;
  return put(started, { kind: 'user', id, turnId, content, userId, isSteer: false });
}

function foldEnded(state: Transcript, event: EventOf<'turn.ended'>): Transcript {
  const turnId = event.turn_id;
  const isRunning = state.turn?.turnId === turnId;
  const closed = dropUnfinished(state, turnId);
  const rest = withQueue(
    {
      ...closed,
      turn: isRunning ? undefined : state.turn,
      steers: state.steers.filter((steer) => steer.turnId !== turnId),
      usage: addUsage(state.usage, event.usage),
      costUsd: state.costUsd + event.cost_usd,
    },
    state.queue.filter((item) => item.turnId !== turnId),
  );
  // A message that was cancelled in the queue leaves no trace, as in the history.
  if (!isRunning && event.error === undefined) return rest;
  const { id, stop_reason: stopReason, partial, usage, estimated, cost_usd, duration_ms: durationMs, error } = event;
  const end = { stopReason, partial, usage, estimated, costUsd: cost_usd, durationMs, error };
  return put(rest, { kind: 'end', id, turnId, ...end });
}
