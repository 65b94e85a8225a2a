/** How many turns a user has at once, on all nodes: a seat each, which ends by itself when nobody renews it. */

export interface TurnSeat {
  readonly userId: string;
  readonly orgId: string;
  /** Names the seat; taking it again while it is held renews it. */
  readonly seatId: string;
}

export interface TurnSeats {
  /**
   * Takes a seat where fewer than `limit` are taken; never more than `limit` at any concurrency, on any number of nodes.
   * It is held for `SEAT_TIMES.leaseMs` by the store's clock. Rejects where the store can't be reached.
   */
  take(seat: TurnSeat, limit: number): Promise<boolean>;
  /** Renews what is still held, and takes again what had lapsed, over the limit too: those turns run. Never rejects. */
  renew(seats: readonly TurnSeat[]): Promise<void>;
  /** Frees a seat; one that is not held, too. Never rejects; what can't be freed now lapses. */
  release(seat: TurnSeat): Promise<void>;
}

/** How long a seat is held without being renewed, and how often it is, in milliseconds. */
export const SEAT_TIMES = { leaseMs: 10_000, heartbeatMs: 3_000 } as const;
