/** The wire's events → the port's. What the API may add later (events, kinds of delta) is left out; blocks pass as they are. */
import type { Block, Usage } from '../../../protocol/index.js';
import type { ModelEvent } from '../../ports/model.js';

export type WireObject = Readonly<Record<string, unknown>>;

/** The stream is not what the Messages API sends. */
export class MalformedEvent extends Error {
  override readonly name = 'MalformedEvent';
}

export function parseWireEvent(data: string): WireObject {
  let event: unknown;
  try {
    event = JSON.parse(data);
  } catch {
    throw new MalformedEvent('an event of the stream is not JSON');
  }
  return objectOf(event, 'an event');
}

/** The event for the port; undefined where it has none. Throws `MalformedEvent`. */
export function toModelEvent(event: WireObject): ModelEvent | undefined {
  switch (event['type']) {
    case 'content_block_delta':
      return toDelta(indexOf(event), objectOf(event['delta'], 'a delta'));
    case 'content_block_start':
      return { type: 'block_start', index: indexOf(event), block: blockOf(event) };
    case 'content_block_stop':
      return { type: 'block_stop', index: indexOf(event) };
    case 'message_start': {
      const message = objectOf(event['message'], 'message_start');
      return { type: 'message_start', usage: { ...NOTHING_USED, ...usageOf(message['usage']) } };
    }
    case 'message_delta': {
      const stopReason = objectOf(event['delta'], 'message_delta')['stop_reason'];
      const usage = usageOf(event['usage']);
      return { type: 'message_delta', stopReason: typeof stopReason === 'string' ? stopReason : null, usage };
    }
    default:
      return undefined;
  }
}

/** An empty delta says nothing, and is left out. */
function toDelta(index: number, delta: WireObject): ModelEvent | undefined {
  switch (delta['type']) {
    case 'text_delta': {
      const text = stringOf(delta['text'], 'text_delta');
      return text === '' ? undefined : { type: 'text', index, text };
    }
    case 'thinking_delta': {
      const text = stringOf(delta['thinking'], 'thinking_delta');
      return text === '' ? undefined : { type: 'thinking', index, text };
    }
    case 'input_json_delta': {
      const json = stringOf(delta['partial_json'], 'input_json_delta');
      return json === '' ? undefined : { type: 'input_json', index, json };
    }
    case 'signature_delta':
      return { type: 'signature', index, signature: stringOf(delta['signature'], 'signature_delta') };
    case 'citations_delta':
      return { type: 'citation', index, citation: objectOf(delta['citation'], 'citations_delta') };
    default:
      return undefined;
  }
}

const NOTHING_USED: Usage = {
  input_tokens: 0,
  output_tokens: 0,
  cache_creation_input_tokens: 0,
  cache_read_input_tokens: 0,
};
const USAGE_FIELDS = Object.keys(NOTHING_USED) as (keyof Usage)[];

/** The counts that are there; the API sends `null` for what it doesn't count. */
function usageOf(raw: unknown): Partial<Usage> {
  const usage: Partial<Usage> = {};
  if (typeof raw !== 'object' || raw === null) return usage;
  for (const field of USAGE_FIELDS) {
    const count = (raw as WireObject)[field];
    if (typeof count === 'number' && Number.isSafeInteger(count) && count >= 0) usage[field] = count;
  }
  return usage;
}

function blockOf(event: WireObject): Block {
  const block = objectOf(event['content_block'], 'content_block_start');
  if (typeof block['type'] !== 'string') throw new MalformedEvent('a block without a type');
  return block as Block;
}

function indexOf(event: WireObject): number {
  const index = event['index'];
  if (typeof index === 'number' && Number.isInteger(index) && index >= 0) return index;
  throw new MalformedEvent(`${String(event['type'])} without an index`);
}

function stringOf(value: unknown, where: string): string {
  if (typeof value === 'string') return value;
  throw new MalformedEvent(`${where} without its text`);
}

function objectOf(value: unknown, where: string): WireObject {
  if (typeof value === 'object' && value !== null && !Array.isArray(value)) return value as WireObject;
  throw new MalformedEvent(`${where} is no object`);
}
