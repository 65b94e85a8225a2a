/** A clock that a test moves by hand. */
import type { Clock, Timer } from '../../../server/ports/clock.js';

interface Scheduled {
  readonly at: number;
  readonly fire: () => void;
}

export class ManualClock implements Clock {
  private nowMs = Date.UTC(2026, 0, 1);
  private readonly timers = new Set<Scheduled>();

  now(): number {
    return this.nowMs;
  }

  schedule(delayMs: number, fire: () => void): Timer {
    const timer = { at: this.nowMs + delayMs, fire };
    this.timers.add(timer);
    return { cancel: () => this.timers.delete(timer) };
  }

  get pending(): number {
    return this.timers.size;
  }

  /** Moves the time, firing what falls due, in order. */
  advance(ms: number): void {
    const end = this.nowMs + ms;
    for (;;) {
      const due = [...this.timers].filter((t) => t.at <= end).sort((a, b) => a.at - b.at)[0];
      if (due === undefined) break;
      this.timers.delete(due);
      this.nowMs = Math.max(this.nowMs, due.at);
      due.fire();
    }
    this.nowMs = end;
  }
}
