/** Requests a minute on Redis: one script a request, one short-lived key a user. */
import type { Logger } from '../../ports/logger.js';
import type { RateKey, RateLimiter, RateVerdict } from '../../ports/rate-limiter.js';
import { keys } from './keys.js';
import type { RedisConnection } from './redis-connection.js';

export class RedisRates implements RateLimiter {
  constructor(
    private readonly redis: RedisConnection,
    private readonly logger: Logger | undefined,
  ) {}

  async take(key: RateKey, perMinute: number): Promise<RateVerdict> {
    const reply = await this.redis.run('rate-take', [keys.rate(key)], [perMinute]);
    const [taken, remaining, retryAfterMs, resetMs] = reply as [number, number, number, number];
    return { allowed: taken === 1, limit: perMinute, remaining, retryAfterMs, resetMs };
  }

  async giveBack(key: RateKey, perMinute: number): Promise<void> {
    await this.redis
      .run('rate-give-back', [keys.rate(key)], [perMinute])
      .catch((error: unknown) => this.logger?.warn('a request could not be given back', { error }));
  }
}
