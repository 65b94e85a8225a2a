/** Opens session stores on one Redis, each as a node of its own. */
import {
  createRedisStore,
  RedisConnection,
  type RedisStore,
  type RedisStoreOptions,
} from '../../server/adapters/redis/index.js';
import { flushRedis } from './redis-server.js';
import type { LogStore, StoreHarness } from './store-harness.js';

export interface RedisNode extends LogStore {
  readonly tail: RedisStore['tail'];
  readonly nodeId: string;
  readonly redis: RedisConnection;
  /** As a crash does: nothing is given back. */
  cut(): void;
}

export interface RedisNodeOptions extends Omit<RedisStoreOptions, 'redis'> {
  readonly now?: (() => number) | undefined;
  readonly commandTimeoutMs?: number;
}

export async function openRedisNode(
  url: string,
  { now, commandTimeoutMs, ...options }: RedisNodeOptions = {},
): Promise<RedisNode> {
  const redis = await RedisConnection.open({
    url,
    ...(now && { now }),
    ...(commandTimeoutMs !== undefined && { commandTimeoutMs }),
  });
  const store = createRedisStore({ redis, ...options });
  return {
    ...store,
    redis,
    async close() {
      await store.close();
      await redis.close();
    },
    cut: () => redis.client.disconnect(),
  };
}

/** The Redis is emptied by `openFresh`. */
export function createRedisHarness(url: () => string): StoreHarness<LogStore> {
  const opened: RedisNode[] = [];
  let clock: (() => number) | undefined;
  const open = async (now = clock): Promise<RedisNode> => {
    const node = await openRedisNode(url(), { now });
    opened.push(node);
    return node;
  };
  return {
    async openFresh(now) {
      clock = now;
      const node = await open();
      await flushRedis(node.redis);
      return node;
    },
    reopen: open,
    openSecondNode: open,
    async dispose() {
      await Promise.all(opened.splice(0).map((node) => node.close()));
    },
  };
}
