/** Reads what was spent: one hash for each user and day, summed up as it was asked. */
import { toDay } from '../../core/budget-math.js';
import type { SpendGroup, SpendQuery, SpendRow } from '../../ports/ledger.js';
import { keys } from './keys.js';
import { parseSpent, type Spent } from './ledger-format.js';
import type { RedisConnection } from './redis-connection.js';

/** How long spending is kept; the page on Redis says so. */
export const SPEND_KEPT_DAYS = 400;
const DAY_MS = 86_400_000;
const READ_AT_ONCE = 64;

interface UserDay {
  readonly day: string;
  readonly userId: string;
}

/** `now`: milliseconds since 1970, by the clock of Redis. */
export async function readSpend(redis: RedisConnection, query: SpendQuery, now: number): Promise<SpendRow[]> {
  const { orgId, groupBy, limit } = query;
  const groups = [...new Set(groupBy)];
  const rows = new Map<string, SpendRow>();
  const userDays = await findUserDays(redis, query, now);
  for (let n = 0; n < userDays.length; n += READ_AT_ONCE) {
    const some = userDays.slice(n, n + READ_AT_ONCE);
    const read = await Promise.all(
      some.map(({ userId, day }) => redis.do((client) => client.hgetall(keys.spend({ orgId, userId }, day)))),
    );
    for (const [at, sums] of read.entries()) {
      const of = some[at];
      if (!of) continue;
      for (const [field, text] of Object.entries(sums)) addTo(rows, of, parseSpent(field, text), groups);
    }
  }
  return [...rows.entries()]
    .sort(([keyA, a], [keyB, b]) => compare(b.day, a.day) || b.costNanoUsd - a.costNanoUsd || compare(keyA, keyB))
    .slice(0, limit)
    .map(([, row]) => row);
}

async function findUserDays(redis: RedisConnection, query: SpendQuery, now: number): Promise<UserDay[]> {
  const { orgId, userId, sinceDay } = query;
  const days: string[] = [];
  for (let age = 0; age <= SPEND_KEPT_DAYS; age++) {
    const day = toDay(now - age * DAY_MS);
    if (day < sinceDay) break;
    days.push(day);
  }
  if (userId !== undefined) return days.map((day) => ({ day, userId }));
  const found = await Promise.all(
    days.map(async (day) => {
      const users = await redis.do((client) => client.smembers(keys.spenders(orgId, day)));
      return users.map((user) => ({ day, userId: user }));
    }),
  );
  return found.flat();
}

function addTo(rows: Map<string, SpendRow>, { day, userId }: UserDay, spent: Spent, groups: readonly SpendGroup[]) {
  const { sessionId, model, tags } = spent;
  const isByTag = groups.includes('tag');
  for (const tag of isByTag && tags.length > 0 ? tags : [undefined]) {
    const all = { session: { sessionId }, model: { model }, user: { userId }, tag: tag === undefined ? {} : { tag } };
    const names: Partial<SpendRow> = Object.assign({}, ...groups.map((group) => all[group]));
    const key = JSON.stringify([day, ...groups.map((group) => Object.values(all[group])[0] ?? '')]);
    const before = rows.get(key);
    rows.set(key, {
      day,
      ...names,
      requests: (before?.requests ?? 0) + spent.requests,
      usage: before ? addUsage(before.usage, spent.usage) : spent.usage,
      costNanoUsd: (before?.costNanoUsd ?? 0) + spent.costNanoUsd,
    });
  }
}

const addUsage = (a: SpendRow['usage'], b: SpendRow['usage']): SpendRow['usage'] => ({
  input_tokens: a.input_tokens + b.input_tokens,
  output_tokens: a.output_tokens + b.output_tokens,
  cache_creation_input_tokens: a.cache_creation_input_tokens + b.cache_creation_input_tokens,
  cache_read_input_tokens: a.cache_read_input_tokens + b.cache_read_input_tokens,
});

const compare = (a: string, b: string): number => (a < b ? -1 : a > b ? 1 : 0);
