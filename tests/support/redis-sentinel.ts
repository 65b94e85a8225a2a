/** A master, its replica and a Sentinel on loopback, for failovers that lose the tail of what was written, or nothing. */
import { spawn } from 'node:child_process';
import { mkdtempSync, rmSync, writeFileSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { Redis } from 'ioredis';
import { freePort, type RedisServer, startRedis } from './redis-server.js';

export interface RedisSentinel {
  readonly url: string;
  readonly master: RedisServer;
  readonly replica: RedisServer;
  /** Resolves when the replica has all that was written until now. */
  replicated(): Promise<void>;
  /** From now on the replica hears nothing of the master; Sentinel and who is connected don't notice. */
  cutReplication(): Promise<void>;
  dispose(): Promise<void>;
}

const NAME = 'main';
const DOWN_AFTER_MS = 500;
const START_MS = 10_000;

export async function startRedisSentinel(): Promise<RedisSentinel> {
  const master = await startRedis();
  const replica = await startRedis({ settings: { replicaof: `127.0.0.1 ${master.port}` } });
  await until(replica, (info) => info.includes('master_link_status:up'));
  const port = await freePort();
  const dir = mkdtempSync(join(tmpdir(), 'midstream-sentinel-'));
  const file = join(dir, 'sentinel.conf');
  writeFileSync(
    file,
    [
      `port ${port}`,
      'bind 127.0.0.1',
      `dir ${dir}`,
      `sentinel monitor ${NAME} 127.0.0.1 ${master.port} 1`,
      `sentinel down-after-milliseconds ${NAME} ${DOWN_AFTER_MS}`,
      `sentinel failover-timeout ${NAME} 5000`,
    ].join('\n'),
  );
  const sentinel = spawn('redis-server', [file, '--sentinel'], { stdio: 'ignore' });
  const gone = new Promise((resolve) => sentinel.once('close', resolve));
  await until({ port }, (info) => info.includes('slaves=1'), 'sentinel');
  return {
    url: `redis+sentinel://127.0.0.1:${port}/${NAME}`,
    master,
    replica,
    async replicated() {
      const client = new Redis({ port: master.port, host: '127.0.0.1' });
      await client.set('midstream:probe', '1', 'PX', 1);
      const count = await client.wait(1, START_MS);
      client.disconnect();
      if (count < 1) throw new Error('the replica did not follow');
    },
    async cutReplication() {
      const client = new Redis({ port: master.port, host: '127.0.0.1' });
      // Who is connected stays; who comes again is asked for a password that it doesn't have.
      await client.config('SET', 'requirepass', 'another');
      await client.call('CLIENT', 'KILL', 'TYPE', 'replica');
      client.disconnect();
    },
    async dispose() {
      sentinel.kill('SIGKILL');
      await gone;
      await Promise.all([master.dispose(), replica.dispose()]);
      rmSync(dir, { recursive: true, force: true });
    },
  };
}

async function until(
  { port }: { readonly port: number },
  isSo: (info: string) => boolean,
  section = 'replication',
): Promise<void> {
  const client = new Redis({ port, host: '127.0.0.1' });
  client.on('error', () => undefined);
  try {
    for (const end = Date.now() + START_MS; Date.now() < end; ) {
      if (isSo(await client.info(section).catch(() => ''))) return;
      await new Promise((resolve) => setTimeout(resolve, 20));
    }
  } finally {
    client.disconnect();
  }
  throw new Error(`Redis at ${port} did not come together with its others`);
}
