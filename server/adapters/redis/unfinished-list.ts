/**
 * Which sessions have unfinished turns. The list is under another tag than the sessions, so it may name too many, never
 * too few: a session is listed before its row says that a turn runs, and whoever reads the list asks the rows.
 */
import { keys } from './keys.js';
import type { StoreDoor } from './store-door.js';

/** What was listed so long ago, in milliseconds, and is not in its row by now, never got there. */
const STALE_MS = 60_000;
const ROWS_AT_ONCE = 100;

export class UnfinishedList {
  readonly #door: StoreDoor;

  constructor(door: StoreDoor) {
    this.#door = door;
  }

  /** Resolves with when it was listed. */
  async add(sessionId: string): Promise<string> {
    return String(await this.#door.run('unfinished-add', [keys.unfinished], [sessionId]));
  }

  /** Lists those again that a failover took off. */
  async keep(sessionIds: readonly string[]): Promise<void> {
    for (let at = 0; at < sessionIds.length; at += ROWS_AT_ONCE)
      await this.#door.run('unfinished-keep', [keys.unfinished], sessionIds.slice(at, at + ROWS_AT_ONCE));
  }

  /** Takes it off, unless it was listed again. */
  async drop(sessionId: string, listedAt: string): Promise<void> {
    await this.#door.run('unfinished-drop', [keys.unfinished], [sessionId, listedAt, 0]);
  }

  read(): Promise<string[]> {
    return this.#read(() => true);
  }

  /** Those whose lease is over at this time, in milliseconds since 1970. */
  readOrphans(now: number): Promise<string[]> {
    return this.#read((until) => until === null || Number(until) <= now);
  }

  async #read(isWanted: (leaseUntil: string | null) => boolean): Promise<string[]> {
    const listed = await this.#door.do((redis) =>
      redis.do((client) => client.zrange(keys.unfinished, '0', '-1', 'WITHSCORES')),
    );
    const ids: string[] = [];
    for (let at = 0; at < listed.length; at += 2 * ROWS_AT_ONCE) {
      const some = listed.slice(at, at + 2 * ROWS_AT_ONCE);
      await Promise.all(
        some.map(async (id, n) => {
          if (n % 2 === 1) return;
          const [flag, until] = await this.#door.do((redis) =>
            redis.do((client) => client.hmget(keys.session(id), 'unfinished', 'until')),
          );
          if (flag !== '1')
            await this.#door.run('unfinished-drop', [keys.unfinished], [id, some[n + 1] ?? '', STALE_MS]);
          else if (isWanted(until ?? null)) ids.push(id);
        }),
      );
    }
    return ids;
  }
}
