/** Builds the Messages-API history from what the log folded to (TURN-3), closing what is open as if the turn ended here. */
import type { Block, Message } from '../../protocol/index.js';
import type { CallBlock, HistoryItem, StepBlock } from './session-state.js';

const NO_RESULT = 'The call has no result: the turn ended before it was there.';
const NOTHING_SAID = 'The tool failed and gave no reason.';
const TOOL_USE_ID = /^[A-Za-z0-9_-]{1,128}$/;

/**
 * What the messages are for. `request`: to be sent to the model. `continuation`: the same, after the provider paused, so
 * that the last assistant message goes back as it came. `reading`: for people, calls under the ids of their events.
 * `snapshot`: the same, where calls without a result are still open.
 */
export type HistoryUse = 'request' | 'continuation' | 'reading' | 'snapshot';

/** The history as the Messages API takes it; thinking only where `model` made it, or all where none is named. */
export function toMessages(items: readonly HistoryItem[], model: string | undefined, use: HistoryUse): Message[] {
  const messages: Message[] = [];
  const usedIds = new Set<string>();
  const isForModel = use === 'request' || use === 'continuation';
  for (const item of items) {
    if (item.kind === 'user') {
      push(messages, 'user', item.content.filter(isSaid));
      continue;
    }
    const calls = item.blocks.filter((block) => block.kind === 'call');
    const ids = new Map(calls.map((call) => [call.id, isForModel ? toUniqueId(call, usedIds) : call.id]));
    const blocks = item.blocks.flatMap((block) => toBlocks(block, model, ids));
    push(messages, 'assistant', blocks);
    const answered = use === 'snapshot' ? calls.filter((call) => call.result) : calls;
    push(
      messages,
      'user',
      answered.map((call) => toResult(call, ids)),
    );
  }
  return closeAssistants(messages, use);
}

function toBlocks(block: StepBlock, model: string | undefined, ids: ReadonlyMap<string, string>): readonly Block[] {
  switch (block.kind) {
    case 'message':
      return block.content.filter(isSaid);
    case 'thinking':
      return model === undefined || block.model === model ? [block.block] : [];
    case 'call':
      return [{ type: 'tool_use', id: ids.get(block.id), name: block.name, input: block.input }];
  }
}

function toResult(call: CallBlock, ids: ReadonlyMap<string, string>): Block {
  const result = call.result ?? { content: [{ type: 'text', text: NO_RESULT }], isError: true };
  const content = result.content.filter(isSaid);
  const block = { type: 'tool_result', tool_use_id: ids.get(call.id) };
  if (!result.isError) return { ...block, content };
  // The API takes text alone in an error, and some of it.
  const texts = content.filter((part) => part.type === 'text');
  return { ...block, content: texts.length > 0 ? texts : [{ type: 'text', text: NOTHING_SAID }], is_error: true };
}

/** A model's ids go back as they came, unless two calls share one. */
function toUniqueId(call: CallBlock, used: Set<string>): string {
  const id = TOOL_USE_ID.test(call.modelToolUseId) && !used.has(call.modelToolUseId) ? call.modelToolUseId : call.id;
  used.add(id);
  return id;
}

const isSaid = (block: Block): boolean => block.type !== 'text' || String(block['text'] ?? '').trim() !== '';

/** Adjacent messages of one role become one, so that roles alternate. */
function push(messages: Message[], role: Message['role'], content: readonly Block[]): void {
  if (content.length === 0) return;
  const last = messages.at(-1);
  if (last?.role === role) last.content.push(...content);
  else messages.push({ role, content: [...content] });
}

/** Leaves out what an assistant message can't end with, or can't hold, once something follows it. */
function closeAssistants(messages: readonly Message[], use: HistoryUse): Message[] {
  const closed: Message[] = [];
  messages.forEach((message, at) => {
    const isOpen = use !== 'request' && use !== 'reading' && at === messages.length - 1;
    const content = message.role === 'user' || isOpen ? message.content : withoutLooseEnds(message.content);
    push(closed, message.role, content);
  });
  return closed;
}

function withoutLooseEnds(content: readonly Block[]): Block[] {
  const answered = new Set(content.map((b) => (b.type.endsWith('_tool_result') ? b['tool_use_id'] : undefined)));
  const kept = content.filter((b) => b.type !== 'server_tool_use' || answered.has(b['id']));
  while (kept.length > 0 && isThinking(kept.at(-1) as Block)) kept.pop();
  return kept;
}

const isThinking = (block: Block): boolean => block.type === 'thinking' || block.type === 'redacted_thinking';
