/**
 * Appends on their way to Redis. What comes within one turn of the event loop, or while a flush is under way, goes out
 * as one pipeline, and what one session has in it as one call. Each server of a Cluster has its own lane.
 */
import { type LogAppend, LogUnavailable } from '../../ports/event-log.js';
import { AppendBatch } from './append-batch.js';
import type { ChangeNotes } from './change-notes.js';
import type { RedisConnection, ScriptOutcome } from './redis-connection.js';
import type { SessionHold, SessionHolds } from './session-holds.js';
import { toFailed } from './store-door.js';

interface Lane {
  readonly ready: Set<AppendBatch>;
  isFlying: boolean;
  isScheduled: boolean;
}

/** Beyond this, appends are refused: a Redis that doesn't answer must not fill the memory. */
const MAX_BACKLOG_BYTES = 32 * 1_024 * 1_024;
/** A flush holds at most this and one batch. */
const MAX_FLUSH_BYTES = 4 * 1_024 * 1_024;

const REASONS: Readonly<Record<string, string>> = {
  missing: 'it is not in the store',
  history: 'Redis began a new history, and the tail of the log is not proven',
  head: 'its log does not end where it should',
};

export class AppendQueue {
  readonly #redis: RedisConnection;
  readonly #notes: ChangeNotes;
  readonly #holds: SessionHolds;
  readonly #lanes = new Map<string, Lane>();
  /** What of each session waits to go out, and what is under way. */
  readonly #waiting = new Map<SessionHold, AppendBatch>();
  readonly #flying = new Map<SessionHold, AppendBatch>();
  #backlogBytes = 0;

  constructor(redis: RedisConnection, holds: SessionHolds, notes: ChangeNotes) {
    this.#redis = redis;
    this.#notes = notes;
    this.#holds = holds;
  }

  /** How many bytes wait or are under way, about. */
  get backlogBytes(): number {
    return this.#backlogBytes;
  }

  get isFull(): boolean {
    return this.#backlogBytes >= MAX_BACKLOG_BYTES;
  }

  /** Queues a checked append; it goes out when `first` has resolved. Returns the batch that it is part of. */
  join(hold: SessionHold, append: LogAppend, first?: Promise<unknown>): AppendBatch {
    let batch = this.#waiting.get(hold);
    if (!batch) {
      batch = new AppendBatch(hold, append.token);
      this.#waiting.set(hold, batch);
      this.#makeReady(batch);
    }
    this.#backlogBytes += batch.add(append);
    if (first) this.#block(batch, first);
    return batch;
  }

  /** Resolves when nothing of the session waits or is under way, whatever became of it. */
  async settled(hold: SessionHold): Promise<void> {
    for (;;) {
      const last = this.#waiting.get(hold) ?? this.#flying.get(hold);
      if (!last) return;
      await last.promise.catch(() => undefined);
    }
  }

  #block(batch: AppendBatch, first: Promise<unknown>): void {
    const lane = this.#laneOf(batch.hold);
    batch.blockers++;
    lane.ready.delete(batch);
    first.then(
      () => {
        batch.blockers--;
        if (batch.blockers === 0 && this.#waiting.get(batch.hold) === batch) this.#makeReady(batch);
      },
      (error: unknown) => {
        if (this.#waiting.get(batch.hold) === batch) this.#fail(batch, toFailed(error));
      },
    );
  }

  #makeReady(batch: AppendBatch): void {
    const lane = this.#laneOf(batch.hold);
    lane.ready.add(batch);
    if (lane.isFlying || lane.isScheduled) return;
    lane.isScheduled = true;
    setImmediate(() => {
      lane.isScheduled = false;
      void this.#flush(lane);
    });
  }

  async #flush(lane: Lane): Promise<void> {
    if (lane.isFlying) return;
    lane.isFlying = true;
    while (lane.ready.size > 0) {
      const batches = this.#takeSome(lane);
      const outcomes = await this.#redis.runAll(
        'log-append',
        batches.map((batch) => batch.toCall()),
      );
      for (const [n, batch] of batches.entries()) this.#land(batch, outcomes[n] as ScriptOutcome);
    }
    lane.isFlying = false;
  }

  #land(batch: AppendBatch, { error, ...outcome }: ScriptOutcome & { reply?: unknown }): void {
    const { hold } = batch;
    this.#flying.delete(hold);
    this.#notes.note(hold.sessionId, batch.head);
    if (error === undefined && outcome.reply === 'ok') {
      this.#backlogBytes -= batch.bytes;
      batch.resolve();
      return;
    }
    const { sessionId } = hold;
    if (error !== undefined) this.#fail(batch, toFailed(error));
    else if (outcome.reply === 'lease_lost') {
      this.#fail(batch, new LogUnavailable('lease_lost', `Session ${sessionId} is written by another holder now.`));
      if (batch.isOf(hold.token)) this.#holds.lose(hold);
    } else {
      const why = REASONS[String(outcome.reply)] ?? 'Redis answered what it should not';
      this.#fail(batch, new LogUnavailable('store_failed', `Session ${sessionId} took no append: ${why}.`));
    }
  }

  /** What waits behind it fails too: nothing of the session is taken until it is claimed again. */
  #fail(batch: AppendBatch, error: LogUnavailable): void {
    const { hold } = batch;
    hold.hasFailed = true;
    for (const failed of new Set([batch, this.#waiting.get(hold)])) {
      if (!failed) continue;
      this.#backlogBytes -= failed.bytes;
      this.#laneOf(hold).ready.delete(failed);
      failed.reject(error);
    }
    this.#waiting.delete(hold);
  }

  #laneOf({ lane: name }: SessionHold): Lane {
    let lane = this.#lanes.get(name);
    if (!lane) {
      lane = { ready: new Set(), isFlying: false, isScheduled: false };
      this.#lanes.set(name, lane);
    }
    return lane;
  }

  #takeSome(lane: Lane): AppendBatch[] {
    const batches: AppendBatch[] = [];
    let bytes = 0;
    for (const batch of lane.ready) {
      if (bytes >= MAX_FLUSH_BYTES) break;
      lane.ready.delete(batch);
      this.#waiting.delete(batch.hold);
      this.#flying.set(batch.hold, batch);
      bytes += batch.bytes;
      batches.push(batch);
    }
    return batches;
  }
}
