/** What is done under a key of its caller, on Redis: whichever node claims a key first does it (CMD-2). */
import { setTimeout as after } from 'node:timers/promises';
import { BOUNDS } from '../../../protocol/index.js';
import type { CallClaim, CallKey, CallMemory, KnownCall } from '../../ports/call-memory.js';
import { LogUnavailable } from '../../ports/event-log.js';
import { keys } from './keys.js';
import type { RedisConnection } from './redis-connection.js';
import type { Script } from './scripts.js';

/** As long as a node that died may go unnoticed elsewhere, in milliseconds. */
const WAIT_MS = 10_000;
const LOOK_MS = 50;
const MAX_DOUBTFUL = 10_000;

export class RedisCalls implements CallMemory {
  readonly #redis: RedisConnection;
  readonly #waitMs: number;
  /** Claims that Redis may have taken without saying so: nothing was done under them. By key; the oldest first. */
  readonly #doubtful = new Map<string, string>();

  /** `waitMs`: how old a claim must be before it is told without an answer; its node may be at it. */
  constructor(redis: RedisConnection, waitMs: number = WAIT_MS) {
    this.#redis = redis;
    this.#waitMs = waitMs;
  }

  async claim(key: CallKey, claim: CallClaim): Promise<KnownCall | undefined> {
    const until = performance.now() + this.#waitMs;
    for (;;) {
      const reply = await this.#claim(key, claim);
      if (reply === null) return undefined;
      const [callId, bodyHash, answer, ageMs] = reply as [string, string, string | null, number];
      const isOver = ageMs >= this.#waitMs || performance.now() >= until;
      if (answer !== null || bodyHash !== claim.bodyHash || isOver)
        return { callId, bodyHash, answer: answer ?? undefined };
      await after(LOOK_MS, undefined, { ref: false });
    }
  }

  async settle(key: CallKey, callId: string, answer: string): Promise<void> {
    await this.#run('call-settle', key, [callId, answer]);
  }

  async #claim(key: CallKey, { callId, bodyHash }: CallClaim): Promise<unknown> {
    const name = keys.call(key);
    try {
      const reply = await this.#run('call-claim', key, [
        callId,
        bodyHash,
        BOUNDS.dedupeMs,
        this.#doubtful.get(name) ?? '',
      ]);
      this.#doubtful.delete(name);
      return reply;
    } catch (error) {
      this.#doubt(name, callId);
      throw error;
    }
  }

  #doubt(name: string, callId: string): void {
    this.#doubtful.delete(name);
    this.#doubtful.set(name, callId);
    const [oldest] = this.#doubtful.keys();
    if (this.#doubtful.size > MAX_DOUBTFUL && oldest !== undefined) this.#doubtful.delete(oldest);
  }

  async #run(script: Script, key: CallKey, args: readonly (string | number)[]): Promise<unknown> {
    try {
      return await this.#redis.run(script, [keys.call(key)], args);
    } catch (cause) {
      throw new LogUnavailable('store_failed', 'Redis did not keep the call.', { cause });
    }
  }
}
