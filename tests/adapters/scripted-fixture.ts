/** Runs the scripted model against a clock that moves by hand. */
import type { Message } from '../../protocol/index.js';
import { createScriptedModel, parseScript, type ScriptInput } from '../../server/adapters/scripted/index.js';
import type { Clock } from '../../server/ports/clock.js';
import type { ModelEnd, ModelEvent, ModelRequest, ModelTool } from '../../server/ports/model.js';

export interface Scheduled {
  readonly atMs: number;
  readonly fire: () => void;
}

/** Moves to the next timer when it is told to; counts how many were ever waiting at once. */
export class HandClock implements Pick<Clock, 'schedule'> {
  nowMs = 0;
  mostWaiting = 0;
  readonly #waiting = new Set<Scheduled>();

  get waiting(): number {
    return this.#waiting.size;
  }

  schedule(delayMs: number, fire: () => void) {
    const timer = { atMs: this.nowMs + delayMs, fire };
    this.#waiting.add(timer);
    this.mostWaiting = Math.max(this.mostWaiting, this.#waiting.size);
    return { cancel: () => void this.#waiting.delete(timer) };
  }

  /** Fires the earliest timer; false where none waits. */
  tick(): boolean {
    const [first] = [...this.#waiting].sort((a, b) => a.atMs - b.atMs);
    if (!first) return false;
    this.#waiting.delete(first);
    this.nowMs = first.atMs;
    first.fire();
    return true;
  }
}

export const user = (text: string): Message => ({ role: 'user', content: [{ type: 'text', text }] });
export const assistant = (text: string): Message => ({ role: 'assistant', content: [{ type: 'text', text }] });
export const calls = (...ids: string[]): Message => ({
  role: 'assistant',
  content: ids.map((id) => ({ type: 'tool_use', id, name: 'tool', input: {} })),
});
export const results = (texts: readonly string[], said?: string): Message => ({
  role: 'user',
  content: [
    ...texts.map((text, n) => ({ type: 'tool_result', tool_use_id: `t${n}`, content: [{ type: 'text', text }] })),
    ...(said === undefined ? [] : [{ type: 'text', text: said }]),
  ],
});
export const toolOf = (name: string, schema: Record<string, unknown> = { type: 'object' }): ModelTool => ({
  name,
  description: `The tool ${name}.`,
  input_schema: schema,
});

export const toRequest = (messages: readonly Message[], more: Partial<ModelRequest> = {}): ModelRequest => ({
  model: 'claude-sonnet-5-5',
  maxTokens: 4_096,
  system: undefined,
  tools: [],
  toolChoice: undefined,
  messages,
  sessionId: 'sesn_1',
  turnId: 'turn_abc',
  step: 1,
  attempt: 1,
  ...more,
});

export interface Played {
  readonly events: readonly ModelEvent[];
  readonly batches: readonly (readonly ModelEvent[])[];
  /** When each batch came. */
  readonly times: readonly number[];
  readonly end: ModelEnd | undefined;
  readonly text: string;
  readonly clock: HandClock;
}

/** Plays a request to its end, or until nothing more happens. */
export async function play(script: ScriptInput | undefined, request: ModelRequest): Promise<Played> {
  const clock = new HandClock();
  const model = createScriptedModel({ clock, ...(script ? { script: parseScript(script) } : {}) });
  const batches: (readonly ModelEvent[])[] = [];
  const times: number[] = [];
  let end: ModelEnd | undefined;
  const onEvents = (events: readonly ModelEvent[]): void => {
    batches.push(events);
    times.push(clock.nowMs);
  };
  void model.stream(request, onEvents, new AbortController().signal).then((how) => {
    end = how;
  });
  while (clock.tick());
  await Promise.resolve().then();
  const events = batches.flat();
  return { events, batches, times, end, clock, text: toText(events) };
}

export const toText = (events: readonly ModelEvent[]): string =>
  events.map((event) => (event.type === 'text' ? event.text : '')).join('');

/** The tool calls in a stream, their inputs put together. */
export function toCalls(events: readonly ModelEvent[]): { id: unknown; name: unknown; input: unknown }[] {
  return events.flatMap((event) => {
    if (event.type !== 'block_start' || event.block.type !== 'tool_use') return [];
    const json = events.map((e) => (e.type === 'input_json' && e.index === event.index ? e.json : '')).join('');
    return [{ id: event.block['id'], name: event.block['name'], input: JSON.parse(json) }];
  });
}
