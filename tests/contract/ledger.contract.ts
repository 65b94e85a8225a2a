/** What every adapter of the ledger must do: laws BUD-1 to BUD-4, in any order of calls, across crashes and midnight. */
import { NO_USAGE } from '../../protocol/index.js';
import { addAmounts, type Amounts, type Limit, NO_AMOUNTS, subtractAmounts } from '../../server/core/budget-math.js';
import { type Hold, type HoldRequest, type Ledger, LEDGER_TIMES, type Settlement } from '../../server/ports/ledger.js';
import { createRandom } from '../core/support/random.js';

export interface LedgerHarness {
  openFresh(now: () => number, waitMs: number): Promise<Ledger>;
  /** As after the death of the process that had it open. */
  reopen(now: () => number, waitMs: number): Promise<Ledger>;
  dispose(): Promise<void>;
}

const DAY_MS = 86_400_000;
const START = Date.UTC(2026, 0, 15, 12);

const aRequest = (over: Partial<HoldRequest> = {}): HoldRequest => ({
  userId: 'ada',
  orgId: 'acme',
  sessionId: 'sesn_1',
  turnId: 'turn_1',
  step: 1,
  attempt: 1,
  model: 'claude-sonnet-5-5',
  tags: [],
  amounts: { tokens: 10, nanoUsd: 1_000 },
  limits: [{ scope: 'user', window: 'day', unit: 'tokens', limit: 100 }],
  ...over,
});

const aSettlement = (tokens: number, nanoUsd = tokens * 100): Settlement => ({
  usage: { ...NO_USAGE, input_tokens: tokens - Math.floor(tokens / 2), output_tokens: Math.floor(tokens / 2) },
  estimated: false,
  costNanoUsd: nanoUsd,
});

export function describeLedger(name: string, createHarness: () => LedgerHarness): void {
  describe(`${name}: ledger`, () => {
    let harness: LedgerHarness;
    let ledger: Ledger;
    let now: number;
    const clock = (): number => now;

    const open = async (waitMs = 0): Promise<void> => {
      ledger = await harness.openFresh(clock, waitMs);
    };
    beforeEach(() => {
      harness = createHarness();
      now = START;
    });
    afterEach(() => harness.dispose());

    const granted = async (over: Partial<HoldRequest> = {}): Promise<Hold> => {
      const reservation = await ledger.reserve(aRequest(over));
      if (!reservation.granted) throw new Error(`refused: ${reservation.error.code}`);
      return reservation.hold;
    };
    const refusal = async (over: Partial<HoldRequest> = {}): Promise<string | undefined> => {
      const reservation = await ledger.reserve(aRequest(over));
      return reservation.granted ? undefined : reservation.error.code;
    };
    const userDay = async () => {
      const [day] = await ledger.usage({ userId: 'ada', orgId: 'acme' });
      return { used: day?.used.tokens, held: day?.held.tokens };
    };

    it('[BUD-1] holds in all windows or in none', async () => {
      await open();
      const limits: Limit[] = [
        { scope: 'user', window: 'day', unit: 'tokens', limit: 100 },
        { scope: 'org', window: 'month', unit: 'usd', limit: 1_500 },
      ];
      await granted({ limits });
      expect(await refusal({ limits })).toBe('budget_held');
      for (const { held } of await ledger.usage({ userId: 'ada', orgId: 'acme' }))
        expect(held).toEqual({ tokens: 10, nanoUsd: 1_000 });
    });

    it('[BUD-1] grants no more than there is to 50 at once', async () => {
      await open();
      const answers = await Promise.all(Array.from({ length: 50 }, () => ledger.reserve(aRequest())));
      expect(answers.filter((answer) => answer.granted)).toHaveLength(10);
      expect(await userDay()).toEqual({ used: 0, held: 100 });
    });

    it('[BUD-2] settles once', async () => {
      await open();
      const hold = await granted();
      await ledger.settle(hold, aSettlement(7));
      await ledger.settle(hold, aSettlement(9));
      expect(await userDay()).toEqual({ used: 7, held: 0 });
    });

    it('[BUD-2] settles into the windows that were held, after midnight too', async () => {
      await open();
      now = Date.UTC(2026, 0, 31, 23, 59, 59);
      const hold = await granted();
      now += 2_000;
      await ledger.settle(hold, aSettlement(7));
      expect(await userDay()).toEqual({ used: 0, held: 0 });
      now -= 2_000;
      expect(await userDay()).toEqual({ used: 7, held: 0 });
      const spend = await ledger.spend({
        orgId: 'acme',
        userId: 'ada',
        sinceDay: '2026-01-01',
        groupBy: [],
        limit: 9,
      });
      expect(spend.map(({ day, requests }) => [day, requests])).toEqual([['2026-01-31', 1]]);
    });

    it('[BUD-3] waits for holds, and is woken by what is settled', async () => {
      await open(60_000);
      const hold = await granted({ amounts: { tokens: 100, nanoUsd: 0 } });
      const waiting = granted({ amounts: { tokens: 50, nanoUsd: 0 } });
      const others = [refusal({ amounts: { tokens: 101, nanoUsd: 0 } })];
      expect(await Promise.all(others)).toEqual(['budget_too_small']);
      await ledger.settle(hold, aSettlement(40));
      expect((await waiting).amounts.tokens).toBe(50);
      expect(await userDay()).toEqual({ used: 40, held: 50 });
    });

    it('[BUD-3] tells who waits at once when the rest is spent', async () => {
      await open(60_000);
      const hold = await granted({ amounts: { tokens: 100, nanoUsd: 0 } });
      const waiting = refusal({ amounts: { tokens: 50, nanoUsd: 0 } });
      await ledger.settle(hold, aSettlement(60));
      expect(await waiting).toBe('budget_exhausted');
    });

    it('[BUD-3] gives up waiting', async () => {
      await open(20);
      await granted({ amounts: { tokens: 100, nanoUsd: 0 } });
      expect(await refusal()).toBe('budget_held');
    });

    it('[BUD-4] settles the holds of the dead from their checkpoint', async () => {
      await open();
      const [checked, silent] = [await granted(), await granted()];
      await ledger.extend([{ hold: { ...checked, turnId: 'turn_late' }, known: aSettlement(4) }]);
      ledger = await harness.reopen(clock, 0);
      expect((await userDay()).held).toBe(20);
      now += LEDGER_TIMES.leaseMs + 1;
      expect(await ledger.sweep()).toBe(2);
      expect(await ledger.sweep()).toBe(0);
      await ledger.settle(checked, aSettlement(9));
      await ledger.settle(silent, aSettlement(9));
      expect(await userDay()).toEqual({ used: 4, held: 0 });
    });

    it('[BUD-4] leaves alone what is kept alive', async () => {
      await open();
      const hold = await granted();
      for (let beat = 0; beat < 10; beat++) {
        now += LEDGER_TIMES.heartbeatMs;
        await ledger.extend([{ hold, known: undefined }]);
        expect(await ledger.sweep()).toBe(0);
      }
      now += LEDGER_TIMES.leaseMs + 1;
      expect(await ledger.sweep()).toBe(1);
    });

    it('an extended hold that was settled does not come back', async () => {
      await open();
      const hold = await granted();
      const extending = ledger.extend([{ hold, known: aSettlement(3) }]);
      await ledger.settle(hold, aSettlement(5));
      await extending;
      await ledger.extend([{ hold, known: aSettlement(3) }]);
      ledger = await harness.reopen(clock, 0);
      expect(await userDay()).toEqual({ used: 5, held: 0 });
    });

    it('warns at 80 and at 95 percent, once each, also across a restart', async () => {
      await open();
      const told: number[] = [];
      const spendTokens = async (count: number): Promise<void> => {
        const hold = await granted({ amounts: { tokens: count, nanoUsd: 0 } });
        for (const warning of await ledger.settle(hold, aSettlement(count, 0))) told.push(warning.used);
      };
      await spendTokens(79);
      await spendTokens(1);
      await spendTokens(5);
      ledger = await harness.reopen(clock, 0);
      await spendTokens(5);
      await spendTokens(5);
      await spendTokens(5);
      expect(told).toEqual([80, 95]);
      now += DAY_MS;
      await spendTokens(99);
      expect(told).toEqual([80, 95, 99]);
    });

    it('without a budget holds nothing, but knows what was spent', async () => {
      await open();
      const hold = await granted({ limits: undefined, amounts: { tokens: 1e12, nanoUsd: 1e12 } });
      expect(await userDay()).toEqual({ used: 0, held: 0 });
      await ledger.settle(hold, aSettlement(30));
      expect(await userDay()).toEqual({ used: 30, held: 0 });
      expect(await refusal({ amounts: { tokens: 71, nanoUsd: 0 } })).toBe('budget_exhausted');
    });

    it('tells what was spent by session, model, tag and user', async () => {
      await open();
      const spent = async (tokens: number, over: Partial<HoldRequest>): Promise<void> => {
        await ledger.settle(await granted(over), aSettlement(tokens));
      };
      await spent(4, { tags: ['a', 'b', 'b'] });
      await spent(6, { sessionId: 'sesn_2', model: 'm', tags: ['a'] });
      await spent(8, { userId: 'bob' });
      await spent(9, { orgId: 'other' });
      const query = { orgId: 'acme', userId: 'ada', sinceDay: '2026-01-01', limit: 10 };
      const costs = async (over: object) =>
        (await ledger.spend({ ...query, groupBy: [], ...over })).map(
          ({ tag, model, sessionId, userId, costNanoUsd }) => [tag ?? model ?? sessionId ?? userId, costNanoUsd],
        );
      expect(await costs({})).toEqual([[undefined, 1_000]]);
      expect(await costs({ groupBy: ['tag'] })).toEqual([
        ['a', 1_000],
        ['b', 400],
      ]);
      expect(await costs({ groupBy: ['model'] })).toEqual([
        ['m', 600],
        ['claude-sonnet-5-5', 400],
      ]);
      expect(await costs({ groupBy: ['session'], limit: 1 })).toEqual([['sesn_2', 600]]);
      expect(await costs({ userId: undefined, groupBy: ['user'] })).toEqual([
        ['ada', 1_000],
        ['bob', 800],
      ]);
      expect(await costs({ sinceDay: '2026-01-16' })).toEqual([]);
    });

    const isLong = process.env['MIDSTREAM_TEST_LONG'] === '1';
    const seeds = process.env['SEED'] ? [Number(process.env['SEED'])] : isLong ? [1, 2, 3, 4, 5, 6] : [1, 2, 3];
    it.each(seeds)('[BUD-1] keeps its sums through any order of calls (SEED=%d)', async (seed) => {
      await open();
      await runModel(seed);
    });

    /** Every hold and window again, the simplest way; after each step the ledger must say the same. */
    async function runModel(seed: number): Promise<void> {
      const random = createRandom(seed);
      const limits: Limit[] = [
        { scope: 'user', window: 'day', unit: 'tokens', limit: 120 },
        { scope: 'user', window: 'month', unit: 'usd', limit: 40_000 },
        { scope: 'org', window: 'day', unit: 'usd', limit: 30_000 },
        { scope: 'org', window: 'month', unit: 'tokens', limit: 600 },
      ];
      const users = ['ada', 'bob'];
      const live = new Map<string, { hold: Hold; expiresAt: number; known: Amounts }>();
      const done: Hold[] = [];
      const used = new Map<string, Amounts>();
      const spent = new Map<string, Amounts>();
      const charge = (hold: Hold, amounts: Amounts): void => {
        for (const { key } of hold.windows) used.set(key, addAmounts(used.get(key) ?? NO_AMOUNTS, amounts));
        const by = `${hold.userId} ${new Date(hold.heldAt).toISOString().slice(0, 10)}`;
        if (amounts.tokens > 0) spent.set(by, addAmounts(spent.get(by) ?? NO_AMOUNTS, amounts));
        live.delete(hold.id);
        done.push(hold);
      };
      const sweepModel = (): number => {
        const dead = [...live.values()].filter(({ expiresAt }) => expiresAt <= now);
        for (const { hold, known } of dead) charge(hold, known);
        return dead.length;
      };
      for (let step = 0; step < 250; step++) {
        const dice = random.next();
        const some = random.pick([...live.values()]);
        if (dice < 0.4) {
          const amounts = { tokens: 1 + random.int(40), nanoUsd: random.int(6_000) };
          const reservation = await ledger.reserve(aRequest({ userId: random.pick(users), amounts, limits }));
          if (reservation.granted)
            live.set(reservation.hold.id, {
              hold: reservation.hold,
              expiresAt: now + LEDGER_TIMES.leaseMs,
              known: NO_AMOUNTS,
            });
        } else if (dice < 0.62 && some) {
          const settled = { tokens: random.int(some.hold.amounts.tokens + 1), nanoUsd: 0 };
          if (settled.tokens > 0) settled.nanoUsd = random.int(some.hold.amounts.nanoUsd + 1);
          await ledger.settle(some.hold, aSettlement(settled.tokens, settled.nanoUsd));
          charge(some.hold, settled);
        } else if (dice < 0.7 && done.length > 0) {
          await ledger.settle(random.pick(done), aSettlement(50));
        } else if (dice < 0.8 && some) {
          const known = { tokens: 1 + random.int(some.hold.amounts.tokens), nanoUsd: 0 };
          await ledger.extend([{ hold: some.hold, known: aSettlement(known.tokens, 0) }]);
          live.set(some.hold.id, { hold: some.hold, expiresAt: now + LEDGER_TIMES.leaseMs, known });
        } else if (dice < 0.9) {
          now += random.pick([1_000, 5_000, LEDGER_TIMES.leaseMs + 1]);
          expect(await ledger.sweep()).toBe(sweepModel());
        } else if (dice < 0.95) {
          now += random.pick([DAY_MS / 2, DAY_MS, 20 * DAY_MS]);
        } else {
          ledger = await harness.reopen(clock, 0);
          now += LEDGER_TIMES.leaseMs + 1;
          expect(await ledger.sweep()).toBe(sweepModel());
        }
        await check(step);
      }
      async function check(step: number): Promise<void> {
        for (const userId of users) {
          for (const { window, used: counted, held } of await ledger.usage({ userId, orgId: 'acme' })) {
            const holds = [...live.values()].filter(({ hold }) => hold.windows.some((w) => w.key === window.key));
            const expected = {
              used: used.get(window.key) ?? NO_AMOUNTS,
              held: holds.reduce((sum, { hold }) => addAmounts(sum, hold.amounts), NO_AMOUNTS),
            };
            expect([seed, step, window.key, { used: counted, held }]).toEqual([seed, step, window.key, expected]);
            for (const { unit, limit } of limits.filter(
              (l) => l.scope === window.scope && l.window === window.window,
            )) {
              const room = subtractAmounts({ tokens: limit, nanoUsd: limit }, addAmounts(counted, held));
              expect(unit === 'tokens' ? room.tokens : room.nanoUsd).toBeGreaterThanOrEqual(0);
            }
          }
        }
      }
      for (const { hold } of [...live.values()]) {
        await ledger.settle(hold, aSettlement(1, 1));
        charge(hold, { tokens: 1, nanoUsd: 1 });
      }
      ledger = await harness.reopen(clock, 0);
      const records = await ledger.spend({
        orgId: 'acme',
        userId: undefined,
        sinceDay: '2026-01-01',
        groupBy: ['user'],
        limit: 10_000,
      });
      const sums = records.map(({ day, userId, usage, costNanoUsd }) => [
        `${userId} ${day}`,
        { tokens: usage.input_tokens + usage.output_tokens, nanoUsd: costNanoUsd },
      ]);
      expect(Object.fromEntries(sums)).toEqual(Object.fromEntries(spent));
    }
  });
}
