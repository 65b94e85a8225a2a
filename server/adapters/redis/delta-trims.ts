/** Deltas of completed blocks, kept in the log for a while for those who watch on other nodes, and trimmed together (LOG-5). */
import { keys } from './keys.js';
import type { SessionHolds } from './session-holds.js';
import type { StoreDoor } from './store-door.js';

/** Deltas stay for one to two of these, in milliseconds: a node that was not woken looks after a second at the latest. */
const ROUND_MS = 3_000;

interface Trim {
  readonly upToSeq: number;
  /** Of the lease under which they were completed; it may be over when they are trimmed. */
  readonly token: string;
}

export class DeltaTrims {
  readonly #door: StoreDoor;
  readonly #holds: SessionHolds;
  /** By session: of this round, and of the one before. */
  #young = new Map<string, Trim>();
  #due = new Map<string, Trim>();
  #timer: NodeJS.Timeout | undefined;

  constructor(door: StoreDoor, holds: SessionHolds) {
    this.#door = door;
    this.#holds = holds;
  }

  /** Nothing where the session is not held here. */
  add(sessionId: string, upToSeq: number): void {
    const token = this.#holds.find(sessionId)?.token;
    if (token === undefined) return;
    this.#young.set(sessionId, { upToSeq, token });
    this.#timer ??= setTimeout(() => this.#turn(), ROUND_MS).unref();
  }

  /** What it had to trim is of an epoch that is over: its seqs mean something else now. */
  forget(sessionId: string): void {
    this.#young.delete(sessionId);
    this.#due.delete(sessionId);
  }

  /** Up to where the deltas of a session are to be trimmed: they are kept for those who watch elsewhere alone. */
  doneUpTo(sessionId: string): number {
    return (this.#young.get(sessionId) ?? this.#due.get(sessionId))?.upToSeq ?? 0;
  }

  /** Trims at once. Never rejects: what stays is trimmed with the next ones. */
  async close(): Promise<void> {
    clearTimeout(this.#timer);
    const all = new Map([...this.#due, ...this.#young]);
    this.#due.clear();
    this.#young.clear();
    await this.#trim(all);
  }

  #turn(): void {
    void this.#trim(this.#due);
    this.#due = this.#young;
    this.#young = new Map();
    this.#timer = this.#due.size > 0 ? setTimeout(() => this.#turn(), ROUND_MS).unref() : undefined;
  }

  async #trim(some: Iterable<readonly [sessionId: string, trim: Trim]>): Promise<void> {
    const calls = [...some].map(([sessionId, trim]) => ({
      keys: [keys.session(sessionId), keys.deltas(sessionId)] as const,
      args: [this.#holds.find(sessionId)?.token ?? trim.token, trim.upToSeq + 1],
    }));
    if (calls.length > 0) await this.#door.redis.runAll('log-trim', calls);
  }
}
