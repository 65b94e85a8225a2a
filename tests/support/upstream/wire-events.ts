/** Replies in Anthropic's wire format: the events of a stream, the message of an answer that isn't one, errors. */
import type { MessageReply, ReplyBlock, WireError, WireUsage } from './replies.js';

export type WireEvent = Readonly<{ type: string }> & Readonly<Record<string, unknown>>;

export const toBytes = (event: WireEvent): Buffer =>
  Buffer.from(`event: ${event.type}\ndata: ${JSON.stringify(event)}\n\n`);

export const toErrorEnvelope = (error: WireError, requestId: string): Record<string, unknown> => ({
  type: 'error',
  error,
  request_id: requestId,
});

export const PING: WireEvent = { type: 'ping' };

export function toMessageStart(id: string, model: string, usage: WireUsage): WireEvent {
  const message = { ...emptyMessage(id, model), usage: { ...usage, output_tokens: 1, service_tier: 'standard' } };
  return { type: 'message_start', message };
}

/** The whole stream, lazily. */
export function* toWireEvents(reply: MessageReply, id: string, model: string, usage: WireUsage): Generator<WireEvent> {
  yield toMessageStart(id, model, usage);
  for (const [index, block] of reply.blocks.entries()) {
    yield { type: 'content_block_start', index, content_block: toStart(block) };
    if (index === 0) yield PING;
    for (const delta of toDeltas(block)) yield { type: 'content_block_delta', index, delta };
    yield { type: 'content_block_stop', index };
  }
  const delta = { stop_reason: stopReasonOf(reply), stop_sequence: null };
  yield { type: 'message_delta', delta, usage: { output_tokens: usage.output_tokens } };
  yield { type: 'message_stop' };
}

export function toMessage(reply: MessageReply, id: string, model: string, usage: WireUsage): Record<string, unknown> {
  const content = reply.blocks.map(toWhole);
  return { ...emptyMessage(id, model), content, stop_reason: stopReasonOf(reply), usage };
}

const emptyMessage = (id: string, model: string): Record<string, unknown> => ({
  id,
  type: 'message',
  role: 'assistant',
  model,
  content: [],
  stop_reason: null,
  stop_sequence: null,
});

const stopReasonOf = (reply: MessageReply): string =>
  reply.stop_reason ?? (reply.blocks.some((b) => 'type' in b && b.type === 'tool_use') ? 'tool_use' : 'end_turn');

function toStart(block: ReplyBlock): Readonly<Record<string, unknown>> {
  if ('raw' in block) return block.raw;
  switch (block.type) {
    case 'text':
      return { type: 'text', text: '' };
    case 'thinking':
      return { type: 'thinking', thinking: '', signature: '' };
    case 'tool_use':
      return { type: 'tool_use', id: block.id, name: block.name, input: {} };
  }
}

function toWhole(block: ReplyBlock): Readonly<Record<string, unknown>> {
  if ('raw' in block) return block.raw;
  switch (block.type) {
    case 'text':
      return { type: 'text', text: block.text.repeat(block.repeat ?? 1) };
    case 'thinking':
      return { ...block };
    case 'tool_use':
      return { type: 'tool_use', id: block.id, name: block.name, input: block.input };
  }
}

function* toDeltas(block: ReplyBlock): Generator<Readonly<Record<string, unknown>>> {
  if ('raw' in block) {
    yield* block.deltas ?? [];
    return;
  }
  switch (block.type) {
    case 'text':
      for (const text of textChunks(block)) yield { type: 'text_delta', text };
      return;
    case 'thinking':
      for (const thinking of words(block.thinking)) yield { type: 'thinking_delta', thinking };
      yield { type: 'signature_delta', signature: block.signature };
      return;
    case 'tool_use':
      // The real API begins with an empty one.
      yield { type: 'input_json_delta', partial_json: '' };
      for (const json of pieces(JSON.stringify(block.input), block.chunks ?? 3)) {
        yield { type: 'input_json_delta', partial_json: json };
      }
  }
}

function* textChunks(block: Extract<ReplyBlock, { type: 'text' }>): Generator<string> {
  if (block.repeat !== undefined) for (let n = 0; n < block.repeat; n += 1) yield block.text;
  else if (typeof block.chunks === 'number') yield* pieces(block.text, block.chunks);
  else yield* block.chunks ?? words(block.text);
}

const words = (text: string): readonly string[] => text.match(/\s*\S+\s*$|\s*\S+/g) ?? [];

/** At most `count` pieces of about the same length; characters outside the BMP stay whole. */
function pieces(text: string, count: number): string[] {
  const chars = [...text];
  const size = Math.max(1, Math.ceil(chars.length / count));
  const found: string[] = [];
  for (let at = 0; at < chars.length; at += size) found.push(chars.slice(at, at + size).join(''));
  return found;
}
