/** Reads server-sent events from byte chunks, however they are cut. Lines end in LF or CRLF; a lone CR ends none. */

/** Larger than any event of the Messages API; what is larger is a fault, or an attack on our memory. */
export const MAX_EVENT_BYTES = 16 * 1_024 * 1_024;

const LF = 0x0a;
const BOM = '\ufeff';

export class SseEventTooLarge extends Error {
  override readonly name = 'SseEventTooLarge';
}

export class SseReader {
  readonly #onEvent: (name: string, data: string) => void;
  readonly #maxEventBytes: number;
  /** Bytes of a line whose end has not come. */
  #rest: Buffer[] = [];
  #restBytes = 0;
  #name = '';
  #data: string | undefined;
  #atStart = true;

  /** `onEvent` gets the event's name (empty where it has none) and its data; events without data are left out. */
  constructor(onEvent: (name: string, data: string) => void, maxEventBytes = MAX_EVENT_BYTES) {
    this.#onEvent = onEvent;
    this.#maxEventBytes = maxEventBytes;
  }

  /** Throws `SseEventTooLarge`, and what `onEvent` throws. */
  push(chunk: Buffer): void {
    // LF is never part of a longer UTF-8 character, so whole lines can be decoded at once.
    const end = chunk.lastIndexOf(LF) + 1;
    if (end === 0) {
      this.#keep(chunk);
      return;
    }
    let lines = end === chunk.length ? chunk : chunk.subarray(0, end);
    if (this.#restBytes > 0) {
      lines = Buffer.concat([...this.#rest, lines]);
      this.#rest = [];
      this.#restBytes = 0;
    }
    this.#readLines(lines.toString('utf8'));
    if (end < chunk.length) this.#keep(chunk.subarray(end));
  }

  #keep(bytes: Buffer): void {
    this.#rest.push(bytes);
    this.#restBytes += bytes.length;
    this.#checkSize(this.#restBytes);
  }

  #checkSize(size: number): void {
    if (size > this.#maxEventBytes) throw new SseEventTooLarge(`an event is larger than ${this.#maxEventBytes} bytes`);
  }

  #readLines(text: string): void {
    let at = 0;
    if (this.#atStart) {
      this.#atStart = false;
      if (text.startsWith(BOM)) at = 1;
    }
    while (at < text.length) {
      const lf = text.indexOf('\n', at);
      const end = lf > at && text.charCodeAt(lf - 1) === 0x0d ? lf - 1 : lf;
      if (end === at) this.#dispatch();
      else this.#readField(text, at, end);
      at = lf + 1;
    }
  }

  #readField(text: string, start: number, end: number): void {
    if (text.startsWith('data:', start)) {
      const data = text.slice(text.charCodeAt(start + 5) === 0x20 ? start + 6 : start + 5, end);
      this.#data = this.#data === undefined ? data : `${this.#data}\n${data}`;
      this.#checkSize(this.#data.length);
    } else if (text.startsWith('event:', start)) {
      this.#name = text.slice(text.charCodeAt(start + 6) === 0x20 ? start + 7 : start + 6, end);
    }
    // Comments, `id`, `retry` and unknown fields say nothing to us.
  }

  #dispatch(): void {
    const data = this.#data;
    const name = this.#name;
    this.#data = undefined;
    this.#name = '';
    if (data !== undefined && data !== '') this.#onEvent(name, data);
  }
}
