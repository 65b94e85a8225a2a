/** The transcript that a snapshot says: the last messages, what runs, what waits. */
import type { Block } from '../../protocol/events.js';
import type { Message, OpenCall, Snapshot } from '../../protocol/resources.js';
import { toPositions } from './fold.js';
import { findItem, putItem, SNAPSHOT_ID } from './items.js';
import { emptyTranscript, type ToolItem, type Transcript, type TranscriptItem, ZERO_USAGE } from './transcript.js';

export function fromSnapshot(snapshot: Snapshot, epoch: string): Transcript {
  const { session, seq, usage, pending, partial, idle_reason: idleReason } = snapshot;
  const turnId = snapshot.turn?.turn_id;
  const turn = snapshot.turn && {
    turnId: snapshot.turn.turn_id,
    messageId: snapshot.turn.message_id,
    status: snapshot.turn.status === 'waiting' ? ('waiting' as const) : ('running' as const),
    step: snapshot.turn.step,
    model: snapshot.turn.model,
    startedAt: snapshot.turn.started_at,
    deadlineAt: snapshot.turn.deadline_at,
    usage: ZERO_USAGE,
    costUsd: 0,
  };
  let items: readonly TranscriptItem[] = toItems(snapshot.messages);
  if (turn) items = reopenCalls(placeRunningStep(items, turn), pending, turn.turnId);
  if (partial) items = putItem(items, toStreaming(partial, turnId, turn?.step));
  const queue = snapshot.queue.map(({ turn_id, message_id, position, content, user_id }) => ({
    turnId: turn_id,
    messageId: message_id,
    position,
    content,
    userId: user_id,
  }));
  const isWaiting = turn?.status === 'waiting';
  return {
    ...emptyTranscript(session.id),
    epoch,
    seq,
    title: session.title,
    status: isWaiting ? 'requires_action' : turn ? 'running' : 'idle',
    idleReason,
    items,
    turn,
    queue: toPositions(queue, turn),
    usage,
    costUsd: session.cost_usd,
  };
}

function toStreaming(
  { event_id: id, content }: NonNullable<Snapshot['partial']>,
  turnId: string | undefined,
  step: number | undefined,
): TranscriptItem {
  const place = { id, turnId, step, index: undefined };
  const [first] = content;
  if (first?.type === 'thinking')
    return { kind: 'thinking', ...place, text: String(first['thinking'] ?? ''), status: 'streaming' };
  return { kind: 'assistant', ...place, content, status: 'streaming' };
}

function toItems(messages: readonly Message[]): TranscriptItem[] {
  const items: TranscriptItem[] = [];
  messages.forEach(({ role, content }, at) => {
    const said = content.filter(({ type }) => type !== 'tool_result');
    for (const block of content) if (block.type === 'tool_result') addResult(items, block);
    if (role === 'user') {
      if (said.length > 0) items.push(toUserItem(`${SNAPSHOT_ID}${at}`, said));
      return;
    }
    items.push(...said.map((block, index) => toAgentItem(`${SNAPSHOT_ID}${at}.${index}`, block)));
  });
  return items;
}

const NOWHERE = { turnId: undefined, step: undefined, index: undefined };

const toUserItem = (id: string, content: readonly Block[]): TranscriptItem => ({
  kind: 'user',
  id,
  turnId: undefined,
  content,
  userId: undefined,
  isSteer: false,
});

function toAgentItem(id: string, block: Block): TranscriptItem {
  const place = { id, ...NOWHERE };
  switch (block.type) {
    case 'thinking':
      return { kind: 'thinking', ...place, text: String(block['thinking'] ?? ''), status: 'complete' };
    case 'redacted_thinking':
      return { kind: 'thinking', ...place, text: '', status: 'redacted' };
    case 'tool_use': {
      const name = String(block['name']);
      const input = (block['input'] ?? {}) as Record<string, unknown>;
      return {
        kind: 'tool',
        ...place,
        // The history of a snapshot names a call by its event.
        id: String(block['id']),
        type: 'agent.tool_use',
        name,
        label: name,
        input,
        inputJson: '',
        status: 'done',
      };
    }
    default:
      return { kind: 'assistant', ...place, content: [block], status: 'complete' };
  }
}

function addResult(items: TranscriptItem[], block: Block): void {
  const at = findItem(items, String(block['tool_use_id']));
  const item = items[at];
  if (item?.kind !== 'tool') return;
  const content = (Array.isArray(block['content']) ? block['content'] : []) as Block[];
  const isError = block['is_error'] === true;
  items[at] = { ...item, result: { content, isError, outcome: undefined, durationMs: undefined } };
}

/** What follows the last word of the user and the last result is the running step's: it may yet be superseded. */
function placeRunningStep(
  items: readonly TranscriptItem[],
  { turnId, step }: { turnId: string; step: number },
): readonly TranscriptItem[] {
  const from = items.findLastIndex((item) => item.kind === 'user' || (item.kind === 'tool' && item.result)) + 1;
  return items.map((item, at) => (at >= from && 'step' in item ? { ...item, turnId, step } : item));
}

/** Calls without a result belong to the running step: they wait for somebody, or run. */
function reopenCalls(
  items: readonly TranscriptItem[],
  pending: readonly OpenCall[],
  turnId: string,
): readonly TranscriptItem[] {
  const isOpen = (item: TranscriptItem): item is ToolItem => item.kind === 'tool' && item.result === undefined;
  const running = items.map(
    (item): TranscriptItem => (isOpen(item) ? { ...item, turnId, status: 'running' as const } : item),
  );
  return pending.reduce<readonly TranscriptItem[]>((all, call) => putItem(all, toWaiting(call, turnId)), running);
}

const toWaiting = (call: OpenCall, turnId: string): ToolItem => ({
  kind: 'tool',
  id: call.tool_use_id,
  turnId,
  step: undefined,
  index: undefined,
  type: call.type,
  name: call.name,
  label: call.label,
  input: call.input,
  inputJson: '',
  status: call.kind === 'confirmation' ? 'waiting_approval' : call.connection_id === undefined ? 'planned' : 'offered',
  expiresAt: call.expires_at,
  ...(call.connection_id !== undefined && { connectionId: call.connection_id }),
});
