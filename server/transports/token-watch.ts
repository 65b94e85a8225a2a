/** Warns before a credential ends, and says when it has (AUTH-2). */
import type { Clock, Timer } from '../ports/clock.js';

const WARN_AHEAD_MS = 60_000;
/** Node's timers end at 2^31 ms; a longer wait is made of several. */
const LONGEST_WAIT_MS = 2_000_000_000;

export interface TokenWatchDeps {
  readonly clock: Clock;
  readonly onExpiring?: (expiresAt: number) => void;
  readonly onExpired: () => void;
}

export class TokenWatch {
  private timer: Timer | undefined;

  constructor(private readonly deps: TokenWatchDeps) {}

  /** Watches this credential instead of the one before; `expiresAt` undefined: it never ends. */
  watch(expiresAt: number | undefined): void {
    this.timer?.cancel();
    this.timer = undefined;
    if (expiresAt === undefined) return;
    const leftMs = expiresAt - this.deps.clock.now();
    const warnAt = expiresAt - (leftMs > WARN_AHEAD_MS ? WARN_AHEAD_MS : leftMs * 0.2);
    this.waitUntil(warnAt, () => {
      this.deps.onExpiring?.(expiresAt);
      this.waitUntil(expiresAt, this.deps.onExpired);
    });
  }

  end(): void {
    this.timer?.cancel();
  }

  private waitUntil(atMs: number, then: () => void): void {
    const leftMs = Math.max(0, atMs - this.deps.clock.now());
    this.timer = this.deps.clock.schedule(Math.min(leftMs, LONGEST_WAIT_MS), () => {
      if (leftMs > LONGEST_WAIT_MS) this.waitUntil(atMs, then);
      else then();
    });
  }
}
