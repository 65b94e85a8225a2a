/** Which nodes are taken for dead, by what they say of themselves in a real Redis. */
import { RedisConnection, RedisInbox } from '../../server/adapters/redis/index.js';
import { keys } from '../../server/adapters/redis/keys.js';
import { NodeWatch } from '../../server/session/node-watch.js';
import { FakeClock } from '../support/fake-clock.js';
import { type RedisServer, startRedis } from '../support/redis-server.js';

/** Nobody renews by itself while a test runs. */
const times = { leaseMs: 1_000_000, renewMs: 300_000 };

let redis: RedisServer;
let connection: RedisConnection;
let inbox: RedisInbox;
let clock: FakeClock;
let watch: NodeWatch;
let dead: string[];

beforeEach(async () => {
  redis = await startRedis();
  connection = await RedisConnection.open({ url: redis.url, commandTimeoutMs: 1_500 });
  inbox = await RedisInbox.open({ redis: connection, nodeId: 'one', times });
  clock = new FakeClock();
  watch = new NodeWatch({ inbox, clock });
  dead = [];
  watch.onDead((nodeId) => dead.push(nodeId));
});
afterEach(async () => {
  watch.close();
  redis.resume();
  await inbox.close();
  await connection.close();
  await redis.dispose();
});

const say = (nodeId: string): Promise<unknown> => connection.client.set(keys.alive(nodeId), '1');
const unsay = (nodeId: string): Promise<unknown> => connection.client.del(keys.alive(nodeId));

/** One look, a renewal after the last. */
async function look(): Promise<void> {
  let isOver = false;
  const isAlive = inbox.isAlive.bind(inbox);
  inbox.isAlive = (nodeId) => isAlive(nodeId).finally(() => setImmediate(() => (isOver = true)));
  clock.advance(times.renewMs - 1);
  expect(clock.pending).toBe(1);
  clock.advance(1);
  while (!isOver) await new Promise(setImmediate);
  inbox.isAlive = isAlive;
}

it('takes a node for dead that is missing twice in a row, a renewal apart', async () => {
  await say('two');
  watch.add('two');
  await look();
  await unsay('two');
  await look();
  expect(dead).toEqual([]);
  await look();
  expect(dead).toEqual(['two']);
});

it('takes no node for dead that says again that it is there, as after a Redis that lost it', async () => {
  watch.add('two');
  for (let round = 0; round < 3; round++) {
    await look();
    await say('two');
    await look();
    await unsay('two');
  }
  expect(dead).toEqual([]);
});

it('takes no node for dead while Redis can’t tell, and begins to count anew afterwards', async () => {
  watch.add('two');
  await look();
  await redis.kill();
  await look();
  await look();
  expect(dead).toEqual([]);
  const back = new Promise<void>((resolve) => void connection.client.once('ready', () => resolve()));
  await redis.start();
  await back;
  await look();
  expect(dead).toEqual([]);
  await look();
  expect(dead).toEqual(['two']);
}, 20_000);
