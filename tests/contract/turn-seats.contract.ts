/** What every adapter of the turn seats must do, on one node and on several. */
import { SEAT_TIMES, type TurnSeat, type TurnSeats } from '../../server/ports/turn-seats.js';
import { createRandom } from '../core/support/random.js';

export interface TurnSeatsHarness {
  /** Nobody has a seat yet. */
  openFresh(): Promise<TurnSeats>;
  /** Another node on the store that is open; left out where only one may use it. */
  openSecondNode?(): Promise<TurnSeats>;
  /** Moves the clock that the leases go by. */
  advance(ms: number): Promise<void>;
  dispose(): Promise<void>;
}

const seat = (seatId: string, over: Partial<TurnSeat> = {}): TurnSeat => ({
  userId: 'ada',
  orgId: 'acme',
  seatId,
  ...over,
});

export function describeTurnSeats(name: string, createHarness: () => TurnSeatsHarness): void {
  describe(`${name}: turn seats`, () => {
    let harness: TurnSeatsHarness;
    let seats: TurnSeats;
    beforeEach(async () => {
      harness = createHarness();
      seats = await harness.openFresh();
    });
    afterEach(() => harness.dispose());

    it('gives as many as the limit, and again what is freed', async () => {
      expect(await seats.take(seat('a'), 2)).toBe(true);
      expect(await seats.take(seat('b'), 2)).toBe(true);
      expect(await seats.take(seat('c'), 2)).toBe(false);
      await seats.release(seat('a'));
      expect(await seats.take(seat('c'), 2)).toBe(true);
      expect(await seats.take(seat('a'), 2)).toBe(false);
    });

    it('a seat that is taken again stays one', async () => {
      for (let n = 0; n < 3; n++) expect(await seats.take(seat('a'), 1)).toBe(true);
      await seats.release(seat('a'));
      expect(await seats.take(seat('b'), 1)).toBe(true);
    });

    it('taking a seat again renews it', async () => {
      await seats.take(seat('a'), 1);
      await harness.advance(SEAT_TIMES.leaseMs - 1);
      await seats.take(seat('a'), 1);
      await harness.advance(SEAT_TIMES.leaseMs - 1);
      expect(await seats.take(seat('b'), 1)).toBe(false);
    });

    it('a limit of 0 seats nobody', async () => {
      expect(await seats.take(seat('a'), 0)).toBe(false);
    });

    it('a seat that nobody renews lapses', async () => {
      await seats.take(seat('a'), 1);
      await harness.advance(SEAT_TIMES.leaseMs - 1);
      expect(await seats.take(seat('b'), 1)).toBe(false);
      await harness.advance(1);
      expect(await seats.take(seat('b'), 1)).toBe(true);
    });

    it('a seat lives as long as it is renewed', async () => {
      await seats.take(seat('a'), 1);
      for (let beat = 0; beat < 6; beat++) {
        await harness.advance(SEAT_TIMES.heartbeatMs);
        await seats.renew([seat('a'), seat('x', { userId: 'bob' })]);
        expect(await seats.take(seat('b'), 1)).toBe(false);
      }
      await harness.advance(SEAT_TIMES.leaseMs);
      expect(await seats.take(seat('b'), 1)).toBe(true);
    });

    it('renewing takes again what had lapsed, over the limit too', async () => {
      await seats.take(seat('a'), 1);
      await harness.advance(SEAT_TIMES.leaseMs);
      expect(await seats.take(seat('b'), 1)).toBe(true);
      await seats.renew([seat('a'), seat('b')]);
      await seats.release(seat('b'));
      expect(await seats.take(seat('c'), 1)).toBe(false);
      await seats.release(seat('a'));
      expect(await seats.take(seat('c'), 1)).toBe(true);
    });

    it('freeing what is not held frees nobody else', async () => {
      await seats.take(seat('a'), 1);
      await seats.release(seat('b'));
      await seats.release(seat('a', { userId: 'bob' }));
      await seats.release(seat('a', { orgId: 'other' }));
      expect(await seats.take(seat('b'), 1)).toBe(false);
    });

    it('renewing nothing does nothing', async () => {
      await seats.renew([]);
      expect(await seats.take(seat('a'), 1)).toBe(true);
    });

    it('seats each user of each organisation by themselves', async () => {
      expect(await seats.take(seat('a'), 1)).toBe(true);
      expect(await seats.take(seat('a', { userId: 'bob' }), 1)).toBe(true);
      expect(await seats.take(seat('a', { orgId: 'other' }), 1)).toBe(true);
    });

    it('gives no more than there are to 50 at once, on all nodes', async () => {
      const second = (await harness.openSecondNode?.()) ?? seats;
      const taken = await Promise.all(
        Array.from({ length: 50 }, (_, n) => (n % 2 === 0 ? seats : second).take(seat(`s${n}`), 7)),
      );
      expect(taken.filter(Boolean)).toHaveLength(7);
      await second.release(seat(`s${taken.indexOf(true)}`));
      expect(await seats.take(seat('late'), 7)).toBe(true);
      expect(await second.take(seat('later'), 7)).toBe(false);
    });

    const seeds = process.env['SEED'] ? [Number(process.env['SEED'])] : [1, 2, 3];
    it.each(seeds)('keeps its leases through any order of calls (SEED=%d)', async (seed) => {
      const random = createRandom(seed);
      const leases = new Map<string, number>();
      let now = 0;
      for (let at = 0; at < 300; at++) {
        const seatId = `s${random.int(6)}`;
        const dice = random.next();
        if (dice < 0.5) {
          const limit = random.int(4);
          const others = [...leases].filter(([id, until]) => id !== seatId && until > now);
          const isMine = (leases.get(seatId) ?? 0) > now;
          const expected = isMine || others.length < limit;
          expect([at, await seats.take(seat(seatId), limit)]).toEqual([at, expected]);
          if (expected) leases.set(seatId, now + SEAT_TIMES.leaseMs);
        } else if (dice < 0.65) {
          await seats.release(seat(seatId));
          leases.delete(seatId);
        } else if (dice < 0.8) {
          await seats.renew([seat(seatId)]);
          leases.set(seatId, now + SEAT_TIMES.leaseMs);
        } else {
          const ms = random.pick([1, SEAT_TIMES.heartbeatMs, SEAT_TIMES.leaseMs]);
          await harness.advance(ms);
          now += ms;
        }
      }
    });
  });
}
