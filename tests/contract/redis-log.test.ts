/** The contracts of log, sessions and leases on Redis: one server, and a Cluster of three. */
import { type RedisCluster, startRedisCluster } from '../support/redis-cluster.js';
import { type RedisServer, startRedis } from '../support/redis-server.js';
import { createRedisHarness } from '../support/redis-store.js';
import { describeEventLog } from './event-log.contract.js';
import { describeLeases } from './lease.contract.js';
import { describeSessionStore } from './session-store.contract.js';

describe.each([
  ['Redis', () => startRedis()],
  ['Redis Cluster', () => startRedisCluster()],
] as const)('%s', (name, start) => {
  let redis: RedisServer | RedisCluster;
  beforeAll(async () => {
    redis = await start();
  }, 30_000);
  afterAll(() => redis.dispose());

  const createHarness = () => createRedisHarness(() => redis.url);
  describeEventLog(name, createHarness);
  describeSessionStore(name, createHarness);
  describeLeases(name, createHarness);
});
