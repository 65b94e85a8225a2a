/** Logs of many sessions that are read in one turn of the event loop: one write, and each answered for itself. */
import { keys } from '../../server/adapters/redis/keys.js';
import { openRedisNode, type RedisNode } from '../support/redis-store.js';
import { RedisServer } from '../support/redis-server.js';

const SESSIONS = 50;

let server: RedisServer;
let node: RedisNode;

const idOf = (n: number): string => `sesn_${n}`;

/** How often Redis read from its connections. */
async function readsOfRedis(): Promise<number> {
  const stats = await node.redis.client.info('stats');
  return Number(/total_reads_processed:(\d+)/.exec(stats)?.[1]);
}

beforeAll(async () => {
  server = await RedisServer.start();
  node = await openRedisNode(server.url);
  for (let n = 0; n < SESSIONS; n++)
    await node.redis.client.hset(keys.session(idOf(n)), { created: '1', head: '0', epoch: `e${n}` });
  // The script's text is there already.
  await node.tail.read(idOf(0), 0);
});

afterAll(async () => {
  await node.close();
  await server.dispose();
});

it('reads them with one write, and gives each reader its own', async () => {
  const before = await readsOfRedis();
  const reads = await Promise.all(Array.from({ length: SESSIONS }, (_, n) => node.tail.read(idOf(n), 0)));
  const after = await readsOfRedis();
  expect(reads.map((read) => read?.epoch)).toEqual(Array.from({ length: SESSIONS }, (_, n) => `e${n}`));
  // One of these is the question itself; a lease or an announcement may be renewed meanwhile.
  expect(after - before).toBeLessThan(SESSIONS / 5);
});

it('fails one alone, and knows which is missing', async () => {
  await node.redis.client.hset(keys.session('sesn_broken'), { created: '1', head: '9', epoch: 'e' });
  await node.redis.client.set(keys.events('sesn_broken'), 'no stream');
  const broken = node.tail.read('sesn_broken', 0);
  const [missing, whole] = [node.tail.read('sesn_missing', 0), node.tail.read(idOf(7), 0)];
  await expect(broken).rejects.toMatchObject({ reason: 'store_failed' });
  await expect(missing).resolves.toBeUndefined();
  await expect(whole).resolves.toMatchObject({ epoch: 'e7', isWhole: true });
});

it('reads again after a Redis that forgot the script', async () => {
  await node.redis.client.script('FLUSH');
  const reads = await Promise.all([node.tail.read(idOf(1), 0), node.tail.read(idOf(2), 0)]);
  expect(reads.map((read) => read?.epoch)).toEqual(['e1', 'e2']);
});
