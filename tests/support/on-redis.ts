/** The same suite on one `redis-server` and on a Cluster of three. */
import { type RedisCluster, startRedisCluster } from './redis-cluster.js';
import { type RedisServer, startRedis } from './redis-server.js';

const START_MS = 30_000;

/** `redis`: the one that runs for the suite; not before its hooks and tests. */
export function describeOnRedis(define: (name: string, redis: () => RedisServer | RedisCluster) => void): void {
  describe.each([
    ['Redis', () => startRedis()],
    ['Redis Cluster', () => startRedisCluster()],
  ] as const)('%s', (name, start) => {
    let redis: RedisServer | RedisCluster;
    beforeAll(async () => {
      redis = await start();
    }, START_MS);
    afterAll(() => redis.dispose());
    define(name, () => redis);
  });
}
