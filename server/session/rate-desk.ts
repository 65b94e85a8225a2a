/** Requests per minute: counted when they are made, and not at all where something else refuses them. */
import { MidstreamError, type Principal } from '../../protocol/index.js';
import type { Clock } from '../ports/clock.js';
import type { Logger } from '../ports/logger.js';
import type { RateLimiter, RateVerdict } from '../ports/rate-limiter.js';
import type { Caller } from './session-api.js';

export interface RateDeskDeps {
  readonly rates: RateLimiter;
  /** Undefined: as many as they like. */
  readonly limitOf: (who: Principal) => number | undefined;
  readonly clock: Clock;
  readonly logger: Logger;
}

/** What was counted. */
export interface Counted {
  /** None of it counts. */
  giveBack(): void;
}

const NOTHING: Counted = { giveBack: () => undefined };

export class RateDesk {
  readonly #deps: RateDeskDeps;

  constructor(deps: RateDeskDeps) {
    this.#deps = deps;
  }

  /** Counts `requests` of them, all or none. `onRefused` makes the error of the one that is too many. */
  async count(
    caller: Caller,
    requests: number,
    onRefused: (error: MidstreamError, at: number) => unknown = (error) => error,
  ): Promise<Counted> {
    const { rates, limitOf, clock } = this.#deps;
    const perMinute = limitOf(caller.principal);
    if (perMinute === undefined || requests === 0) return NOTHING;
    const { user_id: userId, org_id: orgId } = caller.principal;
    const key = { userId, orgId };
    const startedAt = clock.now();
    let last: RateVerdict | undefined;
    const giveBack = (count: number): void => {
      // What has come back by itself would be given twice, out of what somebody took since.
      if (last && clock.now() - startedAt >= last.resetMs) return;
      for (let n = 0; n < count; n++) void rates.giveBack(key, perMinute);
    };
    for (let at = 0; at < requests; at++) {
      const verdict = await this.#take(key, perMinute).catch((error: unknown) => {
        giveBack(at);
        throw error instanceof MidstreamError ? onRefused(error, at) : error;
      });
      if (!verdict.allowed) {
        giveBack(at);
        caller.onCounted?.(without(verdict, at));
        throw onRefused(toRefusal(verdict), at);
      }
      last = verdict;
    }
    if (last) caller.onCounted?.(last);
    return {
      giveBack: () => {
        giveBack(requests);
        if (last) caller.onCounted?.(without(last, requests));
      },
    };
  }

  async #take(key: { userId: string; orgId: string }, perMinute: number): Promise<RateVerdict> {
    try {
      return await this.#deps.rates.take(key, perMinute);
    } catch (error) {
      this.#deps.logger.error('the rate limiter did not answer', { error });
      throw new MidstreamError('store_unavailable');
    }
  }
}

/** As it stands when `count` of what was taken are given back. */
function without(verdict: RateVerdict, count: number): RateVerdict {
  if (count === 0) return verdict;
  const { limit, remaining, resetMs } = verdict;
  const backMs = Math.floor((60_000 * count) / limit);
  return {
    ...verdict,
    remaining: Math.min(limit, remaining + count),
    retryAfterMs: 0,
    resetMs: Math.max(0, resetMs - backMs),
  };
}

function toRefusal({ limit, remaining, retryAfterMs, resetMs }: RateVerdict): MidstreamError {
  const message = `You may make ${limit} requests a minute. Wait for retry_after_ms, then send it again.`;
  const details = { limit: 'requests_per_minute', quota: limit, remaining, reset_ms: resetMs };
  return new MidstreamError('rate_limited', message, { retryAfterMs, details });
}
