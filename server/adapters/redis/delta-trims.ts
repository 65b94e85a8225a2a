/** Deltas that are completed, on their way out: kept a moment longer for who follows on another node, and trimmed together. */
import { keys } from './keys.js';
import type { SessionHolds } from './session-holds.js';
import type { StoreDoor } from './store-door.js';

interface Due {
  readonly upToSeq: number;
  readonly at: number;
}

/** How long a follower may be late and still get them (LOG-5), in milliseconds. */
const KEPT_MS = 2_000;
const LOOK_MS = 1_000;

export class DeltaTrims {
  readonly #door: StoreDoor;
  readonly #holds: SessionHolds;
  readonly #due = new Map<string, Due>();
  readonly #timer: NodeJS.Timeout;

  constructor(door: StoreDoor, holds: SessionHolds) {
    this.#door = door;
    this.#holds = holds;
    this.#timer = setInterval(() => void this.#trimOld(), LOOK_MS).unref();
  }

  /** What is to be trimmed already waits for its time no longer than before. */
  add(sessionId: string, upToSeq: number): void {
    const at = this.#due.get(sessionId)?.at ?? performance.now();
    this.#due.set(sessionId, { upToSeq, at });
  }

  /** At once; never rejects: what stays is trimmed with the next ones. */
  async flush(sessionIds: Iterable<string> = [...this.#due.keys()]): Promise<void> {
    const calls = [...sessionIds].flatMap((sessionId) => {
      const due = this.#due.get(sessionId);
      const token = this.#holds.find(sessionId)?.token;
      this.#due.delete(sessionId);
      if (!due || token === undefined) return [];
      return [{ keys: [keys.session(sessionId), keys.deltas(sessionId)] as const, args: [token, due.upToSeq + 1] }];
    });
    if (calls.length > 0) await this.#door.redis.runAll('log-trim', calls);
  }

  async close(): Promise<void> {
    clearInterval(this.#timer);
    await this.flush();
  }

  async #trimOld(): Promise<void> {
    const until = performance.now() - KEPT_MS;
    await this.flush([...this.#due].flatMap(([sessionId, { at }]) => (at <= until ? [sessionId] : [])));
  }
}
