/** The rate limiter of one process: one time a user, forgotten when it has passed. */
import { giveOneBack, takeOne, toRateState } from '../../core/request-rate.js';
import type { RateKey, RateLimiter, RateVerdict } from '../../ports/rate-limiter.js';

/** With fewer users than this nobody is looked for who may be forgotten. */
const MIN_SWEEP = 1_000;

export class EmbeddedRates implements RateLimiter {
  readonly #now: () => number;
  readonly #arrivals = new Map<string, number>();
  /** At this size it is looked who may be forgotten: at most twice as many are kept as owe something. */
  #sweepAt = MIN_SWEEP;

  /** `now` in milliseconds since 1970. */
  constructor(now: () => number) {
    this.#now = now;
  }

  /** Users who are kept in mind. */
  get size(): number {
    return this.#arrivals.size;
  }

  async take(key: RateKey, perMinute: number): Promise<RateVerdict> {
    const [id, nowUs] = [toId(key), this.#now() * 1_000];
    const arrival = takeOne(this.#arrivals.get(id), nowUs, perMinute);
    if (arrival !== undefined) {
      this.#arrivals.set(id, arrival);
      this.#sweep(nowUs);
    }
    const state = toRateState(this.#arrivals.get(id), nowUs, perMinute);
    return { allowed: arrival !== undefined, limit: perMinute, ...state };
  }

  async giveBack(key: RateKey, perMinute: number): Promise<void> {
    const id = toId(key);
    const arrival = giveOneBack(this.#arrivals.get(id), this.#now() * 1_000, perMinute);
    if (arrival === undefined) this.#arrivals.delete(id);
    else this.#arrivals.set(id, arrival);
  }

  #sweep(nowUs: number): void {
    if (this.#arrivals.size < this.#sweepAt) return;
    for (const [id, arrival] of this.#arrivals) if (arrival <= nowUs) this.#arrivals.delete(id);
    this.#sweepAt = Math.max(MIN_SWEEP, this.#arrivals.size * 2);
  }
}

const toId = ({ orgId, userId }: RateKey): string => `${orgId}\n${userId}`;
