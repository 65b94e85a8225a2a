/** The one timer of a session, set to the earliest thing that time alone will do. */
import { nextWakeAt } from '../core/clock-input.js';
import type { SessionState } from '../core/session-state.js';
import type { Clock, Timer } from '../ports/clock.js';

export class WakeTimer {
  #timer: Timer | undefined;
  #wakeAt: number | undefined;
  #followed: SessionState | undefined;

  /** `tick` steps the machine and returns the state after it; undefined where the actor is dead. */
  constructor(
    private readonly clock: Clock,
    private readonly tick: () => SessionState | undefined,
  ) {}

  /**
   * Sets the timer anew where a step may have changed when it is due; a delta doesn't. The first state is always looked
   * at: a turn that was taken up again may wait as it did before.
   */
  follow(state: SessionState): void {
    const before = this.#followed;
    this.#followed = state;
    if (!before || !isSame(before, state)) this.#set(nextWakeAt(state));
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

const isSame = (before: SessionState, after: SessionState): boolean =>
  after.turn?.calls === before.turn?.calls &&
  after.turn?.phase === before.turn?.phase &&
  after.turn?.deadlineAt === before.turn?.deadlineAt &&
  after.registrations === before.registrations;
