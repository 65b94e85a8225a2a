/** Turns of nodes that are gone: found soon after their lease is over, and at little cost while they are held. */
import { systemClock } from '../../server/adapters/system/index.js';
import { takeSweepTurn } from '../../server/adapters/redis/index.js';
import { scheduleSweep } from '../../server/compose/retention.js';
import { TakeOver } from '../../server/session/take-over.js';
import { FakeClock } from '../support/fake-clock.js';
import { countCommands, resetCounts } from '../support/redis-counts.js';
import { type RedisServer, startRedis } from '../support/redis-server.js';
import { openRedisNode, type RedisNode } from '../support/redis-store.js';
import { aRow } from '../support/store-records.js';

const quiet = () => undefined;
const logger = { error: quiet, warn: quiet, info: quiet, debug: quiet, child: () => logger };
/** By looks that are half a second to a second apart, one of them under way. */
const FOUND_MS = 2_000;

let redis: RedisServer;
let owner: RedisNode;
let other: RedisNode;

async function open(times?: { leaseMs: number; renewMs: number }): Promise<void> {
  [owner, other] = await Promise.all([openRedisNode(redis.url, { ...(times && { times }) }), openRedisNode(redis.url)]);
}

/** Sessions with a turn that the first node has. */
async function holdSessions(count: number): Promise<readonly string[]> {
  const ids = Array.from({ length: count }, (_, n) => `sesn_${n}`);
  await Promise.all(ids.map((id) => owner.sessions.create(aRow(id, { unfinished: true }))));
  await Promise.all(ids.map((id) => owner.leases.claim(id)));
  return ids;
}

const orphans = async (node = other): Promise<readonly string[]> => (await node.leases.orphans?.()) ?? [];

const heardOf = (sessionId: string): Promise<void> =>
  new Promise((resolve) => other.leases.onOrphan?.((named) => named === sessionId && resolve()));

beforeEach(async () => {
  redis = await startRedis();
});
afterEach(async () => {
  await Promise.all([owner.close(), other.close()]);
  await redis.dispose();
});

it('asks once who holds 200 sessions, and then not before their leases could lapse', async () => {
  await open();
  await holdSessions(200);
  await resetCounts(other.redis);
  expect(await orphans()).toEqual([]);
  expect((await countCommands(other.redis)).get('hmget')).toBe(200);
  await resetCounts(other.redis);
  for (let look = 0; look < 5; look++) expect(await orphans()).toEqual([]);
  const counts = await countCommands(other.redis);
  expect(counts.get('hmget') ?? 0).toBe(0);
  expect(counts.get('zrange')).toBe(5);
  // Its own it never asks about.
  await resetCounts(other.redis);
  expect(await orphans(owner)).toEqual([]);
  expect((await countCommands(other.redis)).get('hmget') ?? 0).toBe(0);
});

it('asks again when a lease could have lapsed, and goes on where it was renewed', async () => {
  await open({ leaseMs: 500, renewMs: 150 });
  await holdSessions(20);
  expect(await orphans()).toEqual([]);
  await resetCounts(other.redis);
  const asked = async (): Promise<number> => (await countCommands(other.redis)).get('zrange') ?? 0;
  const until = performance.now() + 1_500;
  while (performance.now() < until) expect(await orphans()).toEqual([]);
  // Each lease was seen to live for 0.35 to 0.5 s.
  const counts = await countCommands(other.redis);
  // A renewal reads as a look does, and writes.
  const looks = (counts.get('hmget') ?? 0) - (counts.get('hset') ?? 0);
  expect(looks).toBeGreaterThanOrEqual(40);
  expect(looks).toBeLessThanOrEqual(5 * 20);
  expect(await asked()).toBeGreaterThan(20);
}, 20_000);

it('[NODE-2] finds the turns of a node that died as soon as their leases are over', async () => {
  const leaseMs = 1_000;
  await open({ leaseMs, renewMs: 300 });
  const ids = await holdSessions(20);
  expect(await orphans()).toEqual([]);
  owner.cut();
  const cutAt = performance.now();
  let found: readonly string[] = [];
  while (found.length < ids.length) found = await orphans();
  expect([...found].sort()).toEqual([...ids].sort());
  expect(performance.now() - cutAt).toBeLessThan(leaseMs + 500);
});

it('[NODE-2] finds a session that was given back though it was seen to be held', async () => {
  await open();
  const ids = await holdSessions(3);
  expect(await orphans()).toEqual([]);
  const told = heardOf('sesn_1');
  await other.redis.client.config('RESETSTAT');
  const lease = await owner.leases.claim('sesn_1');
  if (lease) await owner.leases.release('sesn_1', lease);
  await told;
  expect(await orphans()).toEqual([ids[1]]);
});

it('[NODE-2] reads a list that is longer than a page', async () => {
  await open();
  const ids = Array.from({ length: 2_300 }, (_, n) => `sesn_${n}`);
  await Promise.all(ids.map((id) => owner.sessions.create(aRow(id, { unfinished: true }))));
  expect(new Set(await orphans())).toEqual(new Set(ids));
}, 20_000);

describe('TakeOver', () => {
  it('[NODE-2] takes up what it is told of at once, and looks at no other session for it', async () => {
    await open();
    await holdSessions(50);
    const clock = new FakeClock();
    const taken: (readonly string[])[] = [];
    let wake = (): void => undefined;
    const takeOver = new TakeOver({
      ...{ leases: other.leases, clock, random: () => 0.5, logger, isDraining: () => false },
      recover: async () => void (await orphans()),
      takeUp: async (ids) => {
        taken.push(ids);
        wake();
      },
    });
    await other.redis.ping();
    await resetCounts(other.redis);
    const told = heardOf('sesn_7');
    const lease = await owner.leases.claim('sesn_7');
    if (lease) await owner.leases.release('sesn_7', lease);
    await told;
    const woken = new Promise<void>((resolve) => {
      wake = resolve;
    });
    clock.advance(20);
    await woken;
    expect(taken).toEqual([['sesn_7']]);
    expect((await countCommands(other.redis)).get('zrange') ?? 0).toBe(0);
    await takeOver.close();
  });

  it('[NODE-2] finds a turn within two seconds of the end of its lease', async () => {
    const leaseMs = 700;
    await open({ leaseMs, renewMs: 200 });
    await holdSessions(1);
    let found = (): void => undefined;
    const looked = new Promise<void>((resolve) => {
      found = resolve;
    });
    const takeOver = new TakeOver({
      ...{ leases: other.leases, clock: systemClock, random: Math.random, logger, isDraining: () => false },
      recover: async () => {
        if ((await orphans()).length > 0) found();
      },
      takeUp: async () => undefined,
    });
    owner.cut();
    const cutAt = performance.now();
    await looked;
    expect(performance.now() - cutAt).toBeLessThan(leaseMs + FOUND_MS);
    await takeOver.close();
  });
});

it('applies retention on one node of several, and on another one when that time is over', async () => {
  await open();
  const turns = [owner, other].map(
    ({ redis: connection, nodeId }) =>
      (forMs: number) =>
        takeSweepTurn(connection, nodeId, forMs),
  ) as [(forMs: number) => Promise<boolean>, (forMs: number) => Promise<boolean>];
  const swept: number[] = [];
  const clock = new FakeClock();
  const asked = turns.map(async (takeTurn, n) => {
    let answer = (_isIts: boolean): void => undefined;
    const answered = new Promise<boolean>((resolve) => {
      answer = resolve;
    });
    scheduleSweep({
      ...{ retention: { session_days: 1 }, clock, logger },
      sweep: async () => void swept.push(n),
      takeTurn: async (forMs) => {
        const isIts = await takeTurn(forMs);
        answer(isIts);
        return isIts;
      },
    });
    return answered;
  });
  clock.advance(0);
  const outcomes = await Promise.all(asked);
  expect(outcomes.filter(Boolean)).toHaveLength(1);
  expect(swept).toEqual([outcomes.indexOf(true)]);
  await other.redis.client.flushall();
  expect(await turns[1](1)).toBe(true);
  while (!(await turns[0](60_000)));
  expect(await turns[1](60_000)).toBe(false);
});
