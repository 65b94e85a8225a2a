/** Keeps a client below the server's command rate, whose excess would cost the connection (4429). */
import type { Runtime } from './runtime.js';

/** Commands a second where the server named no limit. */
const DEFAULT_PER_SECOND = 60;
/** The part of the limit that is used; the rest is for pings and for clocks that differ. */
const SHARE = 0.8;

export class Pacer {
  readonly #runtime: Runtime;
  #perSecond = DEFAULT_PER_SECOND * SHARE;
  #tokens = DEFAULT_PER_SECOND * SHARE;
  #filledMs: number;

  constructor(runtime: Runtime) {
    this.#runtime = runtime;
    this.#filledMs = runtime.now();
  }

  /** A new connection has its own count. `perSecond` is the limit that its server named. */
  restart(perSecond: number | undefined): void {
    this.#perSecond = Math.max(1, (perSecond ?? DEFAULT_PER_SECOND) * SHARE);
    this.#tokens = this.#perSecond;
    this.#filledMs = this.#runtime.now();
  }

  /** Takes leave to send one command: 0, or the milliseconds to wait before asking again. */
  take(): number {
    const nowMs = this.#runtime.now();
    this.#tokens = Math.min(this.#perSecond, this.#tokens + ((nowMs - this.#filledMs) / 1_000) * this.#perSecond);
    this.#filledMs = nowMs;
    if (this.#tokens >= 1) {
      this.#tokens -= 1;
      return 0;
    }
    return Math.ceil(((1 - this.#tokens) / this.#perSecond) * 1_000);
  }
}
