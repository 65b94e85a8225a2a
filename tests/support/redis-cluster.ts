/** A Redis Cluster of three masters on loopback. */
import { Redis } from 'ioredis';
import { freePort, type RedisServer, startRedis } from './redis-server.js';

export interface RedisCluster {
  readonly url: string;
  readonly nodes: readonly RedisServer[];
  dispose(): Promise<void>;
}

const SLOTS = 16_384;
const START_MS = 15_000;

export async function startRedisCluster(): Promise<RedisCluster> {
  const nodes = await Promise.all(
    Array.from({ length: 3 }, async () =>
      startRedis({
        settings: {
          'cluster-enabled': 'yes',
          'cluster-node-timeout': '2000',
          // By default 10,000 above the port, which may be beyond the last one.
          'cluster-port': String(await freePort()),
        },
      }),
    ),
  );
  const clients = nodes.map(({ port }) => new Redis({ port, host: '127.0.0.1' }));
  try {
    const share = Math.ceil(SLOTS / nodes.length);
    for (const [n, client] of clients.entries())
      await client.cluster('ADDSLOTSRANGE', n * share, Math.min(SLOTS, (n + 1) * share) - 1);
    const [first] = clients;
    for (const { port, busPort } of await Promise.all(nodes.slice(1).map(withBusPort)))
      await first?.call('CLUSTER', 'MEET', '127.0.0.1', port, busPort);
    await Promise.all(clients.map(untilWhole));
  } finally {
    for (const client of clients) client.disconnect();
  }
  return {
    url: `redis+cluster://${nodes.map(({ port }) => `127.0.0.1:${port}`).join(',')}`,
    nodes,
    dispose: async () => {
      await Promise.all(nodes.map((node) => node.dispose()));
    },
  };
}

async function withBusPort({ port }: RedisServer): Promise<{ port: number; busPort: string }> {
  const client = new Redis({ port, host: '127.0.0.1' });
  const [, busPort = '0'] = (await client.config('GET', 'cluster-port')) as string[];
  client.disconnect();
  return { port, busPort };
}

async function untilWhole(client: Redis): Promise<void> {
  for (const until = Date.now() + START_MS; Date.now() < until; ) {
    const info = (await client.cluster('INFO')) as string;
    if (info.includes('cluster_state:ok') && info.includes('cluster_known_nodes:3')) return;
    await new Promise((resolve) => setTimeout(resolve, 20));
  }
  throw new Error('the cluster did not come together');
}
