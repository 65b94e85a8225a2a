/** What the rooms of a fuzz stand on: one room on a directory, or several on one Redis; and what a crash leaves behind. */
import { cpSync, mkdtempSync, rmSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import {
  createRedisStore,
  RedisConnection,
  RedisInbox,
  type RedisStoreOptions,
} from '../../../server/adapters/redis/index.js';
import { keys } from '../../../server/adapters/redis/keys.js';
import type { LogRecord } from '../../../server/core/log-record.js';
import { FakeClock } from '../../support/fake-clock.js';

import type { RoomOptions } from '../support.js';
import { turns } from './event-loop.js';
import { flushRedis } from '../../support/redis-server.js';

export type Footing = Pick<RoomOptions, 'dataDir' | 'shared' | 'clock'>;

export interface Ground {
  /** How many rooms stand on it. */
  readonly rooms: number;
  open(): Promise<Footing>;
  /** The process dies at once. What the log holds at that moment, as far as it is known, and what the next one begins with. */
  crash(footing: Footing, sessionId: string): Promise<{ records: readonly LogRecord[]; next: Footing }>;
  /** Lets other work go on between two acts. */
  pause(count: number): Promise<void>;
  dispose(): Promise<void>;
}

class Directories {
  readonly #all: string[] = [];

  make(): string {
    const dataDir = mkdtempSync(join(tmpdir(), 'midstream-fuzz-'));
    this.#all.push(dataDir);
    return dataDir;
  }

  remove(): void {
    for (const dataDir of this.#all.splice(0)) rmSync(dataDir, { recursive: true, force: true });
  }
}

export function createEmbeddedGround(): Ground {
  const directories = new Directories();
  return {
    rooms: 1,
    open: async () => ({ dataDir: directories.make() }),
    async crash({ dataDir = '' }) {
      const image = directories.make();
      cpSync(dataDir, image, { recursive: true });
      return { records: [], next: { dataDir: image } };
    },
    pause: turns,
    dispose: async () => directories.remove(),
  };
}

/** Empties the Redis first. */
export async function createRedisGround(
  url: string,
  rooms: number,
  options: Pick<RedisStoreOptions, 'times'> = {},
): Promise<Ground> {
  const directories = new Directories();
  // Sees what is in Redis, whatever becomes of the rooms.
  const witness = await RedisConnection.open({ url });
  await flushRedis(witness);
  const observer = createRedisStore({ redis: witness });
  const connections = new Map<Footing, { readonly redis: RedisConnection; readonly nodeId: string }>();
  const open = async (): Promise<Footing> => {
    const redis = await RedisConnection.open({ url });
    const { nodeId, close, ...store } = createRedisStore({ redis, ...options });
    const inbox = await RedisInbox.open({ redis, nodeId, ...options });
    const shared = {
      ...store,
      nodes: { inbox, tail: store.tail },
      async close() {
        // After a crash they have nobody to say goodbye to.
        await Promise.allSettled([inbox.close(), close()]);
        await redis.close();
      },
    };
    // Redis has a clock of its own, by which answers are remembered.
    const footing = { dataDir: directories.make(), shared, clock: new FakeClock(Date.now()) };
    connections.set(footing, { redis, nodeId });
    return footing;
  };
  const pause = async (count: number): Promise<void> => {
    for (let n = 0; n < count; n++) await witness.do((client) => client.ping());
  };
  return {
    rooms,
    open,
    async crash(footing, sessionId) {
      const gone = connections.get(footing);
      gone?.redis.client.disconnect();
      // What it had sent is there before this is answered; then its leases lapse, at once instead of after 10 s.
      await pause(2);
      const read = await observer.tail.read(sessionId, 0);
      const row = keys.session(sessionId);
      await witness.do(async (client) => {
        if ((await client.hget(row, 'node')) !== gone?.nodeId) return;
        await client.hset(row, 'until', 0);
        await client.publish(keys.bell(sessionId), '');
      });
      return { records: read?.records ?? [], next: await open() };
    },
    pause,
    async dispose() {
      await observer.close();

      await witness.close();
      directories.remove();
    },
  };
}
