/** Events between the socket and a `for await` that may be slow, or absent: adjacent deltas are merged, so that it holds no more than the turn's content. */
import type { DeltaEvent, SessionEvent } from '../protocol/events.js';

interface Reader {
  resolve(result: IteratorResult<SessionEvent>): void;
  reject(error: unknown): void;
}

type BufferState =
  | { readonly name: 'open' }
  | { readonly name: 'ended' }
  | { readonly name: 'failed'; readonly error: unknown };

const DONE: IteratorReturnResult<undefined> = { done: true, value: undefined };

export class EventBuffer implements AsyncIterableIterator<SessionEvent> {
  #state: BufferState = { name: 'open' };
  #events: SessionEvent[] = [];
  /** The first unread place in `#events`; what is before it is cut off now and then. */
  #head = 0;
  #readers: Reader[] = [];

  /** Events that wait to be read. */
  get size(): number {
    return this.#events.length - this.#head;
  }

  push(event: SessionEvent): void {
    if (this.#state.name !== 'open') return;
    const reader = this.#readers.shift();
    if (reader) return reader.resolve({ done: false, value: event });
    const last = this.size > 0 ? this.#events[this.#events.length - 1] : undefined;
    const merged = last && merge(last, event);
    if (merged) this.#events[this.#events.length - 1] = merged;
    else this.#events.push(event);
  }

  end(): void {
    if (this.#state.name !== 'open') return;
    this.#state = { name: 'ended' };
    for (const reader of this.#readers.splice(0)) reader.resolve(DONE);
  }

  fail(error: unknown): void {
    if (this.#state.name !== 'open') return;
    this.#state = { name: 'failed', error };
    for (const reader of this.#readers.splice(0)) reader.reject(error);
  }

  next(): Promise<IteratorResult<SessionEvent>> {
    if (this.size > 0) {
      const value = this.#events[this.#head]!;
      this.#head += 1;
      if (this.#head >= 64 && this.#head * 2 >= this.#events.length) {
        this.#events = this.#events.slice(this.#head);
        this.#head = 0;
      }
      return Promise.resolve({ done: false, value });
    }
    if (this.#state.name === 'ended') return Promise.resolve(DONE);
    if (this.#state.name === 'failed') return Promise.reject(this.#state.error);
    return new Promise((resolve, reject) => this.#readers.push({ resolve, reject }));
  }

  /** The reader left its loop: what follows is for nobody. */
  return(): Promise<IteratorResult<SessionEvent>> {
    this.end();
    this.#events = [];
    this.#head = 0;
    return Promise.resolve(DONE);
  }

  [Symbol.asyncIterator](): this {
    return this;
  }
}

/** Two events as one that says the same, where there is one. */
function merge(a: SessionEvent, b: SessionEvent): SessionEvent | undefined {
  if (a.type === 'event_delta' && b.type === 'event_delta') return mergeDeltas(a, b);
  const isSameProgress = a.type === 'tool.progress' && b.type === 'tool.progress' && a.tool_use_id === b.tool_use_id;
  return isSameProgress ? { ...a, ...b, prev_seq: a.prev_seq ?? a.seq - 1 } : undefined;
}

function mergeDeltas(a: DeltaEvent, b: DeltaEvent): DeltaEvent | undefined {
  if (a.event_id !== b.event_id) return undefined;
  const delta = join(a.delta, b.delta);
  return delta && { ...b, prev_seq: a.prev_seq ?? a.seq - 1, delta };
}

type Delta = DeltaEvent['delta'];

function join(a: Delta, b: Delta): Delta | undefined {
  if (a.type === 'content_delta' && b.type === 'content_delta')
    return a.index === b.index ? { ...b, content: { type: 'text', text: a.content.text + b.content.text } } : undefined;
  if (a.type === 'thinking_delta' && b.type === 'thinking_delta')
    return { type: 'thinking_delta', thinking: a.thinking + b.thinking };
  if (a.type === 'input_json_delta' && b.type === 'input_json_delta')
    return { type: 'input_json_delta', partial_json: a.partial_json + b.partial_json };
  return undefined;
}
