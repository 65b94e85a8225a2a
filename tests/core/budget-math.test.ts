/** Windows, limits, refusals and warnings of budgets, by table and by chance. */
import {
  addAmounts,
  type Amounts,
  type BudgetPolicy,
  canInspect,
  checkHold,
  type Counter,
  type Limit,
  limitsOf,
  NO_AMOUNTS,
  percentReached,
  toCostBound,
  windowsAt,
} from '../../server/core/budget-math.js';
import { type Price, toCostNanoUsd, toModelFacts } from '../../server/core/prices.js';
import { createRandom, type Random } from './support/random.js';

const WHO = { userId: 'ada', orgId: 'acme' };
const NOON = Date.UTC(2026, 0, 31, 12);
const windows = windowsAt(NOON, WHO);
const limit = (over: Partial<Limit> = {}): Limit => ({
  scope: 'user',
  window: 'day',
  unit: 'tokens',
  limit: 100,
  ...over,
});
const tokens = (count: number): Amounts => ({ tokens: count, nanoUsd: 0 });
const counting =
  (used: number, held = 0) =>
  (): Counter => ({ used: tokens(used), held: tokens(held) });

describe('windows', () => {
  it('are of the user and the organisation, by UTC day and month', () => {
    expect(windows.map(({ key, resetsAt }) => [key, new Date(resetsAt).toISOString()])).toEqual([
      ['user/day/2026-01-31/acme/ada', '2026-02-01T00:00:00.000Z'],
      ['user/month/2026-01/acme/ada', '2026-02-01T00:00:00.000Z'],
      ['org/day/2026-01-31/acme', '2026-02-01T00:00:00.000Z'],
      ['org/month/2026-01/acme', '2026-02-01T00:00:00.000Z'],
    ]);
  });

  it.each([
    [Date.UTC(2026, 0, 31, 23, 59, 59, 999), '2026-01-31', '2026-02-01'],
    [Date.UTC(2026, 1, 1), '2026-02-01', '2026-02-02'],
    [Date.UTC(2024, 1, 29, 5), '2024-02-29', '2024-03-01'],
    [Date.UTC(2026, 11, 31, 5), '2026-12-31', '2027-01-01'],
  ])('change at midnight, not before', (now, day, next) => {
    const [first] = windowsAt(now, WHO);
    expect(first?.key).toBe(`user/day/${day}/acme/ada`);
    expect(new Date(first?.resetsAt ?? 0).toISOString().slice(0, 10)).toBe(next);
  });

  it('of different people never share a key', () => {
    const one = windowsAt(NOON, { orgId: 'a/b', userId: 'c' }).map((w) => w.key);
    const other = windowsAt(NOON, { orgId: 'a', userId: 'b/c' }).map((w) => w.key);
    expect(one.filter((key) => other.includes(key))).toEqual([]);
  });
});

describe('limits', () => {
  const policy: BudgetPolicy = {
    roles: {
      small: { budget: { day: { tokens: 10, usd: 0.5 }, month: { usd: 3 } } },
      large: { budget: { day: { tokens: 20 }, month: { usd: 2 } } },
      free: { inspect: true },
    },
    org: { month: { usd: 100 } },
  };
  const org = { scope: 'org', window: 'month', unit: 'usd', limit: 100e9 };

  it.each<[string[], object[]]>([
    [
      ['small'],
      [
        { scope: 'user', window: 'day', unit: 'tokens', limit: 10 },
        { scope: 'user', window: 'day', unit: 'usd', limit: 5e8 },
        { scope: 'user', window: 'month', unit: 'usd', limit: 3e9 },
        org,
      ],
    ],
    // Day in dollars: one of the two sets no limit.
    [
      ['small', 'large'],
      [
        { scope: 'user', window: 'day', unit: 'tokens', limit: 20 },
        { scope: 'user', window: 'month', unit: 'usd', limit: 3e9 },
        org,
      ],
    ],
    [['small', 'free'], [org]],
    [
      ['small', 'unheard-of'],
      [expect.objectContaining({ limit: 10 }), expect.anything(), expect.anything(), org],
    ],
  ])('of several roles are the most generous: %s', (roles, expected) => {
    expect(limitsOf(policy, roles)).toEqual(expected);
  });

  it('of who has no known role are nothing at all', () => {
    const limits = limitsOf(policy, ['toString']) ?? [];
    expect(limits.filter(({ scope }) => scope === 'user').map((l) => l.limit)).toEqual([0, 0, 0, 0]);
  });

  it('are not there where nobody has a budget', () => {
    expect(limitsOf({ roles: undefined, org: undefined }, ['admin'])).toBeUndefined();
    expect(limitsOf({ roles: { a: {} }, org: {} }, [])).toBeUndefined();
  });

  it('let the roles with inspect see what others spend', () => {
    expect(canInspect(policy, ['small', 'free'])).toBe(true);
    expect(canInspect(policy, ['small'])).toBe(false);
    expect(canInspect({ roles: undefined, org: undefined }, ['admin'])).toBe(true);
  });
});

describe('[BUD-3] a hold', () => {
  it.each<[string, number, number, number, number, string | undefined]>([
    ['fits to the last token', 100, 50, 20, 30, undefined],
    ['waits for holds', 100, 50, 20, 31, 'budget_held'],
    ['that fits but for what is spent', 100, 80, 0, 21, 'budget_exhausted'],
    ['that would not fit without the holds either', 100, 80, 20, 21, 'budget_exhausted'],
    ['of the whole budget', 100, 0, 0, 100, undefined],
    ['larger than the budget', 100, 0, 0, 101, 'budget_too_small'],
    ['under a budget of nothing', 0, 0, 0, 1, 'budget_exhausted'],
    ['of nothing', 0, 5, 0, 0, undefined],
  ])('%s', (_name, max, used, held, asked, code) => {
    expect(checkHold(windows, [limit({ limit: max })], tokens(asked), counting(used, held))?.code).toBe(code);
  });

  it('is told what to do, and until when', () => {
    const refuse = (used: number, held: number, asked: number) =>
      checkHold(windows, [limit()], tokens(asked), counting(used, held));
    expect(refuse(0, 90, 20)).toMatchObject({ retryable: true, retry_after_ms: expect.any(Number) });
    expect(refuse(90, 0, 20)).toMatchObject({
      retryable: false,
      details: { scope: 'user', window: 'day', unit: 'tokens', resets_at: '2026-02-01T00:00:00.000Z' },
    });
    expect(refuse(0, 0, 200)).toMatchObject({ retryable: false, details: { limit: 100, asked: 200 } });
  });

  it('that several windows refuse gets the refusal that lasts longest', () => {
    const at = windowsAt(Date.UTC(2026, 0, 5), WHO);
    const used: Record<string, number> = { day: 95, month: 99 };
    const counterOf = (key: string) => ({ used: tokens(used[key.split('/')[1] ?? ''] ?? 0), held: NO_AMOUNTS });
    const limits = [limit(), limit({ window: 'month' }), limit({ scope: 'org' })];
    const refusal = checkHold(at, limits, tokens(10), counterOf);
    expect(refusal).toMatchObject({ code: 'budget_exhausted', details: { resets_at: '2026-02-01T00:00:00.000Z' } });
    const tooSmall = checkHold(at, [...limits, limit({ limit: 5 })], tokens(10), counterOf);
    expect(tooSmall?.code).toBe('budget_too_small');
  });
});

/** A built-in one, or one as somebody may configure it: reading dearer than writing, a long prompt cheaper. */
function pickPrice(random: Random): Price {
  const models = ['claude-haiku-5-5', 'claude-sonnet-5-5', 'claude-fable-5-1', 'claude-opus-4-6'];
  if (random.chance(0.5)) return toModelFacts(random.pick(models), Date.UTC(2026, 10, 1)).price;
  const tier = (): Price => ({
    input: random.int(9),
    cacheWrite: random.int(9),
    cacheRead: random.int(9),
    output: random.int(99),
  });
  return { ...tier(), long: { overTokens: random.int(200_000), price: tier() } };
}

it('[BUD-1] a bound of the cost is never below the cost', () => {
  const seed = Number(process.env['SEED'] ?? 20_261);
  const random = createRandom(seed);
  for (let run = 0; run < 5_000; run++) {
    const price = pickPrice(random);
    const parts = [random.int(150_000), random.int(150_000), random.int(10_000)] as const;
    const usage = {
      input_tokens: parts[0],
      cache_read_input_tokens: parts[1],
      cache_creation_input_tokens: parts[2],
      output_tokens: random.int(64_000),
    };
    const bound = toCostBound(price, parts[0] + parts[1] + parts[2] + random.int(5), usage.output_tokens);
    if (toCostNanoUsd(price, usage) > bound)
      throw new Error(`seed ${seed}, run ${run}: ${JSON.stringify(price)} costs more than held`);
  }
});

it('[BUD-1] used + held stay within every limit, whatever is asked in whatever order', () => {
  const seed = Number(process.env['SEED'] ?? 4_711);
  const random = createRandom(seed);
  for (let run = 0; run < 200; run++) {
    const limits = windows
      .flatMap(({ scope, window }) => (['tokens', 'usd'] as const).map((unit) => limit({ scope, window, unit })))
      .filter(() => random.chance(0.6))
      .map((l) => ({ ...l, limit: random.int(500) }));
    const counters = new Map(windows.map(({ key }) => [key, { used: NO_AMOUNTS, held: NO_AMOUNTS }]));
    for (let step = 0; step < 60; step++) {
      const asked = { tokens: random.int(80), nanoUsd: random.int(80) };
      const refusal = checkHold(windows, limits, asked, (key) => counters.get(key) as Counter);
      if (refusal) continue;
      const side = random.chance(0.5) ? 'used' : 'held';
      for (const [key, counter] of counters)
        counters.set(key, { ...counter, [side]: addAmounts(counter[side], asked) });
    }
    for (const { scope, window, unit, limit: max } of limits) {
      const key = windows.find((w) => w.scope === scope && w.window === window)?.key ?? '';
      const { used, held } = counters.get(key) as Counter;
      const sum = addAmounts(used, held);
      const total = unit === 'tokens' ? sum.tokens : sum.nanoUsd;
      if (total > max) throw new Error(`seed ${seed}, run ${run}: ${total} of ${max} in ${key}`);
    }
  }
});

it.each([
  [100, 79, 0],
  [100, 80, 80],
  [100, 94, 80],
  [100, 95, 95],
  [100, 200, 95],
  [0, 0, 0],
])('of a limit of %d, %d used reach %d percent', (max, used, percent) => {
  expect(percentReached(max, used)).toBe(percent);
});
