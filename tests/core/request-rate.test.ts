/** The arithmetic of requests per minute, against every window of a recorded history. */
import fc from 'fast-check';
import { type ArrivalTime, giveOneBack, takeOne, toRateState } from '../../server/core/request-rate.js';
import { canSit } from '../../server/core/seat-rule.js';

const START_US = Date.UTC(2026, 0, 1) * 1_000;
const gaps = fc.array(fc.oneof(fc.constant(0), fc.nat(2_000_000), fc.nat(30_000_000)), { maxLength: 120 });
const limits = fc.integer({ min: 1, max: 90 });

it('lets begin, in any window, the limit and what came back in it', () => {
  fc.assert(
    fc.property(limits, gaps, (perMinute, waits) => {
      const interval = Math.ceil(60_000_000 / perMinute);
      const begun: number[] = [];
      let [now, arrival]: [number, ArrivalTime] = [START_US, undefined];
      for (const wait of waits) {
        now += wait;
        const next = takeOne(arrival, now, perMinute);
        if (next === undefined) continue;
        arrival = next;
        begun.push(now);
      }
      begun.forEach((from, first) => {
        begun.slice(first).forEach((to, more) => {
          expect(more + 1).toBeLessThanOrEqual(perMinute + Math.floor((to - from) / interval));
        });
      });
    }),
  );
});

it('refuses only who has begun as many, and says exactly when the next may', () => {
  fc.assert(
    fc.property(limits, gaps, (perMinute, waits) => {
      let [now, arrival]: [number, ArrivalTime] = [START_US, undefined];
      for (const wait of waits) {
        now += wait;
        const { remaining, retryAfterMs } = toRateState(arrival, now, perMinute);
        const next = takeOne(arrival, now, perMinute);
        expect(next !== undefined).toBe(remaining > 0);
        expect(retryAfterMs === 0).toBe(remaining > 0);
        if (next !== undefined) expect(toRateState(next, now, perMinute).remaining).toBe(remaining - 1);
        else {
          expect(takeOne(arrival, now + retryAfterMs * 1_000, perMinute)).toBeDefined();
          expect(takeOne(arrival, now + (retryAfterMs - 1) * 1_000, perMinute)).toBeUndefined();
        }
        arrival = next ?? arrival;
      }
      const { resetMs } = toRateState(arrival, now, perMinute);
      expect(toRateState(arrival, now + resetMs * 1_000, perMinute).remaining).toBe(perMinute);
    }),
  );
});

it('what is given back at once was never taken', () => {
  fc.assert(
    fc.property(limits, gaps, (perMinute, waits) => {
      let [now, arrival]: [number, ArrivalTime] = [START_US, undefined];
      for (const wait of waits) {
        now += wait;
        const before = toRateState(arrival, now, perMinute);
        const taken = takeOne(arrival, now, perMinute);
        if (taken === undefined) continue;
        expect(toRateState(giveOneBack(taken, now, perMinute), now, perMinute)).toEqual(before);
        arrival = taken;
      }
    }),
  );
});

it('what is given back later leaves at least what is owed for the others, while something was owed', () => {
  fc.assert(
    fc.property(fc.integer({ min: 4, max: 90 }), fc.nat(500_000), (perMinute, wait) => {
      const take = (arrival: ArrivalTime, now: number): ArrivalTime => takeOne(arrival, now, perMinute) ?? arrival;
      const later = START_US + wait;
      const refusedOne = giveOneBack(take(take(take(undefined, START_US), START_US), later), later, perMinute);
      const without = take(take(undefined, START_US), later);
      expect(toRateState(refusedOne, later, perMinute)).toEqual(toRateState(without, later, perMinute));
    }),
  );
});

it('a clock that is set back holds nobody up for longer than a minute', () => {
  const arrival = takeOne(undefined, START_US, 10);
  const earlier = START_US - 3_600_000_000;
  expect(toRateState(arrival, earlier, 10).retryAfterMs).toBeLessThanOrEqual(6_000);
  expect(toRateState(arrival, earlier, 10).resetMs).toBeLessThanOrEqual(60_000);
});

it('seats that lapsed, and one’s own, are in nobody’s way', () => {
  const leases = new Map([
    ['mine', 5],
    ['lapsed', 3],
    ['other', 5],
  ]);
  expect(canSit(leases, 'mine', 1, 3)).toBe(true);
  expect(canSit(leases, 'new', 2, 3)).toBe(false);
  expect(canSit(leases, 'new', 3, 3)).toBe(true);
  expect(canSit(leases, 'lapsed', 2, 3)).toBe(false);
});
