/** The resources that a session's state is shown as. */
import { type Block, BOUNDS, type Message, type OpenCall, type Session, type Snapshot } from '../../protocol/index.js';
import { toMessages } from './history.js';
import { type SessionState, type Turn, toUsd } from './session-state.js';
import { expiryOf, isAwaited } from './step-flow.js';
import { time } from './transition.js';

export function toSession(state: SessionState): Session {
  return {
    type: 'session',
    id: state.sessionId,
    status: state.running ? 'running' : 'idle',
    title: state.title,
    metadata: { ...state.metadata },
    agent: state.agent,
    members: [...state.members],
    created_at: time(state.createdAt),
    updated_at: time(state.updatedAt),
    epoch: state.epoch,
    head_seq: state.seq,
    usage: state.usage,
    cost_usd: toUsd(state.costNanoUsd),
  };
}

/** Enough to draw the screen without any earlier event. */
export function toSnapshot(state: SessionState): Snapshot {
  const { turn } = state;
  const messages = toMessages([...state.history, ...(turn?.items ?? [])], undefined, 'snapshot');
  const partial = turn && toPartial(turn);
  const tools = new Map(state.registrations.flatMap((r) => r.tools).map((tool) => [tool.name, tool]));
  return {
    session: toSession(state),
    seq: state.seq,
    messages: messages.slice(-BOUNDS.snapshotMessages).map(withReferences),
    ...(turn && { turn: toTurn(turn) }),
    queue: state.queue.map((queued, at) => ({
      turn_id: queued.turnId,
      message_id: queued.messageId,
      position: at + (turn ? 1 : 0),
      content: queued.content.map(toReference),
      user_id: queued.from.user_id,
    })),
    ...(partial && { partial }),
    pending: turn ? toPending(turn) : [],
    tools: [...tools.values()],
    ...(state.idleReason && { idle_reason: state.idleReason }),
    usage: state.usage,
  };
}

/** The history as people read it. */
export const toReading = (state: SessionState): Message[] =>
  toMessages([...state.history, ...(state.turn?.items ?? [])], undefined, 'reading');

function toTurn(turn: Turn): NonNullable<Snapshot['turn']> {
  return {
    turn_id: turn.turnId,
    message_id: turn.messageId,
    status: turn.phase.name,
    step: turn.step,
    model: turn.request.model,
    started_at: time(turn.startedAt),
    deadline_at: time(turn.deadlineAt),
  };
}

function toPartial(turn: Turn): Snapshot['partial'] {
  const block = turn.open.findLast((open) => open.kind !== 'call' && open.shown);
  if (block?.kind === 'message') return { event_id: block.id, content: [...block.content] };
  if (block?.kind === 'thinking')
    return { event_id: block.id, content: [{ type: 'thinking', thinking: block.thinking }] };
  return undefined;
}

function toPending(turn: Turn): OpenCall[] {
  return turn.calls.filter(isAwaited).map((call) => ({
    kind: call.state.name === 'asking' ? 'confirmation' : 'tool_result',
    tool_use_id: call.id,
    type: call.type,
    name: call.name,
    label: call.label,
    input: { ...call.input },
    expires_at: time(expiryOf(call) ?? call.madeAt),
    ...(call.state.name === 'offered' && { connection_id: call.state.connectionId }),
  }));
}

const withReferences = (message: Message): Message => ({ ...message, content: message.content.map(toReference) });

/** Images and documents are named, not carried: the whole block is in the list of messages. */
function toReference(block: Block): Block {
  const source = block['source'] as { type?: string; media_type?: string; data?: string } | undefined;
  if (source?.type === 'base64' && typeof source.data === 'string') {
    const bytes = Math.floor((source.data.length * 3) / 4);
    return { ...block, source: { type: 'reference', media_type: source.media_type, bytes } };
  }
  if (block.type === 'tool_result' && Array.isArray(block['content']))
    return { ...block, content: (block['content'] as Block[]).map(toReference) };
  return block;
}
