/**
 * When the appends for one server go out: at once, but for deltas alone where a flush has just gone. Each flush costs
 * this node, Redis and those who follow a wake-up, so deltas wait a moment for others.
 */
import type { AppendBatch } from './append-batch.js';

export interface AppendLaneDeps {
  /** Between two flushes of nothing but deltas, at least, in milliseconds. */
  readonly deltasEveryMs: number;
  /** Sends some of what is ready, and resolves when it was answered; never rejects. */
  readonly send: (batches: readonly AppendBatch[]) => Promise<void>;
}

/** A flush holds at most this and one batch. */
const MAX_FLUSH_BYTES = 4 * 1_024 * 1_024;

export class AppendLane {
  readonly #deps: AppendLaneDeps;
  readonly #ready = new Set<AppendBatch>();
  /** Something that is ready is more than deltas, or somebody waits for it. */
  #isUrgent = false;
  #isFlying = false;
  #isScheduled = false;
  /** When the last flush went, of the clock that never goes back. */
  #flushedAt = Number.NEGATIVE_INFINITY;
  #pause: NodeJS.Timeout | undefined;

  constructor(deps: AppendLaneDeps) {
    this.#deps = deps;
  }

  add(batch: AppendBatch): void {
    this.#ready.add(batch);
    if (!batch.isDeltasAlone) this.#isUrgent = true;
    this.#schedule();
  }

  remove(batch: AppendBatch): void {
    this.#ready.delete(batch);
  }

  /** What is ready waits for nothing but the flush that is under way. */
  hurry(): void {
    this.#isUrgent = true;
    this.#schedule();
  }

  #schedule(): void {
    if (this.#isFlying || this.#isScheduled || this.#ready.size === 0) return;
    const waitMs = this.#isUrgent ? 0 : this.#flushedAt + this.#deps.deltasEveryMs - performance.now();
    if (waitMs > 0) {
      this.#pause ??= setTimeout(() => void this.#flush(), waitMs);
      return;
    }
    this.#isScheduled = true;
    setImmediate(() => void this.#flush());
  }

  async #flush(): Promise<void> {
    clearTimeout(this.#pause);
    this.#pause = undefined;
    this.#isScheduled = false;
    if (this.#isFlying) return;
    this.#isFlying = true;
    let isLeft = this.#ready.size > 0;
    while (isLeft) {
      this.#flushedAt = performance.now();
      const batches = this.#takeSome();
      isLeft = this.#ready.size > 0;
      await this.#deps.send(batches);
    }
    this.#isFlying = false;
    this.#schedule();
  }

  #takeSome(): AppendBatch[] {
    const batches: AppendBatch[] = [];
    let bytes = 0;
    for (const batch of this.#ready) {
      if (bytes >= MAX_FLUSH_BYTES) return batches;
      this.#ready.delete(batch);
      bytes += batch.bytes;
      batches.push(batch);
    }
    this.#isUrgent = false;
    return batches;
  }
}
