/**
 * The recent end of one session's log, in memory: what subscriptions pull from. It holds only what is in the log
 * (LOG-2), keeps the deltas of blocks still open, and lets the rest go once everybody has passed it (LOG-5).
 */
import type { ControlFrame } from '../../protocol/index.js';
import type { LogRecord } from '../core/log-record.js';

/** `left`: whoever watches is no member any more. `reset`: the log began a new epoch, and whoever watches was told. */
export type EndReason = 'deleted' | 'failed' | 'left' | 'reset';

export interface Watcher {
  /** The last seq it took. */
  readonly cursor: number;
  /** There is more to pull. */
  wake(): void;
  control(frame: ControlFrame): void;
  /** Who watches. */
  readonly userId: string;
  /** The feed ends here; the log goes on elsewhere. */
  end(reason: EndReason): void;
}

/** Kept even when everybody has passed it: a client that drops for a moment resumes with every delta. */
const KEEP_RECORDS = 256;
/** Beyond this, those behind get completed events in place of deltas. */
const MAX_RECORDS = 16_384;

export class SessionFeed {
  readonly #watchers = new Set<Watcher>();
  #records: LogRecord[] = [];
  /** Seq of the record before the first one kept. */
  #base: number;

  constructor(
    readonly sessionId: string,
    head: number,
  ) {
    this.#base = head;
  }

  /** The last seq that may be shown. */
  get head(): number {
    return this.#base + this.#records.length;
  }

  get watchers(): ReadonlySet<Watcher> {
    return this.#watchers;
  }

  add(watcher: Watcher): void {
    this.#watchers.add(watcher);
  }

  remove(watcher: Watcher): void {
    this.#watchers.delete(watcher);
  }

  /** Takes what the log now holds, and wakes everybody. `openSince`: the seq before the first delta of a block still open. */
  publish(records: readonly LogRecord[], openSince: number | undefined): void {
    for (const record of records) this.#records.push(record);
    for (const watcher of this.#watchers) watcher.wake();
    if (this.#records.length >= KEEP_RECORDS * 2) this.#trim(openSince ?? this.head);
  }

  /** Up to `max` records after `afterSeq`; undefined where only the log still has them. */
  read(afterSeq: number, max: number): readonly LogRecord[] | undefined {
    if (afterSeq < this.#base) return undefined;
    const from = afterSeq - this.#base;
    return this.#records.slice(from, from + max);
  }

  /** The seq up to which only the log can tell. */
  get base(): number {
    return this.#base;
  }

  broadcast(frame: ControlFrame): void {
    for (const watcher of [...this.#watchers]) watcher.control(frame);
  }

  /** Ends it for one user alone. */
  endFor(userId: string): void {
    for (const watcher of [...this.#watchers]) if (watcher.userId === userId) watcher.end('left');
  }

  /** What is kept ends here, and goes on after this seq: who is behind it reads the log. */
  skipTo(seq: number): void {
    this.#records = [];
    this.#base = seq;
    for (const watcher of this.#watchers) watcher.wake();
  }

  /** The log's tail is not proven: its seqs mean something else from here on (LOG-7). */
  reset(epoch: string): void {
    this.broadcast({ type: 'connection.reset', session_id: this.sessionId, epoch });
    this.end('reset');
  }

  end(reason: 'deleted' | 'failed' | 'reset'): void {
    for (const watcher of [...this.#watchers]) watcher.end(reason);
    this.#watchers.clear();
  }

  #trim(openSince: number): void {
    let floor = Math.min(openSince, this.head - KEEP_RECORDS);
    if (this.#records.length < MAX_RECORDS)
      for (const watcher of this.#watchers) floor = Math.min(floor, watcher.cursor);
    const drop = floor - this.#base;
    if (drop < KEEP_RECORDS) return;
    this.#records = this.#records.slice(drop);
    this.#base += drop;
  }
}
