/** One response of Server-Sent Events: headers at once, one write per pull, and word when a full socket drained. */
import type { ServerResponse } from 'node:http';
import { BOUNDS } from '../../../protocol/index.js';

const HEADERS = {
  'Content-Type': 'text/event-stream',
  'Cache-Control': 'no-cache, no-transform',
  Connection: 'keep-alive',
  'X-Accel-Buffering': 'no',
} as const;

/** One event's text. `data` is JSON, so it holds no line break; `id` is where a client resumes. */
export function toSseText(event: string, data: string, id?: string): string {
  return id === undefined ? `event: ${event}\ndata: ${data}\n\n` : `id: ${id}\nevent: ${event}\ndata: ${data}\n\n`;
}

export interface SseStreamDeps {
  readonly res: ServerResponse;
  /** The client went away, or the response ended: called once. */
  readonly onClosed: (stream: SseStream) => void;
}

export class SseStream {
  private pending = '';
  private waiting: (() => void) | undefined;
  private ended = false;
  private readonly res: ServerResponse;

  constructor(deps: SseStreamDeps) {
    const { res } = deps;
    this.res = res;
    res.on('drain', this.drained);
    res.on('error', () => {});
    res.once('close', () => {
      this.ended = true;
      this.waiting = undefined;
      deps.onClosed(this);
    });
    res.writeHead(200, HEADERS);
    res.flushHeaders();
  }

  /** Bytes handed over and not yet taken by the kernel. */
  get backlogBytes(): number {
    return this.ended ? 0 : this.res.writableLength;
  }

  get isOpen(): boolean {
    return !this.ended;
  }

  /** Adds to what `flush` sends. */
  push(text: string): void {
    if (!this.ended) this.pending += text;
  }

  /** Sends what was pushed, as one write. Whether the socket takes more; where it doesn't, `onDrain` is called once it does (LOG-6). */
  flush(onDrain: () => void): boolean {
    this.send();
    if (this.ended || this.res.writableLength <= BOUNDS.socketBufferBytes) return true;
    this.waiting = onDrain;
    return false;
  }

  /** Sends what was pushed, whether the socket is full or not. */
  send(): void {
    if (this.ended || this.pending === '') return;
    const { pending } = this;
    this.pending = '';
    this.res.write(pending);
  }

  /** A line that clients skip and proxies count as life. Left out where the socket is full. */
  comment(): void {
    if (!this.ended && !this.res.writableNeedDrain) this.res.write(': keep-alive\n\n');
  }

  end(): void {
    if (this.ended) return;
    this.send();
    this.ended = true;
    this.res.end();
  }

  private readonly drained = (): void => {
    const { waiting } = this;
    this.waiting = undefined;
    waiting?.();
  };
}
