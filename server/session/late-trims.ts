/** Keeps the deltas of completed blocks in the log for a while, for those who watch on other nodes (LOG-5). */
import type { Clock, Timer } from '../ports/clock.js';
import type { EventLog } from '../ports/event-log.js';

/** Deltas stay for one to two of these, in milliseconds: a node that was not woken looks after a second at the latest. */
const ROUND_MS = 3_000;

export class LateTrims {
  /** The same log, but trimmed late. */
  readonly log: EventLog;
  readonly #trimmed: EventLog;
  readonly #clock: Clock;
  /** Up to which seq, by session: of this round, and of the one before. */
  #young = new Map<string, number>();
  #due = new Map<string, number>();
  #timer: Timer | undefined;

  constructor(log: EventLog, clock: Clock) {
    this.#trimmed = log;
    this.#clock = clock;
    this.log = {
      epoch: log.epoch,
      append: (append) => log.append(append),
      read: (sessionId, query) => log.read(sessionId, query),
      floorOf: (sessionId) => log.floorOf(sessionId),
      readDeltas: (sessionId, afterSeq) => log.readDeltas(sessionId, afterSeq),
      findAnswer: (key) => log.findAnswer(key),
      trimDeltas: (sessionId, upToSeq) => {
        this.#young.set(sessionId, upToSeq);
        this.#timer ??= clock.schedule(ROUND_MS, () => this.#turn());
      },
    };
  }

  /** Trims at once what still waits, while the leases are still held. */
  close(): void {
    this.#timer?.cancel();
    for (const [sessionId, upToSeq] of [...this.#due, ...this.#young]) this.#trimmed.trimDeltas(sessionId, upToSeq);
    this.#due.clear();
    this.#young.clear();
  }

  #turn(): void {
    for (const [sessionId, upToSeq] of this.#due) this.#trimmed.trimDeltas(sessionId, upToSeq);
    this.#due = this.#young;
    this.#young = new Map();
    this.#timer = this.#due.size > 0 ? this.#clock.schedule(ROUND_MS, () => this.#turn()) : undefined;
  }
}
