/** Turns a step into what will be streamed when: word-sized deltas, usage, and how it ends. Pure. */
import { type Block, NO_USAGE, type Usage } from '../../../protocol/index.js';
import type { ModelEnd, ModelEvent, ModelRequest } from '../../ports/model.js';
import { toEnd } from './failure.js';
import type { ScriptBlock, ScriptStep } from './script.js';

export interface Beat {
  /** From the start of the request. */
  readonly atMs: number;
  readonly event: ModelEvent;
}

export interface StreamPlan {
  readonly beats: readonly Beat[];
  /** Undefined: it stalls. */
  readonly end: ModelEnd | undefined;
  readonly endAtMs: number;
}

const CHARS_PER_TOKEN = 4;
const MAX_DELTA_CHARS = 24;

export function planStream(step: ScriptStep, request: ModelRequest): StreamPlan {
  const startMs = step.delay_ms ?? 0;
  const failure = step.error && request.attempt <= (step.error.attempts ?? Infinity) ? step.error : undefined;
  if (failure && failure.after_chars === undefined) return { beats: [], end: toEnd(failure), endAtMs: startMs };

  const maxChars = request.maxTokens * CHARS_PER_TOKEN;
  const failsAfter = failure?.after_chars ?? Infinity;
  const isBounded = maxChars < failsAfter;
  const writer = new Writer(startMs, Math.min(failsAfter, maxChars));
  const usage: Usage = { ...NO_USAGE, input_tokens: countInputTokens(request), ...withoutAbsent(step.usage) };
  writer.write({ type: 'message_start', usage: { ...usage, output_tokens: 0 } });
  for (const [index, block] of step.blocks.entries()) {
    writer.write({ type: 'block_start', index, block: toOpening(block, index, request) });
    const isWhole = writeContent(writer, block, index);
    // A failure leaves the block open; `max_tokens` closes it, as the Messages API does.
    if (isWhole || isBounded) writer.write({ type: 'block_stop', index });
    if (!isWhole) break;
  }
  if (failure && !(writer.isFull && isBounded)) {
    return { beats: writer.beats, end: toEnd(failure), endAtMs: writer.atMs };
  }
  const outputTokens = step.usage?.output_tokens ?? Math.min(request.maxTokens, toTokens(writer.chars));
  writer.write({
    type: 'message_delta',
    stopReason: writer.isFull ? 'max_tokens' : (step.stop_reason ?? toStopReason(step)),
    usage: { output_tokens: outputTokens },
  });
  return { beats: writer.beats, end: { type: 'complete' }, endAtMs: writer.atMs };
}

/** Collects beats, and stops taking text when `maxChars` are in. */
class Writer {
  readonly beats: Beat[] = [];
  chars = 0;
  isFull = false;

  constructor(
    public atMs: number,
    readonly maxChars: number,
  ) {}

  write(event: ModelEvent): void {
    this.beats.push({ atMs: this.atMs, event });
  }

  /** Writes text in pieces; false once it is full. */
  stream(text: string, tokensPerSecond: number | undefined, toEvent: (piece: string) => ModelEvent): boolean {
    for (const piece of toPieces(text)) {
      const room = this.maxChars - this.chars;
      const kept = piece.length <= room ? piece : cutWhole(piece, room);
      if (tokensPerSecond !== undefined) this.atMs += 1_000 / tokensPerSecond;
      if (kept !== '') this.write(toEvent(kept));
      this.chars += kept.length;
      if (kept.length < piece.length) {
        this.isFull = true;
        return false;
      }
    }
    return true;
  }
}

function writeContent(writer: Writer, block: ScriptBlock, index: number): boolean {
  switch (block.type) {
    case 'text':
      return writer.stream(block.text, block.tokens_per_second, (text) => ({ type: 'text', index, text }));
    case 'thinking': {
      const isWhole = writer.stream(block.thinking, undefined, (text) => ({ type: 'thinking', index, text }));
      if (isWhole) writer.write({ type: 'signature', index, signature: block.signature ?? 'scripted' });
      return isWhole;
    }
    case 'tool_use':
      return writer.stream(JSON.stringify(block.input), undefined, (json) => ({ type: 'input_json', index, json }));
  }
}

function toOpening(block: ScriptBlock, index: number, { turnId, step }: ModelRequest): Block {
  switch (block.type) {
    case 'text':
      return { type: 'text', text: '' };
    case 'thinking':
      return { type: 'thinking', thinking: '', signature: '' };
    case 'tool_use': {
      const id = block.id ?? `toolu_${turnId.replace(/^turn_/, '').slice(0, 40)}_${step}_${index}`;
      return { type: 'tool_use', id, name: block.name, input: {} };
    }
  }
}

const toStopReason = (step: ScriptStep): string =>
  step.blocks.some((block) => block.type === 'tool_use') ? 'tool_use' : 'end_turn';

/** Words with the space before them; long ones in parts, whole characters each. */
function toPieces(text: string): string[] {
  const words = text.match(/\s*\S+|\s+$/g) ?? [];
  return words.flatMap((word) => {
    if (word.length <= MAX_DELTA_CHARS) return [word];
    const parts: string[] = [];
    let rest = word;
    while (rest !== '') {
      const part = cutWhole(rest, MAX_DELTA_CHARS);
      parts.push(part);
      rest = rest.slice(part.length);
    }
    return parts;
  });
}

/** The first `chars` of a text, one less where that would split a surrogate pair. */
function cutWhole(text: string, chars: number): string {
  const isSplit = /[\ud800-\udbff]/.test(text[chars - 1] ?? '') && chars < text.length;
  return text.slice(0, isSplit ? chars - 1 : chars);
}

const toTokens = (chars: number): number => Math.ceil(chars / CHARS_PER_TOKEN);

export function countInputTokens({ system = '', messages, tools }: ModelRequest): number {
  const said = messages.reduce((sum, { content }) => sum + JSON.stringify(content).length, 0);
  const offered = tools.reduce((sum, tool) => sum + JSON.stringify(tool).length, 0);
  return toTokens(system.length + said + offered);
}

function withoutAbsent(usage: ScriptStep['usage']): Partial<Usage> {
  return Object.fromEntries(Object.entries(usage ?? {}).filter(([, value]) => value !== undefined));
}
