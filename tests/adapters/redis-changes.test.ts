/** Logs that other nodes write, followed without their bells: within a second, and at no cost while nothing changes. */
import { setTimeout as after } from 'node:timers/promises';
import { systemClock } from '../../server/adapters/system/index.js';
import { RedisConnection } from '../../server/adapters/redis/index.js';
import { keys } from '../../server/adapters/redis/keys.js';
import { Followers } from '../../server/session/followers.js';
import { countCommands, resetCounts, sumOf } from '../support/redis-counts.js';
import { type RedisServer, startRedis } from '../support/redis-server.js';
import { openRedisNode, type RedisNode } from '../support/redis-store.js';
import { anEvent, aRow } from '../support/store-records.js';

const S = 'sesn_one';
const quiet = () => undefined;
const logger = { error: quiet, warn: quiet, info: quiet, debug: quiet, child: () => logger };

let redis: RedisServer;
let look: RedisConnection;
let writer: RedisNode;
let reader: RedisNode;

beforeEach(async () => {
  redis = await startRedis();
  look = await RedisConnection.open({ url: redis.url });
  [writer, reader] = await Promise.all([openRedisNode(redis.url), openRedisNode(redis.url)]);
});
afterEach(async () => {
  await Promise.all([writer.close(), reader.close(), look.close()]);
  await redis.dispose();
});

/** What a watch is told, and a way to wait for it. */
function watch(sessionId = S) {
  const heard: (number | undefined)[] = [];
  let wake = (): void => undefined;
  const stop = reader.tail.watch(sessionId, (head) => {
    heard.push(head);
    wake();
  });
  const until = (isThere: () => boolean): Promise<void> =>
    new Promise((resolve) => {
      wake = () => isThere() && resolve();
      wake();
    });
  return { heard, stop, until };
}

/** From here on nothing rings that this session changed. */
const muffle = (sessionId = S): Promise<unknown> => reader.redis.client.unsubscribe(keys.bell(sessionId));

/** Resolves when the reader has begun to read the list of changes, and woke all. */
async function settle({ heard, until }: ReturnType<typeof watch>): Promise<void> {
  // Once when it listens, once when the reading begins.
  await until(() => heard.length >= 2);
  heard.length = 0;
}

const claim = async (sessionId = S): Promise<string> => (await writer.leases.claim(sessionId))?.token ?? '';

async function write(token: string, seq: number): Promise<number> {
  await writer.log.append({ sessionId: S, token, records: [anEvent(seq)] });
  return performance.now();
}

async function noteByHand(fields: Readonly<Record<string, string>>): Promise<void> {
  await look.client.xadd(keys.changes, '*', ...Object.entries(fields).flat());
}

/** Resolves when those of the nodes are broken, with what resolves when the reader's is back. */
async function breakConnections(): Promise<{ back: Promise<void> }> {
  const { client } = reader.redis;
  const closed = new Promise<void>((resolve) => void client.once('close', () => resolve()));
  const back = new Promise<void>((resolve) => void client.once('ready', () => resolve()));
  for (const line of String(await look.client.client('LIST')).split('\n'))
    if (/ (cmd=xread|cmd=subscribe|sub=[1-9])/.test(line) && !/ cmd=client/.test(line))
      await look.client.client('KILL', 'ID', line.match(/^id=(\d+)/)?.[1] ?? '');
  await closed;
  return { back };
}

it('[LOG-1] learns within a second of what was written when its bell is lost', async () => {
  await writer.sessions.create(aRow(S));
  const token = await claim();
  const watching = watch();
  await settle(watching);
  await muffle();
  for (const seq of [1, 2, 3]) {
    const writtenAt = await write(token, seq);
    await watching.until(() => watching.heard.length > 0);
    expect(performance.now() - writtenAt).toBeLessThan(1_000);
    // With the claim before it, it is more than a head.
    expect(watching.heard).toEqual([seq === 1 ? undefined : seq]);
    watching.heard.length = 0;
  }
  watching.stop();
}, 20_000);

it('learns within a second that a lease changed or a session was removed when its bell is lost', async () => {
  await writer.sessions.create(aRow(S));
  const watching = watch();
  await settle(watching);
  await muffle();
  const token = await claim();
  const lease = { token };
  const steps = [
    () => Promise.resolve(),
    () => writer.leases.release(S, lease),
    () => writer.sessions.remove(S),
  ] as const;
  for (const step of steps) {
    await step();
    const changedAt = performance.now();
    await watching.until(() => watching.heard.length > 0);
    expect(performance.now() - changedAt).toBeLessThan(1_000);
    watching.heard.length = 0;
  }
  watching.stop();
}, 20_000);

it('[LOG-1] learns of what was written while its connection was broken, and hears the bell again', async () => {
  await writer.sessions.create(aRow(S));
  const token = await claim();
  const watching = watch();
  await settle(watching);
  const { back } = await breakConnections();
  await write(token, 1);
  await back;
  const backAt = performance.now();
  await watching.until(() => watching.heard.length > 0);
  expect(performance.now() - backAt).toBeLessThan(1_000);
  const writtenAt = await write(token, 2);
  await watching.until(() => watching.heard.includes(2));
  // Sooner than any note is written.
  expect(performance.now() - writtenAt).toBeLessThan(300);
  watching.stop();
}, 20_000);

it('looks at all that it watches when its connection was broken, whatever the list says', async () => {
  await writer.sessions.create(aRow(S));
  const watching = watch();
  await settle(watching);
  await (await breakConnections()).back;
  const backAt = performance.now();
  await watching.until(() => watching.heard.length > 0);
  expect(performance.now() - backAt).toBeLessThan(1_000);
  watching.stop();
}, 20_000);

it('wakes all when it can’t tell what changed: entries were trimmed, Redis is another, too many changed', async () => {
  await writer.sessions.create(aRow(S));
  const watching = watch();
  await noteByHand({ b: '', h: 'history', c: '{}' });
  await settle(watching);
  const lastId = async (): Promise<string> => (await look.client.xrevrange(keys.changes, '+', '-'))[0]?.[0] ?? '';
  const notes = [
    { b: '1-1', h: 'history', c: '{}' },
    { b: await lastId(), h: 'history', c: '*' },
    { b: await lastId(), h: 'another', c: '{}' },
  ];
  for (const [n, note] of notes.entries()) {
    await noteByHand(n === 0 ? note : { ...note, b: await lastId() });
    await watching.until(() => watching.heard.length > 0);
    expect(watching.heard).toEqual([undefined]);
    watching.heard.length = 0;
  }
  // Nothing of this session, and nothing lost: the one after it is the first that it hears of.
  await noteByHand({ b: await lastId(), h: 'another', c: '{"sesn_two":7}' });
  await noteByHand({ b: await lastId(), h: 'another', c: JSON.stringify({ [S]: 9 }) });
  await watching.until(() => watching.heard.length > 0);
  expect(watching.heard).toEqual([9]);
  watching.stop();
}, 20_000);

it('writes one note for all that changed, and none where nothing did', async () => {
  const ids = Array.from({ length: 50 }, (_, n) => `sesn_${n}`);
  await Promise.all(ids.map((id) => writer.sessions.create(aRow(id))));
  const tokens = await Promise.all(ids.map(claim));
  const entries = (): Promise<number> => look.client.xlen(keys.changes);
  while ((await entries()) < 1);
  await Promise.all(
    ids.map((sessionId, n) => writer.log.append({ sessionId, token: tokens[n] ?? '', records: [anEvent(1)] })),
  );
  const before = await entries();
  while ((await entries()) === before);
  const [[, fields = []] = []] = await look.client.xrevrange(keys.changes, '+', '-', 'COUNT', 1);
  expect(JSON.parse(fields[5] ?? '')).toEqual(Object.fromEntries(ids.map((id) => [id, 1])));
});

it('asks nothing for sessions that are watched and don’t change', async () => {
  const followers = new Followers({
    ...{ tail: reader.tail, sessions: reader.sessions, clock: systemClock, logger },
    isNeeded: () => false,
    onOwner: quiet,
  });
  const ids = Array.from({ length: 500 }, (_, n) => `sesn_${n}`);
  await Promise.all(ids.map((id) => writer.sessions.create(aRow(id))));
  await Promise.all(ids.map((id) => followers.get(id)));
  // All were read once more when the reading of changes began.
  const reads = async (): Promise<number> => (await countCommands(look)).get('evalsha') ?? 0;
  for (let before = -1; before !== (await reads()); ) {
    before = await reads();
    await untilReads((await countCommands(look)).get('xread') ?? 0, 2);
  }
  await resetCounts(look);
  // Two seconds: whoever looks for himself does so every second.
  await untilReads(0, 5);
  const counts = await countCommands(look);
  expect(counts.get('evalsha') ?? 0).toBe(0);
  expect(sumOf(counts)).toBeLessThan(20);
  followers.close();
}, 30_000);

/** Each takes 0.4 s. */
async function untilReads(before: number, count: number): Promise<void> {
  while (((await countCommands(look)).get('xread') ?? 0) < before + count) await after(10);
}
