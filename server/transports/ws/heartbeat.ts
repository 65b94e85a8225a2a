/** One interval for all connections: pings each in its time, and finds the silent ones. */
import { BOUNDS } from '../../../protocol/index.js';
import type { Clock, Timer } from '../../ports/clock.js';

export interface Pulse {
  /** Called every `BEAT_MS`. Time is counted in beats: a process that stood still, or a clock that jumped, drops nobody. */
  beat(): void;
}

/** Short enough that a silent peer is found soon after its 60 s. */
export const BEAT_MS = BOUNDS.pingIntervalMs / 5;

export class Heartbeat {
  private readonly pulses = new Set<Pulse>();
  private timer: Timer | undefined;

  constructor(private readonly clock: Clock) {}

  add(pulse: Pulse): void {
    this.pulses.add(pulse);
    this.timer ??= this.clock.schedule(BEAT_MS, this.beat);
  }

  remove(pulse: Pulse): void {
    this.pulses.delete(pulse);
    if (this.pulses.size > 0) return;
    this.timer?.cancel();
    this.timer = undefined;
  }

  private readonly beat = (): void => {
    this.timer = this.clock.schedule(BEAT_MS, this.beat);
    for (const pulse of this.pulses) pulse.beat();
  };
}
