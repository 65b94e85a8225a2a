/** Who may sit down: a seat that is renewed stays, a new one needs room beside those whose lease still runs. */

/** When each seat of a user lapses, by its id; milliseconds since 1970. */
export type SeatLeases = ReadonlyMap<string, number>;

export function canSit(leases: SeatLeases, seatId: string, limit: number, now: number): boolean {
  let taken = 0;
  for (const [id, lapsesAt] of leases) {
    if (lapsesAt <= now) continue;
    if (id === seatId) return true;
    taken++;
  }
  return taken < limit;
}
