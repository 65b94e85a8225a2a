/** Deltas of completed blocks, kept in the log for a while for those who watch on other nodes, and trimmed together (LOG-5). */
import { keys } from './keys.js';
import type { SessionHolds } from './session-holds.js';
import type { StoreDoor } from './store-door.js';

/** Deltas stay for one to two of these, in milliseconds: a node that was not woken looks after a second at the latest. */
const ROUND_MS = 3_000;

export class DeltaTrims {
  readonly #door: StoreDoor;
  readonly #holds: SessionHolds;
  /** Up to which seq, by session: of this round, and of the one before. */
  #young = new Map<string, number>();
  #due = new Map<string, number>();
  #timer: NodeJS.Timeout | undefined;

  constructor(door: StoreDoor, holds: SessionHolds) {
    this.#door = door;
    this.#holds = holds;
  }

  add(sessionId: string, upToSeq: number): void {
    this.#young.set(sessionId, upToSeq);
    this.#timer ??= setTimeout(() => this.#turn(), ROUND_MS).unref();
  }

  /** What it had to trim is of an epoch that is over: its seqs mean something else now. */
  forget(sessionId: string): void {
    this.#young.delete(sessionId);
    this.#due.delete(sessionId);
  }

  /** At once, while the lease is still held. Never rejects: what stays is trimmed with the next ones. */
  async flush(sessionId: string): Promise<void> {
    const upToSeq = this.#young.get(sessionId) ?? this.#due.get(sessionId);
    this.#young.delete(sessionId);
    this.#due.delete(sessionId);
    if (upToSeq !== undefined) await this.#trim([[sessionId, upToSeq]]);
  }

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

  async #trim(some: Iterable<readonly [sessionId: string, upToSeq: number]>): Promise<void> {
    const calls = [...some].flatMap(([sessionId, upToSeq]) => {
      const token = this.#holds.find(sessionId)?.token;
      if (token === undefined) return [];
      return [{ keys: [keys.session(sessionId), keys.deltas(sessionId)] as const, args: [token, upToSeq + 1] }];
    });
    if (calls.length > 0) await this.#door.redis.runAll('log-trim', calls);
  }
}
