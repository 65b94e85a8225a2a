/** The turn seats of one process: leases by user, forgotten with their last seat. */
import { canSit } from '../../core/seat-rule.js';
import { SEAT_TIMES, type TurnSeat, type TurnSeats } from '../../ports/turn-seats.js';

export class EmbeddedSeats implements TurnSeats {
  readonly #now: () => number;
  readonly #byUser = new Map<string, Map<string, number>>();

  /** `now` in milliseconds since 1970. */
  constructor(now: () => number) {
    this.#now = now;
  }

  /** Users who have a seat. */
  get size(): number {
    return this.#byUser.size;
  }

  async take(seat: TurnSeat, limit: number): Promise<boolean> {
    const now = this.#now();
    const leases = this.#byUser.get(toUser(seat)) ?? new Map<string, number>();
    for (const [id, lapsesAt] of leases) if (lapsesAt <= now) leases.delete(id);
    if (!canSit(leases, seat.seatId, limit, now)) return false;
    this.#hold(seat, now);
    return true;
  }

  async renew(seats: readonly TurnSeat[]): Promise<void> {
    const now = this.#now();
    for (const seat of seats) this.#hold(seat, now);
  }

  async release(seat: TurnSeat): Promise<void> {
    const user = toUser(seat);
    const leases = this.#byUser.get(user);
    leases?.delete(seat.seatId);
    if (leases?.size === 0) this.#byUser.delete(user);
  }

  #hold(seat: TurnSeat, now: number): void {
    const user = toUser(seat);
    const leases = this.#byUser.get(user) ?? new Map<string, number>();
    leases.set(seat.seatId, now + SEAT_TIMES.leaseMs);
    this.#byUser.set(user, leases);
  }
}

const toUser = ({ orgId, userId }: TurnSeat): string => `${orgId}\n${userId}`;
