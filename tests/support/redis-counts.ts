/** How often a Redis was asked what, since it was last reset. */
import type { RedisConnection } from '../../server/adapters/redis/index.js';

/** Not what this asks itself. */
const OWN = new Set(['info', 'config|resetstat']);

export async function resetCounts({ client }: RedisConnection): Promise<void> {
  await client.config('RESETSTAT');
}

/** By the name of the command; what scripts do is counted too. */
export async function countCommands(redis: RedisConnection): Promise<ReadonlyMap<string, number>> {
  const info = String(await redis.client.info('commandstats'));
  const found = info.matchAll(/^cmdstat_([^:]+):calls=(\d+)/gm);
  return new Map([...found].map(([, name = '', calls]) => [name, Number(calls)] as const).filter(([n]) => !OWN.has(n)));
}

export const sumOf = (counts: ReadonlyMap<string, number>): number =>
  [...counts.values()].reduce((sum, count) => sum + count, 0);
