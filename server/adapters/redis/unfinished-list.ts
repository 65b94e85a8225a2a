/**
 * Which sessions have unfinished turns. The list is under another tag than the sessions, so it may name too many, never
 * too few: a session is listed before its row says that a turn runs, and whoever reads the list asks the rows.
 */
import { keys } from './keys.js';
import { type StoreDoor, toFailed } from './store-door.js';

/** What was listed so long ago, in milliseconds, and is not in its row by now, never got there: longer than any lease. */
const STALE_MS = 600_000;
const PAGE = 1_000;

interface Listed {
  readonly id: string;
  readonly at: string;
}

interface Looked {
  readonly id: string;
  readonly isUnfinished: boolean;
  /** How long its lease lives on, in milliseconds. */
  readonly leaseMs: number;
}

export class UnfinishedList {
  readonly #door: StoreDoor;
  /** Listed sessions by when their lease lapses, if nobody renews it; of the clock that never goes back. */
  readonly #heldUntil = new Map<string, number>();
  /** Whose lease was given back while it was looked: what was seen may be older. */
  readonly #forgotten = new Set<string>();

  constructor(door: StoreDoor) {
    this.#door = door;
  }

  /** Resolves with when it was listed. */
  async add(sessionId: string): Promise<string> {
    return String(await this.#door.run('unfinished-add', [keys.unfinished], [sessionId]));
  }

  /** Lists those again that a failover took off. */
  async keep(sessionIds: readonly string[]): Promise<void> {
    for (let at = 0; at < sessionIds.length; at += PAGE)
      await this.#door.run('unfinished-keep', [keys.unfinished], sessionIds.slice(at, at + PAGE));
  }

  /** Takes it off, unless it was listed again. */
  async drop(sessionId: string, listedAt: string): Promise<void> {
    await this.#door.run('unfinished-drop', [keys.unfinished], [sessionId, listedAt, 0]);
  }

  async read(): Promise<string[]> {
    const ids: string[] = [];
    for await (const page of this.#pages())
      for (const { id, isUnfinished } of await this.#look(page)) if (isUnfinished) ids.push(id);
    return ids;
  }

  /**
   * Those whose lease is over. Who holds a session is not asked again before the lease would lapse that was seen last: a
   * lease that is given back earlier is told (`forget`), or found when that time has come. `isHere`: not asked at all.
   */
  async readOrphans(isHere: (sessionId: string) => boolean): Promise<string[]> {
    const orphans: string[] = [];
    const listed = new Set<string>();
    this.#forgotten.clear();
    for await (const page of this.#pages()) {
      const now = performance.now();
      for (const { id } of page) listed.add(id);
      const asked = page.filter(({ id }) => !isHere(id) && (this.#heldUntil.get(id) ?? 0) <= now);
      for (const { id, isUnfinished, leaseMs } of await this.#look(asked)) {
        if (leaseMs === 0 && isUnfinished) orphans.push(id);
        if (leaseMs > 0 && !this.#forgotten.has(id)) this.#heldUntil.set(id, now + leaseMs);
      }
    }
    for (const id of this.#heldUntil.keys()) if (!listed.has(id)) this.#heldUntil.delete(id);
    return orphans;
  }

  /** Its lease was given back: it is asked at the next look. */
  forget(sessionId: string): void {
    this.#heldUntil.delete(sessionId);
    this.#forgotten.add(sessionId);
  }

  /** What is taken off meanwhile may move one out of sight: the next look sees it. */
  async *#pages(): AsyncGenerator<readonly Listed[]> {
    for (let from = 0; ; from += PAGE) {
      const found = await this.#door.do((redis) =>
        redis.do((client) => client.zrange(keys.unfinished, `${from}`, `${from + PAGE - 1}`, 'WITHSCORES')),
      );
      const page: Listed[] = [];
      for (let n = 0; n < found.length; n += 2) page.push({ id: found[n] as string, at: found[n + 1] as string });
      if (page.length > 0) yield page;
      if (page.length < PAGE) return;
    }
  }

  async #look(listed: readonly Listed[]): Promise<readonly Looked[]> {
    const calls = listed.map(({ id }) => ({ keys: [keys.session(id)] as const, args: [] }));
    const outcomes = await this.#door.do((redis) => redis.runAll('lease-look', calls));
    const looked: Looked[] = [];
    const doubtful: Listed[] = [];
    for (const [n, { error, ...outcome }] of outcomes.entries()) {
      if (error !== undefined) throw toFailed(error);
      const [isUnfinished, leaseMs] = (outcome as { reply: unknown }).reply as [number, number];
      const one = listed[n] as Listed;
      looked.push({ id: one.id, isUnfinished: isUnfinished === 1, leaseMs });
      if (isUnfinished !== 1) doubtful.push(one);
    }
    await this.#dropStale(doubtful);
    return looked;
  }

  async #dropStale(listed: readonly Listed[]): Promise<void> {
    const calls = listed.map(({ id, at }) => ({ keys: [keys.unfinished] as const, args: [id, at, STALE_MS] }));
    await this.#door.do((redis) => redis.runAll('unfinished-drop', calls));
  }
}
