/** The one timer of a session, set to the earliest thing that time alone will do. */
import { nextWakeAt } from '../core/clock-input.js';
import type { SessionState } from '../core/session-state.js';
import type { Clock, Timer } from '../ports/clock.js';

export class WakeTimer {
  #timer: Timer | undefined;
  #wakeAt: number | undefined;

  /** `tick` steps the machine and returns the state after it; undefined where the actor is dead. */
  constructor(
    private readonly clock: Clock,
    private readonly tick: () => SessionState | undefined,
  ) {}

  /** Sets the timer anew where a step may have changed when it is due; a delta doesn't. */
  follow(before: SessionState, after: SessionState): void {
    const [was, is] = [before.turn, after.turn];
    const isSame =
      is?.calls === was?.calls &&
      is?.phase === was?.phase &&
      is?.deadlineAt === was?.deadlineAt &&
      after.registrations === before.registrations;
    if (!isSame) this.#set(nextWakeAt(after));
  }

  cancel(): void {
    this.#timer?.cancel();
    this.#timer = undefined;
    this.#wakeAt = undefined;
  }

  #set(wakeAt: number | undefined): void {
    if (wakeAt === this.#wakeAt) return;
    this.cancel();
    if (wakeAt === undefined) return;
    this.#wakeAt = wakeAt;
    this.#timer = this.clock.schedule(Math.max(0, wakeAt - this.clock.now()), () => {
      this.#wakeAt = undefined;
      const state = this.tick();
      // A timer that fired early found nothing to do, and so nothing set it again.
      if (state && this.#wakeAt === undefined) this.#set(nextWakeAt(state));
    });
  }
}
