/** Notes which sessions this node changed, for nodes whose bell was lost: one write for all of them, now and then. */
import { keys } from './keys.js';
import type { RedisConnection } from './redis-connection.js';

/** Of a session: the head of its log, or null where its lease changed or it was removed. */
export type Changes = Readonly<Record<string, number | null>>;

/** In place of changes: so many that any session may have changed. */
export const ALL_CHANGED = '*';

const NOTE_EVERY_MS = 400;
const MAX_AN_ENTRY = 1_000;
/** Noted and not written, while Redis is away. */
const MAX_WAITING = 20_000;
/** Some seconds of a busy fleet: who is behind it looks at all that it watches. */
const MAX_ENTRIES = 1_000;

export class ChangeNotes {
  readonly #redis: RedisConnection;
  #changed = new Map<string, number | null>();
  #isAllChanged = false;
  #timer: NodeJS.Timeout | undefined;
  #writing: Promise<void> = Promise.resolve();
  #isClosed = false;

  constructor(redis: RedisConnection) {
    this.#redis = redis;
  }

  /** After the change. `head`: of the log, where that is what changed. */
  note(sessionId: string, head?: number): void {
    this.#merge(sessionId, head ?? null);
    if (this.#changed.size > MAX_WAITING) {
      this.#changed.clear();
      this.#isAllChanged = true;
    }
    this.#schedule();
  }

  /** Writes what is noted; nothing is written later. */
  async close(): Promise<void> {
    this.#isClosed = true;
    clearTimeout(this.#timer);
    await this.#writing;
    await this.#write();
  }

  #schedule(): void {
    if (this.#isClosed) return;
    this.#timer ??= setTimeout(() => {
      this.#writing = this.#write().finally(() => {
        this.#timer = undefined;
        if (this.#changed.size > 0 || this.#isAllChanged) this.#schedule();
      });
    }, NOTE_EVERY_MS).unref();
  }

  async #write(): Promise<void> {
    const changed = this.#changed;
    const entries = this.#isAllChanged ? [ALL_CHANGED] : [];
    const all = [...changed];
    for (let at = 0; at < all.length; at += MAX_AN_ENTRY)
      entries.push(JSON.stringify(Object.fromEntries(all.slice(at, at + MAX_AN_ENTRY))));
    if (entries.length === 0) return;
    const wasAllChanged = this.#isAllChanged;
    this.#changed = new Map();
    this.#isAllChanged = false;
    try {
      await this.#redis.run('changes-note', [keys.changes], [MAX_ENTRIES, ...entries]);
    } catch {
      // Written with the next.
      this.#isAllChanged ||= wasAllChanged;
      for (const [sessionId, head] of changed) this.#merge(sessionId, head);
    }
  }

  /** Heads only grow; that a lease changed is more than a head. */
  #merge(sessionId: string, head: number | null): void {
    const known = this.#changed.get(sessionId);
    const isMore = head === null || known === null;
    this.#changed.set(sessionId, isMore ? null : Math.max(head, known ?? 0));
  }
}
