/** One deadline that keeps moving, on one timer: moving it later costs no timer call. */

/** What is waited for: response headers, the first block, the next event, or the end of a body that said all. */
export type WatchPhase = 'headers' | 'first_content' | 'silence' | 'body_end';

export class Watchdog {
  readonly #onExpired: (phase: WatchPhase, limitMs: number) => void;
  #phase: WatchPhase = 'headers';
  #limitMs = 0;
  #deadline = 0;
  #timer: NodeJS.Timeout | undefined;
  #firesAt = 0;

  constructor(onExpired: (phase: WatchPhase, limitMs: number) => void) {
    this.#onExpired = onExpired;
  }

  /** Replaces what is waited for. */
  expect(phase: WatchPhase, withinMs: number): void {
    this.#phase = phase;
    this.#limitMs = withinMs;
    this.#deadline = performance.now() + withinMs;
    if (this.#timer === undefined || this.#firesAt > this.#deadline) this.#arm(withinMs);
  }

  stop(): void {
    clearTimeout(this.#timer);
    this.#timer = undefined;
  }

  #arm(delayMs: number): void {
    clearTimeout(this.#timer);
    this.#firesAt = performance.now() + delayMs;
    this.#timer = setTimeout(() => this.#fired(), delayMs);
  }

  #fired(): void {
    this.#timer = undefined;
    const leftMs = this.#deadline - performance.now();
    // Timers may fire up to a millisecond early.
    if (leftMs > 1) this.#arm(leftMs);
    else this.#onExpired(this.#phase, this.#limitMs);
  }
}
