/** Folds what is being streamed: text, thinking and tool inputs that are not complete yet. */
import type { Block, DeltaEvent, EventOf } from '../../protocol/events.js';
import { changeItem, findItem, putItem } from './items.js';
import type { ToolItem, Transcript, TranscriptItem } from './transcript.js';

export function foldStart(state: Transcript, event: EventOf<'event_start'>): Transcript {
  const { id, type } = event.event;
  if (findItem(state.items, id) >= 0) return state;
  const place = { id, turnId: event.turn_id, step: event.step, index: event.index };
  const item = toStartedItem(type, place);
  return item ? { ...state, items: putItem(state.items, item) } : state;
}

type Place = Pick<ToolItem, 'id' | 'turnId' | 'step' | 'index'>;

function toStartedItem(type: string, place: Place): TranscriptItem | undefined {
  switch (type) {
    case 'agent.message':
      return { kind: 'assistant', ...place, content: [], status: 'streaming' };
    case 'agent.thinking':
      return { kind: 'thinking', ...place, text: '', status: 'streaming' };
    case 'agent.tool_use':
    case 'agent.mcp_tool_use':
    case 'agent.custom_tool_use':
      return { kind: 'tool', ...place, type, name: '', label: '', input: {}, inputJson: '', status: 'writing' };
    default:
      return undefined;
  }
}

export function foldDelta(state: Transcript, { event_id: id, delta }: DeltaEvent): Transcript {
  switch (delta.type) {
    case 'content_delta':
      return changeItem(state, id, 'assistant', (item) => ({
        ...item,
        content: withText(item.content, delta.index, delta.content.text),
      }));
    case 'thinking_delta':
      return changeItem(state, id, 'thinking', (item) => ({ ...item, text: item.text + delta.thinking }));
    case 'input_json_delta':
      return changeItem(state, id, 'tool', (item) => ({ ...item, inputJson: item.inputJson + delta.partial_json }));
    default:
      return state;
  }
}

function withText(content: readonly Block[], index: number, text: string): readonly Block[] {
  const blocks = content.slice();
  while (blocks.length <= index) blocks.push({ type: 'text', text: '' });
  blocks[index] = { ...blocks[index]!, text: `${blocks[index]!['text'] ?? ''}${text}` };
  return blocks;
}
