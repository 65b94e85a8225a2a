/**
 * How many turns run on this node, and which sessions wait for a place: first come, first served. A turn that waits for a
 * client or an approver has given its place away, and takes one when it goes on, over the limit too.
 */
import type { SessionState } from '../core/session-state.js';

export interface PlacesDeps {
  readonly capacity: number;
  readonly maxWaiting: number;
  readonly isDraining: () => boolean;
  /** There is a place for the next turn of this session; it is taken when this returns, or goes to the next. */
  readonly onFree: (sessionId: string) => void;
}

export class TurnPlaces {
  readonly #deps: PlacesDeps;
  readonly #running = new Set<string>();
  /** Kept for sessions whose turn is about to begin. */
  readonly #granted = new Set<string>();
  /** In the order in which they came. */
  readonly #waiting = new Set<string>();
  #isServing = false;
  #isHeldBack = false;

  constructor(deps: PlacesDeps) {
    this.#deps = deps;
  }

  get running(): number {
    return this.#running.size;
  }

  get waiting(): number {
    return this.#waiting.size;
  }

  get capacity(): number {
    return this.#deps.capacity;
  }

  /** Whether nobody else may begin to wait. */
  get isFull(): boolean {
    return this.#waiting.size >= this.#deps.maxWaiting;
  }

  /** Whether the session may begin a turn now; its own that runs is taken as ended. */
  isFreeFor(sessionId: string): boolean {
    if (this.#granted.has(sessionId)) return true;
    if (this.#isHeldBack) return false;
    const own = this.#running.has(sessionId) ? 1 : 0;
    return this.#waiting.size === 0 && this.#taken - own < this.#deps.capacity;
  }

  /** While turns are taken up that ran before, no other begins: there may be no place left for it. */
  async afterAll(resume: () => Promise<void>): Promise<void> {
    this.#isHeldBack = true;
    try {
      await resume();
    } finally {
      this.#isHeldBack = false;
      this.#serveSoon();
    }
  }

  /** Keeps a place for a turn that is about to begin. Returns whether there was one. */
  keepFor(sessionId: string): boolean {
    if (!this.isFreeFor(sessionId)) return false;
    this.#granted.add(sessionId);
    return true;
  }

  /** Gives back what was kept and not used. */
  giveBack(sessionId: string): void {
    if (this.#granted.delete(sessionId)) this.#serveSoon();
  }

  follow({ sessionId, turn, queue, deleted }: SessionState): void {
    const runs = turn !== undefined && turn.phase.name !== 'waiting';
    const waits = turn === undefined && queue.length > 0 && !deleted;
    if (runs) {
      this.#granted.delete(sessionId);
      this.#running.add(sessionId);
    } else this.#running.delete(sessionId);
    if (waits) this.#waiting.add(sessionId);
    else this.#waiting.delete(sessionId);
    this.#serveSoon();
  }

  gone(sessionId: string): void {
    this.#running.delete(sessionId);
    this.#waiting.delete(sessionId);
    this.#granted.delete(sessionId);
    this.#serveSoon();
  }

  get #taken(): number {
    return this.#running.size + this.#granted.size;
  }

  /** Not at once: a session that is in the middle of a step takes no other input. */
  #serveSoon(): void {
    if (this.#isServing || this.#waiting.size === 0 || this.#taken >= this.#deps.capacity) return;
    this.#isServing = true;
    queueMicrotask(() => {
      this.#isServing = false;
      this.#serve();
    });
  }

  #serve(): void {
    const { capacity, isDraining, onFree } = this.#deps;
    while (this.#taken < capacity && !isDraining() && !this.#isHeldBack) {
      const [next] = this.#waiting;
      if (next === undefined) return;
      this.#waiting.delete(next);
      this.#granted.add(next);
      onFree(next);
      this.#granted.delete(next);
    }
  }
}
