/** The time before a connection is authenticated (AUTH-1): an absolute deadline, and frames held while a token is verified. */
import { BOUNDS } from '../../../protocol/index.js';
import type { Clock, Timer } from '../../ports/clock.js';

export class FirstFrame {
  private deadline: Timer | undefined;
  /** Frames that had arrived with the token, in order; no more come, for the socket is paused meanwhile. */
  private held: (() => void)[] | undefined;

  constructor(
    private readonly clock: Clock,
    private readonly onTimeout: () => void,
  ) {}

  expect(): void {
    this.deadline = this.clock.schedule(BOUNDS.authenticateMs, this.onTimeout);
  }

  hold(): void {
    this.held = [];
  }

  get isHolding(): boolean {
    return this.held !== undefined;
  }

  /** Whether the frame has to wait; then `later` runs once the connection is authenticated. */
  holds(later: () => void): boolean {
    this.held?.push(later);
    return this.held !== undefined;
  }

  /** Authenticated: the deadline is off, and what was held takes effect in the order it came. */
  release(): void {
    this.deadline?.cancel();
    const { held = [] } = this;
    this.held = undefined;
    for (const later of held) later();
  }

  end(): void {
    this.deadline?.cancel();
    this.held = undefined;
  }
}
