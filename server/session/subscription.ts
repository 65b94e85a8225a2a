/**
 * One client's cursor in one session's log. It pulls while its socket takes what it writes, merges deltas when it is
 * behind, and costs nothing but the cursor when the socket is full (LOG-6).
 */
import { BOUNDS, CLOSE, type ControlFrame } from '../../protocol/index.js';
import { mergeDeltas } from '../core/delta-merge.js';
import type { EventRecord, LogRecord } from '../core/log-record.js';
import type { Clock, Timer } from '../ports/clock.js';
import type { EventLog, StoredEvent } from '../ports/event-log.js';
import type { FrameSink } from './session-api.js';
import type { EndReason, SessionFeed, Watcher } from './session-feed.js';

/** How many records went out to clients. */
export interface Delivered {
  event: number;
  delta: number;
}

export interface SubscriptionDeps {
  readonly feed: SessionFeed;
  readonly log: EventLog;
  readonly clock: Clock;
  readonly sink: FrameSink;
  readonly deltas: boolean;
  readonly userId: string;
  /** Counted up by what goes out. */
  readonly delivered: Delivered;
  readonly onEnd: () => void;
}

const BATCH = 256;
/** Between two looks at the socket, so that a batch of large frames can't fill it. */
const FLUSH_CHARS = 32_768;
/** A subscriber with more than this to take is behind. */
export const BEHIND = 64;

type Mode = 'new' | 'pulling' | 'reading_log' | 'blocked' | 'ended';

export class Subscription implements Watcher {
  /** The last seq taken from the log, delivered or filtered. */
  cursor: number;
  #delivered: number;
  #mode: Mode = 'new';
  #isBehind = false;
  #slowTimer: Timer | undefined;
  readonly #deps: SubscriptionDeps;

  constructor(deps: SubscriptionDeps, afterSeq: number) {
    this.#deps = deps;
    this.cursor = afterSeq;
    this.#delivered = afterSeq;
    // Armed before the first read, so that nothing falls between.
    deps.feed.add(this);
  }

  get userId(): string {
    return this.#deps.userId;
  }

  start(): void {
    if (this.#mode !== 'new') return;
    this.#mode = 'pulling';
    this.#pull();
  }

  detach(): void {
    if (this.#mode === 'ended') return;
    this.#mode = 'ended';
    this.#slowTimer?.cancel();
    this.#deps.feed.remove(this);
    this.#deps.onEnd();
  }

  wake(): void {
    if (this.#mode === 'pulling') this.#pull();
  }

  control(frame: ControlFrame): void {
    if (this.#mode !== 'ended') this.#deps.sink.control(frame);
  }

  end(reason: EndReason): void {
    const { sink, feed } = this.#deps;
    if (reason === 'deleted') this.#pull();
    if (reason === 'deleted' || reason === 'left') {
      const code = reason === 'deleted' ? 'session_not_found' : 'forbidden';
      sink.control({ type: 'connection.detached', session_id: feed.sessionId, code });
    }
    this.detach();
    if (reason === 'failed') sink.close(CLOSE.internal, 'the session’s log failed; connect again and resume');
  }

  #pull(): void {
    const { feed } = this.#deps;
    while (this.#mode === 'pulling') {
      const records = feed.read(this.cursor, BATCH);
      if (!records) {
        this.#mode = 'reading_log';
        void this.#readLog();
        return;
      }
      if (records.length === 0) {
        this.#isBehind = false;
        return;
      }
      if (feed.head - this.cursor > BEHIND) this.#isBehind = true;
      this.#deliver(records);
    }
  }

  /** What the feed has let go comes from the log: completed events, no deltas. */
  async #readLog(): Promise<void> {
    const { log, feed, sink } = this.#deps;
    try {
      const base = feed.base;
      const stored = await log.read(feed.sessionId, { afterSeq: this.cursor, limit: BATCH });
      if (this.#isEnded()) return;
      this.#mode = 'pulling';
      this.#isBehind = true;
      const records = stored.filter((event) => event.seq <= base).map(toRecord);
      this.#deliver(records);
      const isAllTaken = records.length < BATCH && this.cursor === (records.at(-1)?.seq ?? this.cursor);
      if (isAllTaken) this.cursor = Math.max(this.cursor, base);
      this.#pull();
    } catch {
      this.detach();
      sink.close(CLOSE.internal, 'the log could not be read; connect again and resume');
    }
  }

  #deliver(records: readonly LogRecord[]): void {
    const { sink, deltas, delivered } = this.#deps;
    let chars = 0;
    for (const record of this.#isBehind ? mergeDeltas(records) : records) {
      this.cursor = record.seq;
      if (!deltas && (record.kind === 'delta' || record.type === 'event_start')) continue;
      sink.write(record, this.#delivered);
      this.#delivered = record.seq;
      delivered[record.kind]++;
      chars += record.kind === 'delta' ? record.quoted.length : record.json.length;
      if (chars < FLUSH_CHARS) continue;
      chars = 0;
      if (!sink.flush(this.#onDrain)) {
        // What is left of the batch is pulled again from the cursor.
        this.#block();
        return;
      }
    }
    if (chars > 0 && !sink.flush(this.#onDrain)) this.#block();
  }

  #block(): void {
    if (this.#mode !== 'pulling') return;
    this.#mode = 'blocked';
    this.#isBehind = true;
    this.#watchBacklog(this.#deps.sink.backlogBytes);
  }

  /** Closes a socket whose backlog did not shrink for 30 s; one that is merely slow stays. */
  #watchBacklog(was: number): void {
    const { sink, clock } = this.#deps;
    this.#slowTimer = clock.schedule(BOUNDS.slowConsumerMs, () => {
      if (sink.backlogBytes < was) {
        this.#watchBacklog(sink.backlogBytes);
        return;
      }
      this.detach();
      sink.close(CLOSE.slowConsumer, 'the socket took nothing for 30 s; connect again and resume');
    });
  }

  readonly #onDrain = (): void => {
    if (this.#mode !== 'blocked') return;
    this.#slowTimer?.cancel();
    this.#mode = 'pulling';
    this.#pull();
  };

  #isEnded(): boolean {
    return this.#mode === 'ended';
  }
}

const toRecord = ({ seq, type, turnId, json }: StoredEvent): EventRecord => ({
  kind: 'event',
  seq,
  type: type as EventRecord['type'],
  turnId,
  json,
});
