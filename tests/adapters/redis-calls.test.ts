/** The memory of keys on Redis beyond its contract: answers that got lost, and claims that another node is at. */
import { RedisCalls, RedisConnection } from '../../server/adapters/redis/index.js';
import { LogUnavailable } from '../../server/ports/event-log.js';
import { type RedisServer, startRedis } from '../support/redis-server.js';

const KEY = { userId: 'ada', orgId: 'acme', key: 'k1' };
const CLAIM = { callId: 'cmd_1', bodyHash: 'h1' };

let server: RedisServer;
const opened: RedisConnection[] = [];

async function aNode(waitMs: number): Promise<RedisCalls> {
  const connection = await RedisConnection.open({ url: server.url, commandTimeoutMs: 100 });
  opened.push(connection);
  return new RedisCalls(connection, waitMs);
}

beforeEach(async () => {
  server = await startRedis();
});
afterEach(async () => {
  server.resume();
  for (const connection of opened.splice(0)) await connection.close();
  await server.dispose();
});

it('[CMD-2] does not take the same claim, sent again, for another one', async () => {
  const calls = await aNode(0);
  expect(await calls.claim(KEY, CLAIM)).toBeUndefined();
  // As a client of a Cluster does where a connection was lost under it.
  expect(await calls.claim(KEY, CLAIM)).toBeUndefined();
  await calls.settle(KEY, CLAIM.callId, '"first"');
  expect(await calls.claim(KEY, CLAIM)).toMatchObject({ answer: '"first"' });
});

it('[CMD-2] spends no key by a claim that Redis took without saying so', async () => {
  const calls = await aNode(0);
  // So that Redis knows the script.
  await calls.claim({ ...KEY, key: 'k0' }, CLAIM);
  server.stall();
  await expect(calls.claim(KEY, CLAIM)).rejects.toBeInstanceOf(LogUnavailable);
  server.resume();
  const other = await aNode(0);
  // To another node it is a call whose outcome nobody knows.
  expect(await other.claim(KEY, { callId: 'cmd_3', bodyHash: 'h1' })).toMatchObject({ callId: CLAIM.callId });
  expect(await calls.claim(KEY, { callId: 'cmd_2', bodyHash: 'h1' })).toBeUndefined();
  await calls.settle(KEY, 'cmd_2', '"done"');
  expect(await calls.claim(KEY, { callId: 'cmd_4', bodyHash: 'h1' })).toMatchObject({ answer: '"done"' });
});

it('[CMD-2] tells a node the answer of the other that is at it', async () => {
  const [one, other] = [await aNode(60_000), await aNode(60_000)];
  expect(await one.claim(KEY, CLAIM)).toBeUndefined();
  const known = other.claim(KEY, { callId: 'cmd_2', bodyHash: 'h1' });
  expect(await other.claim(KEY, { callId: 'cmd_3', bodyHash: 'h2' })).toEqual({ ...CLAIM, answer: undefined });
  await one.settle(KEY, CLAIM.callId, '"first"');
  expect(await known).toEqual({ ...CLAIM, answer: '"first"' });
});

it('[CMD-2] does not wait for one who was at it for long', async () => {
  const [one, other] = [await aNode(0), await aNode(1)];
  await one.claim(KEY, CLAIM);
  expect(await other.claim(KEY, { callId: 'cmd_2', bodyHash: 'h1' })).toEqual({ ...CLAIM, answer: undefined });
});
