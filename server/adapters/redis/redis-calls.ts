/** Tools called without the model, on Redis: whichever node claims a key first runs the call (CMD-2). */
import { BOUNDS } from '../../../protocol/index.js';
import type { CallClaim, CallKey, CallMemory, KnownCall } from '../../ports/call-memory.js';
import { LogUnavailable } from '../../ports/event-log.js';
import { keys } from './keys.js';
import type { RedisConnection } from './redis-connection.js';
import type { Script } from './scripts.js';

export class RedisCalls implements CallMemory {
  constructor(private readonly redis: RedisConnection) {}

  async claim(key: CallKey, { callId, bodyHash }: CallClaim): Promise<KnownCall | undefined> {
    const reply = await this.#run('call-claim', key, [callId, bodyHash, BOUNDS.dedupeMs]);
    if (reply === null) return undefined;
    const [knownId, knownHash, answer] = reply as [string, string, string | null];
    return { callId: knownId, bodyHash: knownHash, answer: answer ?? undefined };
  }

  async settle(key: CallKey, callId: string, answer: string): Promise<void> {
    await this.#run('call-settle', key, [callId, answer]);
  }

  async #run(script: Script, key: CallKey, args: readonly (string | number)[]): Promise<unknown> {
    try {
      return await this.redis.run(script, [keys.call(key)], args);
    } catch (cause) {
      throw new LogUnavailable('store_failed', 'Redis did not keep the call.', { cause });
    }
  }
}
