/** What every adapter of the rate limiter must do, on one node and on several. */
import type { RateKey, RateLimiter } from '../../server/ports/rate-limiter.js';

export interface RateLimiterHarness {
  /** Nothing was taken yet. */
  openFresh(): Promise<RateLimiter>;
  /** Another node on the store that is open; left out where only one may use it. */
  openSecondNode?(): Promise<RateLimiter>;
  /** Moves the clock that the limiter goes by; milliseconds, also fractions that are whole microseconds. */
  advance(ms: number): Promise<void>;
  dispose(): Promise<void>;
}

const ADA: RateKey = { userId: 'ada', orgId: 'acme' };

export function describeRateLimiter(name: string, createHarness: () => RateLimiterHarness): void {
  describe(`${name}: rate limiter`, () => {
    let harness: RateLimiterHarness;
    let limiter: RateLimiter;
    beforeEach(async () => {
      harness = createHarness();
      limiter = await harness.openFresh();
    });
    afterEach(() => harness.dispose());

    const takeAll = async (count: number, perMinute: number, key = ADA): Promise<boolean[]> => {
      const taken: boolean[] = [];
      for (let n = 0; n < count; n++) taken.push((await limiter.take(key, perMinute)).allowed);
      return taken;
    };

    it('gives all of the limit at once, then one after the other', async () => {
      expect(await takeAll(5, 4)).toEqual([true, true, true, true, false]);
      await harness.advance(15_000);
      expect(await takeAll(2, 4)).toEqual([true, false]);
      await harness.advance(60_000);
      expect(await takeAll(5, 4)).toEqual([true, true, true, true, false]);
    });

    it('says what is left, and how long to wait', async () => {
      expect(await limiter.take(ADA, 3)).toEqual({
        allowed: true,
        limit: 3,
        remaining: 2,
        retryAfterMs: 0,
        resetMs: 20_000,
      });
      await harness.advance(5_000);
      await limiter.take(ADA, 3);
      expect(await limiter.take(ADA, 3)).toMatchObject({ remaining: 0, retryAfterMs: 15_000, resetMs: 55_000 });
      expect(await limiter.take(ADA, 3)).toEqual({
        allowed: false,
        limit: 3,
        remaining: 0,
        retryAfterMs: 15_000,
        resetMs: 55_000,
      });
      await harness.advance(14_999);
      expect(await limiter.take(ADA, 3)).toMatchObject({ allowed: false, retryAfterMs: 1 });
      await harness.advance(1);
      expect(await limiter.take(ADA, 3)).toMatchObject({ allowed: true });
    });

    it('a refusal costs nothing', async () => {
      await takeAll(2, 2);
      for (let n = 0; n < 50; n++)
        expect(await limiter.take(ADA, 2)).toMatchObject({ allowed: false, resetMs: 60_000 });
      await harness.advance(30_000);
      expect(await takeAll(2, 2)).toEqual([true, false]);
    });

    it('what is given back was never taken', async () => {
      await takeAll(3, 3);
      await harness.advance(1_000);
      await limiter.giveBack(ADA, 3);
      expect(await limiter.take(ADA, 3)).toMatchObject({ allowed: true, remaining: 0, resetMs: 59_000 });
      for (let n = 0; n < 3; n++) await limiter.giveBack(ADA, 3);
      expect(await limiter.take(ADA, 3)).toMatchObject({ remaining: 2, resetMs: 20_000 });
    });

    it('giving back what was not taken gives nothing', async () => {
      for (let n = 0; n < 9; n++) await limiter.giveBack(ADA, 2);
      expect(await takeAll(3, 2)).toEqual([true, true, false]);
    });

    it('counts each user of each organisation by themselves', async () => {
      expect(await takeAll(2, 1)).toEqual([true, false]);
      expect(await takeAll(1, 1, { userId: 'bob', orgId: 'acme' })).toEqual([true]);
      expect(await takeAll(1, 1, { userId: 'ada', orgId: 'other' })).toEqual([true]);
    });

    it('takes another limit from the next call on', async () => {
      expect(await takeAll(3, 2)).toEqual([true, true, false]);
      // A minute’s worth is owed; at 60 a minute one second of it is one request.
      await harness.advance(1_000);
      expect(await takeAll(2, 60)).toEqual([true, false]);
    });

    it('never gives more in a minute than the limit, where that does not divide one', async () => {
      expect((await takeAll(8, 7)).filter(Boolean)).toHaveLength(7);
      await harness.advance(8_571);
      expect(await takeAll(1, 7)).toEqual([false]);
      await harness.advance(1);
      expect(await takeAll(2, 7)).toEqual([true, false]);
    });

    it('gives no more than there is to 50 at once, on all nodes', async () => {
      const second = (await harness.openSecondNode?.()) ?? limiter;
      const taken = await Promise.all(
        Array.from({ length: 50 }, (_, n) => (n % 2 === 0 ? limiter : second).take(ADA, 10)),
      );
      expect(taken.filter(({ allowed }) => allowed)).toHaveLength(10);
      await second.giveBack(ADA, 10);
      expect((await limiter.take(ADA, 10)).allowed).toBe(true);
      expect((await second.take(ADA, 10)).allowed).toBe(false);
    });
  });
}
