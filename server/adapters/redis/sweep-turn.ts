/** Which of the nodes applies retention now: whichever asks first, and then nobody for a while. */
import { keys } from './keys.js';
import type { RedisConnection } from './redis-connection.js';

/** Resolves with whether it is this node's turn; if so, nobody else's before the time is over, in milliseconds. */
export async function takeSweepTurn(redis: RedisConnection, nodeId: string, forMs: number): Promise<boolean> {
  return (await redis.do((client) => client.set(keys.sweepTurn, nodeId, 'PX', forMs, 'NX'))) === 'OK';
}
