/** The event log, with how long appends take and what waits. An append of deltas alone costs it two additions. */
import { type EventLog, type LogAppend, LogUnavailable } from '../../ports/event-log.js';
import type { Metrics } from '../../ports/metrics.js';
import type { Check, Stopwatch } from './measured-deps.js';

/** A store that takes an append for longer than this serves nobody. */
const MAX_WAIT_MS = 3_000;
const MS_PER_S = 1_000;

export class MeasuredLog implements EventLog {
  readonly #log: EventLog;
  readonly #metrics: Metrics;
  readonly #now: Stopwatch;
  /** When those began that are measured, the oldest first. */
  readonly #waiting = new Set<{ readonly since: number }>();
  /** Of appends with deltas alone, which are many, one at a time is measured. */
  #isSampling = false;
  #events = 0;
  #deltas = 0;

  constructor(log: EventLog, metrics: Metrics, now: Stopwatch) {
    this.#log = log;
    this.#metrics = metrics;
    this.#now = now;
    if (log.isEpochNew) metrics.epochBegan();
    metrics.gauge('log_oldest_append_seconds', () => this.#oldestMs / MS_PER_S);
    metrics.gauge('log_waiting_bytes', () => log.waitingBytes ?? 0);
    metrics.total('log_records', () => ({ event: this.#events, delta: this.#deltas }));
  }

  get epoch(): string {
    return this.#log.epoch;
  }

  append(append: LogAppend): Promise<void> {
    const { records, answers, row } = append;
    let events = 0;
    for (const { kind } of records) if (kind === 'event') events++;
    this.#events += events;
    this.#deltas += records.length - events;
    const isDeltasOnly = events === 0 && row === undefined && (answers?.length ?? 0) === 0;
    if (isDeltasOnly && this.#isSampling) return this.#log.append(append);
    if (isDeltasOnly) this.#isSampling = true;
    return this.#measure(this.#log.append(append), isDeltasOnly ? 'deltas' : 'events');
  }

  read: EventLog['read'] = (sessionId, query) => this.#log.read(sessionId, query);
  floorOf: EventLog['floorOf'] = (sessionId) => this.#log.floorOf(sessionId);
  readDeltas: EventLog['readDeltas'] = (sessionId, afterSeq) => this.#log.readDeltas(sessionId, afterSeq);
  trimDeltas: EventLog['trimDeltas'] = (sessionId, upToSeq) => this.#log.trimDeltas(sessionId, upToSeq);
  findAnswer: EventLog['findAnswer'] = (key) => this.#log.findAnswer(key);

  /** Whether appends come through in time, for `/ready`. */
  check(): Check {
    const waitMs = this.#oldestMs;
    if (waitMs <= MAX_WAIT_MS) return { ok: true, detail: 'appends come through' };
    return { ok: false, detail: `an append has waited for ${(waitMs / MS_PER_S).toFixed(1)} s` };
  }

  get #oldestMs(): number {
    const [oldest] = this.#waiting;
    return oldest ? this.#now() - oldest.since : 0;
  }

  /** The promise itself is what the caller gets: it may be that of many. */
  #measure(appended: Promise<void>, contents: 'events' | 'deltas'): Promise<void> {
    const entry = { since: this.#now() };
    this.#waiting.add(entry);
    const done = (): void => {
      this.#waiting.delete(entry);
      if (contents === 'deltas') this.#isSampling = false;
    };
    appended.then(
      () => {
        done();
        this.#metrics.appended(contents, this.#now() - entry.since);
      },
      (error: unknown) => {
        done();
        this.#metrics.appendFailed(error instanceof LogUnavailable ? error.reason : 'store_failed');
      },
    );
    return appended;
  }
}
