/** The contracts of the limits in one process, and that neither keeps what it no longer needs. */
import { EmbeddedRates } from '../../server/adapters/embedded/embedded-rates.js';
import { EmbeddedSeats } from '../../server/adapters/embedded/embedded-seats.js';
import { describeRateLimiter } from './rate-limiter.contract.js';
import { describeTurnSeats } from './turn-seats.contract.js';

function createHarness<T>(create: (now: () => number) => T) {
  let now = Date.UTC(2026, 0, 1);
  let opened: T;
  return {
    openFresh: async () => {
      opened = create(() => now);
      return opened;
    },
    openSecondNode: async () => opened,
    advance: async (ms: number) => {
      now += ms;
    },
    dispose: async () => undefined,
  };
}

describeRateLimiter('embedded', () => createHarness((now) => new EmbeddedRates(now)));
describeTurnSeats('embedded', () => createHarness((now) => new EmbeddedSeats(now)));

it('forgets users whose requests have come back', async () => {
  let now = 0;
  const rates = new EmbeddedRates(() => now);
  for (let n = 0; n < 50_000; n++) {
    now += 10;
    await rates.take({ userId: `u${n}`, orgId: 'o' }, 600);
  }
  // One owes for 100 ms: 10 users at a time.
  expect(rates.size).toBeLessThanOrEqual(1_000);
});

it('forgets users without a seat', async () => {
  const seats = new EmbeddedSeats(() => 0);
  const seat = { userId: 'u', orgId: 'o', seatId: 's' };
  await seats.take(seat, 1);
  expect(seats.size).toBe(1);
  await seats.release(seat);
  expect(await seats.take({ ...seat, userId: 'v' }, 0)).toBe(false);
  expect(seats.size).toBe(0);
});
