/** The snapshot that a server would make of a session, from a transcript of its whole log. */
import type { ToolItem, Transcript } from '../../../client-sdk/index.js';
import type { Block } from '../../../protocol/events.js';
import type { Message, OpenCall, Snapshot } from '../../../protocol/resources.js';

const AT = '2026-01-01T00:00:00.000Z';

export function toSnapshot(state: Transcript, epoch: string): Snapshot {
  const partial = state.items.find((item) => item.kind === 'assistant' && item.status === 'streaming');
  return {
    session: {
      ...{ type: 'session', id: state.sessionId, status: state.turn ? 'running' : 'idle', title: state.title },
      metadata: {},
      members: [],
      agent: {
        ...{ type: 'agent', name: 'default', model: 'm', system: null, tools: [] },
        ...{ max_tokens: 1, max_steps: 1, deadline_ms: 1 },
      },
      ...{ created_at: AT, updated_at: AT, epoch, head_seq: state.seq, usage: state.usage, cost_usd: state.costUsd },
    },
    seq: state.seq,
    messages: toMessages(state),
    ...(state.turn && {
      turn: {
        turn_id: state.turn.turnId,
        message_id: state.turn.messageId ?? '',
        status: state.turn.status === 'waiting' ? ('waiting' as const) : ('streaming' as const),
        step: state.turn.step,
        model: state.turn.model,
        started_at: state.turn.startedAt,
        deadline_at: state.turn.deadlineAt,
      },
    }),
    queue: state.queue.map(({ turnId, messageId, position, content, userId }) => ({
      turn_id: turnId,
      message_id: messageId,
      position,
      content: [...content],
      user_id: userId ?? '',
    })),
    ...(partial?.kind === 'assistant' && { partial: { event_id: partial.id, content: [...partial.content] } }),
    pending: state.items.flatMap((item) => (item.kind === 'tool' ? toOpenCall(item) : [])),
    tools: [],
    ...(state.idleReason && { idle_reason: state.idleReason }),
    usage: state.usage,
  };
}

function toOpenCall(item: ToolItem): OpenCall[] {
  const isUnoffered = item.status === 'planned' && item.type === 'agent.custom_tool_use';
  if (item.status !== 'waiting_approval' && item.status !== 'offered' && !isUnoffered) return [];
  return [
    {
      kind: item.status === 'waiting_approval' ? 'confirmation' : 'tool_result',
      tool_use_id: item.id,
      type: item.type,
      name: item.name,
      label: item.label,
      input: item.input,
      expires_at: item.expiresAt ?? AT,
      ...(item.connectionId && { connection_id: item.connectionId }),
    },
  ];
}

function toMessages({ items }: Transcript): Message[] {
  const messages: Message[] = [];
  const push = (role: Message['role'], block: Block): void => {
    const last = messages.at(-1);
    if (last?.role === role) last.content.push(block);
    else messages.push({ role, content: [block] });
  };
  for (const [at, item] of items.entries()) {
    if (item.kind === 'user') for (const block of item.content) push('user', block);
    if (item.kind === 'assistant' && item.status !== 'streaming')
      for (const block of item.content) push('assistant', block);
    if (item.kind === 'tool' && item.status !== 'writing')
      push('assistant', { type: 'tool_use', id: item.id, name: item.name, input: item.input });
    // The results of a step's calls follow its last block (TURN-3).
    const next = items[at + 1];
    const isStepOver =
      'step' in item && !(next && 'step' in next && next.turnId === item.turnId && next.step === item.step);
    if (isStepOver)
      for (const call of items)
        if (call.kind === 'tool' && call.turnId === item.turnId && call.step === item.step && call.result)
          push('user', toResult(call));
  }
  return messages;
}

const toResult = ({ id, result }: ToolItem): Block => ({
  type: 'tool_result',
  tool_use_id: id,
  content: result?.content,
  ...(result?.isError && { is_error: true }),
});
