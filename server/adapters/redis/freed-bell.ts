/** Wakes reservations that wait for holds of their organisation to end. */
import { keys } from './keys.js';
import type { RedisConnection } from './redis-connection.js';

/** A message may be lost, so nobody waits longer than this for one, in milliseconds. */
const POLL_MS = { from: 100, to: 200 } as const;

export class FreedBell {
  readonly #redis: RedisConnection;
  readonly #waiting = new Map<string, Set<() => void>>();
  #listening: Promise<unknown> | undefined;
  #unlisten: (() => void) | undefined;

  constructor(redis: RedisConnection) {
    this.#redis = redis;
  }

  /** Resolves when something of the organisation was freed since this call, and soon in any case. */
  next(orgId: string, atMostMs: number): Promise<void> {
    this.#listen();
    const pollMs = POLL_MS.from + Math.random() * (POLL_MS.to - POLL_MS.from);
    return new Promise((resolve) => {
      const waiting = this.#waiting.get(orgId) ?? new Set();
      this.#waiting.set(orgId, waiting);
      const wake = (): void => {
        clearTimeout(timer);
        waiting.delete(wake);
        if (waiting.size === 0 && this.#waiting.get(orgId) === waiting) this.#waiting.delete(orgId);
        resolve();
      };
      const timer = setTimeout(wake, Math.min(atMostMs, pollMs));
      waiting.add(wake);
    });
  }

  close(): void {
    this.#unlisten?.();
    for (const orgId of [...this.#waiting.keys()]) this.#ring(orgId);
  }

  /** From the first that waits on; where Redis is away, the next one tries again. */
  #listen(): void {
    this.#listening ??= this.#redis
      .listen(keys.freedChannel, (orgId) => this.#ring(orgId))
      .then(
        (unlisten) => {
          this.#unlisten = unlisten;
        },
        () => {
          this.#listening = undefined;
        },
      );
  }

  #ring(orgId: string): void {
    for (const wake of [...(this.#waiting.get(orgId) ?? [])]) wake();
  }
}
