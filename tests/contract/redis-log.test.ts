/** The contracts of log, sessions and leases on Redis: one server, and a Cluster of three. */
import { describeOnRedis } from '../support/on-redis.js';
import { createRedisHarness } from '../support/redis-store.js';
import { describeEventLog } from './event-log.contract.js';
import { describeLeases } from './lease.contract.js';
import { describeSessionStore } from './session-store.contract.js';

describeOnRedis((name, redis) => {
  const createHarness = () => createRedisHarness(() => redis().url);
  describeEventLog(name, createHarness);
  describeSessionStore(name, createHarness);
  describeLeases(name, createHarness);
});
