/** The way to Redis for the parts of the session store: closed for all of them at once, and failing as their ports say. */
import { LogUnavailable } from '../../ports/event-log.js';
import type { RedisConnection } from './redis-connection.js';
import type { Script } from './scripts.js';

export class StoreDoor {
  readonly redis: RedisConnection;
  #isClosed = false;

  constructor(redis: RedisConnection) {
    this.redis = redis;
  }

  close(): void {
    this.#isClosed = true;
  }

  get refusal(): LogUnavailable | undefined {
    return this.#isClosed ? new LogUnavailable('closed', 'The store is closed.') : undefined;
  }

  run(script: Script, keys: readonly string[], args: readonly (string | number)[] = []): Promise<unknown> {
    return this.do((redis) => redis.run(script, keys, args));
  }

  async do<T>(work: (redis: RedisConnection) => Promise<T>): Promise<T> {
    const { refusal } = this;
    if (refusal) throw refusal;
    try {
      return await work(this.redis);
    } catch (error) {
      throw toFailed(error);
    }
  }
}

export function toFailed(cause: unknown): LogUnavailable {
  const reason = cause instanceof Error ? cause.message : String(cause);
  return new LogUnavailable('store_failed', reason, { cause });
}
