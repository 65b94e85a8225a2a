/**
 * Appends on their way to Redis. What comes within one turn of the event loop, or while a flush is under way, goes out
 * as one pipeline, and what one session has in it as one call. Each server of a Cluster has its own lane. What Redis did
 * not answer is sent again, for as long as the session's lease lives: a call that was done changes nothing the second time.
 */
import { type LogAppend, LogUnavailable } from '../../ports/event-log.js';
import type { Logger } from '../../ports/logger.js';
import { AppendBatch } from './append-batch.js';
import { AppendLane } from './append-lane.js';
import type { ChangeNotes } from './change-notes.js';
import { type RedisConnection, RedisUnavailable, type ScriptOutcome } from './redis-connection.js';
import type { SessionHold, SessionHolds } from './session-holds.js';
import { toFailed } from './store-door.js';

export interface AppendQueueDeps {
  readonly redis: RedisConnection;
  readonly holds: SessionHolds;
  readonly notes: ChangeNotes;
  readonly logger: Logger | undefined;
  /** See `AppendLane`. */
  readonly deltasEveryMs: number;
}

interface Lane {
  readonly out: AppendLane;
  /** What was not answered, until it is time to send it again. */
  readonly unanswered: Set<AppendBatch>;
  retry: NodeJS.Timeout | undefined;
  retryMs: number;
}

/** Beyond this, appends are refused: a Redis that doesn't answer must not fill the memory. */
const MAX_BACKLOG_BYTES = 32 * 1_024 * 1_024;
const FIRST_RETRY_MS = 25;
const MAX_RETRY_MS = 400;

const REASONS: Readonly<Record<string, string>> = {
  missing: 'it is not in the store',
  history: 'Redis began a new history, and the tail of the log is not proven',
  head: 'its log does not end where it should',
};

export class AppendQueue {
  readonly #redis: RedisConnection;
  readonly #notes: ChangeNotes;
  readonly #holds: SessionHolds;
  readonly #logger: Logger | undefined;
  readonly #deltasEveryMs: number;
  readonly #lanes = new Map<string, Lane>();
  /** What of each session waits to go out, and what is under way or unanswered. */
  readonly #waiting = new Map<SessionHold, AppendBatch>();
  readonly #flying = new Map<SessionHold, AppendBatch>();
  #backlogBytes = 0;
  #stalledAt: number | undefined;
  #isClosing = false;

  constructor({ redis, holds, notes, logger, deltasEveryMs }: AppendQueueDeps) {
    this.#redis = redis;
    this.#notes = notes;
    this.#holds = holds;
    this.#logger = logger;
    this.#deltasEveryMs = deltasEveryMs;
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
    }
    this.#backlogBytes += batch.add(append);
    if (first) this.#block(batch, first);
    else this.#makeReady(hold);
    return batch;
  }

  /** Resolves when nothing of the session waits or is under way, whatever became of it. What waits goes at once. */
  async settled(hold: SessionHold): Promise<void> {
    for (;;) {
      const last = this.#waiting.get(hold) ?? this.#flying.get(hold);
      if (!last) return;
      this.#laneOf(hold).out.hurry();
      await last.promise.catch(() => undefined);
    }
  }

  /** From now on what is not answered is not sent again. */
  close(): void {
    this.#isClosing = true;
  }

  #block(batch: AppendBatch, first: Promise<unknown>): void {
    const { hold } = batch;
    batch.blockers++;
    this.#laneOf(hold).out.remove(batch);
    first.then(
      () => {
        batch.blockers--;
        this.#makeReady(hold);
      },
      (error: unknown) => {
        if (this.#waiting.get(hold) === batch) this.#fail(batch, toFailed(error));
      },
    );
  }

  /** What waits of a session goes out when nothing of it is under way. */
  #makeReady(hold: SessionHold): void {
    const batch = this.#waiting.get(hold);
    if (!batch || batch.blockers > 0 || this.#flying.has(hold)) return;
    this.#laneOf(hold).out.add(batch);
  }

  async #send(batches: readonly AppendBatch[]): Promise<void> {
    for (const batch of batches) {
      const { hold } = batch;
      if (this.#waiting.get(hold) === batch) this.#waiting.delete(hold);
      this.#flying.set(hold, batch);
      hold.sent = batch.headAfter;
    }
    const calls = batches.map((batch) => batch.toCall());
    const outcomes = await this.#redis.runAll('log-append', calls);
    for (const [n, batch] of batches.entries()) this.#land(batch, outcomes[n] as ScriptOutcome);
  }

  #land(batch: AppendBatch, { error, ...outcome }: ScriptOutcome & { reply?: unknown }): void {
    const { hold } = batch;
    const { sessionId } = hold;
    if (error instanceof RedisUnavailable && !this.#isClosing) {
      this.#sendLater(batch);
      return;
    }
    this.#flying.delete(hold);
    this.#notes.note(sessionId, batch.headAfter);
    if (error !== undefined) {
      this.#fail(batch, toFailed(error));
      return;
    }
    this.#answered(hold);
    if (outcome.reply === 'ok') {
      hold.acked = batch.headAfter;
      this.#backlogBytes -= batch.bytes;
      this.#makeReady(hold);
      batch.resolve();
    } else if (outcome.reply === 'lease_lost') {
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
      this.#laneOf(hold).out.remove(failed);
      failed.reject(error);
    }
    this.#waiting.delete(hold);
  }

  #sendLater(batch: AppendBatch): void {
    const lane = this.#laneOf(batch.hold);
    lane.unanswered.add(batch);
    if (this.#stalledAt === undefined) {
      this.#stalledAt = performance.now();
      this.#logger?.warn('the logs of sessions wait for Redis');
    }
    if (lane.retry) return;
    lane.retryMs = Math.min(MAX_RETRY_MS, Math.max(FIRST_RETRY_MS, 2 * lane.retryMs));
    lane.retry = setTimeout(() => {
      lane.retry = undefined;
      const due = [...lane.unanswered];
      lane.unanswered.clear();
      for (const again of due) this.#sendAgain(lane, again);
    }, lane.retryMs).unref();
  }

  /** Not when the lease may be another's by now. */
  #sendAgain(lane: Lane, batch: AppendBatch): void {
    const { hold } = batch;
    if (!hold.isLost && performance.now() < hold.lapsesAt) {
      lane.out.add(batch);
      return;
    }
    this.#flying.delete(hold);
    this.#notes.note(hold.sessionId, batch.headAfter);
    const message = `Redis did not answer for as long as the lease of session ${hold.sessionId} lives.`;
    this.#fail(batch, new LogUnavailable('store_failed', message));
    if (this.#flying.size === 0) this.#resumed();
  }

  #answered(hold: SessionHold): void {
    if (this.#stalledAt === undefined) return;
    const lane = this.#laneOf(hold);
    lane.retryMs = 0;
    for (const { unanswered } of this.#lanes.values()) if (unanswered.size > 0) return;
    this.#resumed();
  }

  #resumed(): void {
    const waited_ms = Math.round(performance.now() - (this.#stalledAt ?? 0));
    this.#stalledAt = undefined;
    this.#logger?.info('the logs of sessions wait no more', { waited_ms });
  }

  #laneOf({ lane: name }: SessionHold): Lane {
    let lane = this.#lanes.get(name);
    if (!lane) {
      const out = new AppendLane({ deltasEveryMs: this.#deltasEveryMs, send: (batches) => this.#send(batches) });
      lane = { out, unanswered: new Set(), retry: undefined, retryMs: 0 };
      this.#lanes.set(name, lane);
    }
    return lane;
  }
}
