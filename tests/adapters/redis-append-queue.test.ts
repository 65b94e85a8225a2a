/** When appends go out: deltas alone wait for others where a flush has just gone, and nothing else waits. */
import type { LogRecord } from '../../server/core/log-record.js';
import { flushRedis, type RedisServer, startRedis } from '../support/redis-server.js';
import { openRedisNode, type RedisNode } from '../support/redis-store.js';
import { aDelta, anAnswer, anEvent, aRow } from '../support/store-records.js';

/** Longer than a test may take: what waits for it never goes by itself. */
const FOREVER_MS = 3_600_000;

let redis: RedisServer;
let node: RedisNode | undefined;

beforeAll(async () => {
  redis = await startRedis();
});
afterEach(async () => {
  await node?.close();
  node = undefined;
});
afterAll(() => redis.dispose());

/** A node with sessions that it holds, and the flushes that go out from now on: when, and how many appends. */
async function open(sessions: number, deltasEveryMs: number) {
  const opened = await openRedisNode(redis.url, { deltasEveryMs });
  node = opened;
  await flushRedis(opened.redis);
  const ids = Array.from({ length: sessions }, (_, n) => `sesn_${n}`);
  const tokens: string[] = [];
  for (const id of ids) {
    await opened.sessions.create(aRow(id));
    tokens.push((await opened.leases.claim(id))?.token ?? '');
  }
  const flushes: { readonly atMs: number; readonly appends: number }[] = [];
  const runAll = opened.redis.runAll.bind(opened.redis);
  opened.redis.runAll = (script, calls) => {
    if (script === 'log-append') flushes.push({ atMs: performance.now(), appends: calls.length });
    return runAll(script, calls);
  };
  const append = (n: number, ...records: LogRecord[]): Promise<void> =>
    opened.log.append({ sessionId: `sesn_${n}`, token: tokens[n] ?? '', records });
  return { ...opened, flushes, append, tokens };
}

it('sends a delta after a pause at once, and what follows it no more often than it should', async () => {
  const { append, flushes } = await open(8, 20);
  for (let n = 0; n < 8; n++) await append(n, aDelta(1));
  expect(flushes.map(({ appends }) => appends)).toEqual(Array.from({ length: 8 }, () => 1));
  const gaps = flushes.slice(1).map(({ atMs }, n) => atMs - (flushes[n]?.atMs ?? 0));
  // At once would be less than one; a flush may be seen late, and the next one in time.
  expect(Math.min(...gaps)).toBeGreaterThan(5);
});

it('sends deltas of many sessions that come while they wait as one flush', async () => {
  const { append, flushes } = await open(50, 500);
  await append(0, aDelta(1));
  const appended: Promise<void>[] = [];
  for (let n = 1; n < 50; n++) {
    appended.push(append(n, aDelta(1)));
    await new Promise((resolve) => setImmediate(resolve));
  }
  await Promise.all(appended);
  expect(flushes.map(({ appends }) => appends)).toEqual([1, 49]);
});

it('[LOG-2] sends an event, an answer or a row at once, and what waits along with it', async () => {
  const { append, flushes, log, tokens } = await open(5, FOREVER_MS);
  await append(0, aDelta(1));
  const waiting = append(1, aDelta(1));
  await append(2, anEvent(1));
  await waiting;
  const alsoWaiting = append(1, aDelta(2));
  const answers = [anAnswer('sesn_3')];
  await log.append({ sessionId: 'sesn_3', token: tokens[3] ?? '', records: [], answers });
  await alsoWaiting;
  const last = append(1, aDelta(3));
  const { status, unfinished, updatedAt, json } = aRow('sesn_4');
  const row = { status, unfinished, updatedAt, json };
  await log.append({ sessionId: 'sesn_4', token: tokens[4] ?? '', records: [], row });
  await last;
  expect(flushes.map(({ appends }) => appends)).toEqual([1, 2, 2, 2]);
});

it('[LOG-2] sends deltas that wait at once where an event of their own session comes behind them', async () => {
  const { append, flushes, log } = await open(2, FOREVER_MS);
  await append(0, aDelta(1));
  const delta = append(1, aDelta(1));
  await append(1, anEvent(2));
  await delta;
  expect(flushes.map(({ appends }) => appends)).toEqual([1, 1]);
  expect(await log.readDeltas('sesn_1', 0)).toEqual([aDelta(1)]);
});

it('lets an event go as soon as the flush before it is over', async () => {
  const { append, flushes } = await open(3, FOREVER_MS);
  const first = append(0, aDelta(1));
  while (flushes.length === 0) await new Promise((resolve) => setImmediate(resolve));
  const delta = append(1, aDelta(1));
  const event = append(2, anEvent(1));
  await Promise.all([first, delta, event]);
  expect(flushes.map(({ appends }) => appends)).toEqual([1, 2]);
});

it('keeps what waits when it closes', async () => {
  const opened = await open(2, FOREVER_MS);
  await opened.append(0, aDelta(1));
  const waiting = opened.append(1, aDelta(1));
  await opened.close();
  await waiting;
  node = undefined;
});
