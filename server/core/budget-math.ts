/** The arithmetic of budgets: which windows a request falls into, whether its hold fits, and when to warn. */
import { type ErrorBody, type EventOf, toErrorBody } from '../../protocol/index.js';
import type { Price } from './prices.js';
import { toUsd } from './session-state.js';

export interface Amounts {
  readonly tokens: number;
  readonly nanoUsd: number;
}

export interface WindowName {
  readonly scope: 'user' | 'org';
  readonly window: 'day' | 'month';
}

/** One stretch of time of one user or organisation. */
export interface BudgetWindow extends WindowName {
  /** Names it in a store: `user/day/2026-01-31/<org>/<user>`. */
  readonly key: string;
  /** Milliseconds since 1970. */
  readonly resetsAt: number;
}

export interface Limit extends WindowName {
  readonly unit: 'tokens' | 'usd';
  /** Tokens, or nano-dollars. */
  readonly limit: number;
}

export interface Counter {
  readonly used: Amounts;
  readonly held: Amounts;
}

/** A budget as it is configured; what is left out is not limited. */
export interface Budget {
  readonly day?: BudgetSpan | undefined;
  readonly month?: BudgetSpan | undefined;
}

interface BudgetSpan {
  readonly tokens?: number | undefined;
  readonly usd?: number | undefined;
}

export interface BudgetRole {
  readonly budget?: Budget | undefined;
  readonly inspect?: boolean | undefined;
}

export interface BudgetPolicy {
  /** Undefined: one role that may everything. */
  readonly roles: Readonly<Record<string, BudgetRole>> | undefined;
  readonly org: Budget | undefined;
}

export type BudgetWarning = Pick<
  EventOf<'budget.warning'>,
  'scope' | 'window' | 'unit' | 'limit' | 'used' | 'held' | 'resets_at'
>;

/** What may come back in less than a second: a request that holds ends. */
const RETRY_HELD_MS = 1_000;
export const WARNING_PERCENTS = [95, 80] as const;
const NANO = 1e9;

const SPANS = ['day', 'month'] as const;
const UNITS = ['tokens', 'usd'] as const;

/** Every window that a request at `now` is counted in, limited or not. */
export function windowsAt(now: number, who: { readonly userId: string; readonly orgId: string }): BudgetWindow[] {
  const org = encodeURIComponent(who.orgId);
  const owners = [
    ['user', `${org}/${encodeURIComponent(who.userId)}`],
    ['org', org],
  ] as const;
  return owners.flatMap(([scope, owner]) =>
    SPANS.map((window) => {
      const { name, resetsAt } = spanAt(now, window);
      return { scope, window, key: `${scope}/${window}/${name}/${owner}`, resetsAt };
    }),
  );
}

/** `2026-01-31`: the UTC day. */
export const toDay = (now: number): string => new Date(now).toISOString().slice(0, 10);

function spanAt(now: number, window: 'day' | 'month'): { name: string; resetsAt: number } {
  const date = new Date(now);
  const [year, month] = [date.getUTCFullYear(), date.getUTCMonth()];
  return window === 'day'
    ? { name: toDay(now), resetsAt: Date.UTC(year, month, date.getUTCDate() + 1) }
    : { name: toDay(now).slice(0, 7), resetsAt: Date.UTC(year, month + 1) };
}

/**
 * The limits of who has these roles: of each window the most generous of them. Undefined where nobody has a budget, so
 * that nothing needs to be held. Who has no role that is known may spend nothing where others have a budget.
 */
export function limitsOf({ roles, org }: BudgetPolicy, names: readonly string[]): readonly Limit[] | undefined {
  const all = Object.values(roles ?? {});
  const isAnyUserLimited = all.some((role) => toLimits('user', role.budget).length > 0);
  const ofOrg = toLimits('org', org);
  if (!isAnyUserLimited && ofOrg.length === 0) return undefined;
  const mine = names.flatMap((name) => (roles && Object.hasOwn(roles, name) && roles[name] ? [roles[name]] : []));
  return [...(isAnyUserLimited ? mostGenerous(mine) : []), ...ofOrg];
}

function mostGenerous(roles: readonly BudgetRole[]): Limit[] {
  const limits = roles.map((role) => toLimits('user', role.budget));
  return SPANS.flatMap((window) =>
    UNITS.flatMap((unit) => {
      const bounds = limits.map((of) => of.find((limit) => limit.window === window && limit.unit === unit)?.limit);
      if (bounds.some((bound) => bound === undefined)) return [];
      return [{ scope: 'user' as const, window, unit, limit: Math.max(0, ...(bounds as number[])) }];
    }),
  );
}

function toLimits(scope: Limit['scope'], budget: Budget | undefined): Limit[] {
  return SPANS.flatMap((window) =>
    UNITS.flatMap((unit) => {
      const limit = budget?.[window]?.[unit];
      if (limit === undefined) return [];
      return [{ scope, window, unit, limit: unit === 'usd' ? Math.round(limit * NANO) : Math.floor(limit) }];
    }),
  );
}

/** Whether somebody with these roles may see what others spend. */
export const canInspect = ({ roles }: BudgetPolicy, names: readonly string[]): boolean =>
  roles === undefined || names.some((name) => Object.hasOwn(roles, name) && roles[name]?.inspect === true);

/** The most that a request may cost: its dearest tier, and every prompt token written to the cache. */
export function toCostBound(price: Price, inputTokens: number, outputTokens: number): number {
  const bound = ({ input, cacheWrite, cacheRead, output }: Price): number =>
    Math.ceil(inputTokens * Math.max(input, cacheWrite, cacheRead) + outputTokens * output);
  // What is bounded here may turn out to be shorter.
  return price.long && inputTokens > price.long.overTokens
    ? Math.max(bound(price), bound(price.long.price))
    : bound(price);
}

export const amountOf = (amounts: Amounts, unit: Limit['unit']): number =>
  unit === 'tokens' ? amounts.tokens : amounts.nanoUsd;

/**
 * Undefined where `asked` fits all limits (BUD-1: `used + held ≤ limit`), else the refusal of BUD-3. What will never
 * fit is told before what fits after a reset, and that before what fits once running requests have ended.
 */
export function checkHold(
  windows: readonly BudgetWindow[],
  limits: readonly Limit[],
  asked: Amounts,
  counterOf: (key: string) => Counter,
): ErrorBody | undefined {
  let refusal: { readonly rank: number; readonly resetsAt: number; readonly body: () => ErrorBody } | undefined;
  for (const limit of limits) {
    const amount = amountOf(asked, limit.unit);
    const window = windows.find(({ scope, window: span }) => scope === limit.scope && span === limit.window);
    if (amount === 0 || !window) continue;
    const { used, held } = counterOf(window.key);
    const [usedHere, heldHere] = [amountOf(used, limit.unit), amountOf(held, limit.unit)];
    if (usedHere + heldHere + amount <= limit.limit) continue;
    const code = refusalOf(limit.limit, usedHere, amount);
    const found = {
      rank: RANK[code],
      resetsAt: window.resetsAt,
      body: () => toRefusal(code, limit, window, usedHere, amount),
    };
    const isWorse =
      !refusal || found.rank > refusal.rank || (found.rank === refusal.rank && found.resetsAt > refusal.resetsAt);
    if (isWorse) refusal = found;
  }
  return refusal?.body();
}

type RefusalCode = 'budget_held' | 'budget_exhausted' | 'budget_too_small';
const RANK: Readonly<Record<RefusalCode, number>> = { budget_held: 1, budget_exhausted: 2, budget_too_small: 3 };

function refusalOf(limit: number, used: number, amount: number): RefusalCode {
  if (limit > 0 && amount > limit) return 'budget_too_small';
  return limit === 0 || used + amount > limit ? 'budget_exhausted' : 'budget_held';
}

function toRefusal(code: RefusalCode, limit: Limit, window: BudgetWindow, used: number, amount: number): ErrorBody {
  const resetsAt = new Date(window.resetsAt).toISOString();
  const { scope, unit } = limit;
  const whose = `${scope === 'user' ? 'Your' : 'The organisation’s'} budget of the ${limit.window}`;
  const details = {
    scope,
    window: limit.window,
    unit,
    limit: toWire(unit, limit.limit),
    used: toWire(unit, used),
    asked: toWire(unit, amount),
    resets_at: resetsAt,
  };
  switch (code) {
    case 'budget_held':
      return toErrorBody(code, `${whose} is held by running requests. Wait for retry_after_ms.`, {
        retryAfterMs: RETRY_HELD_MS,
        details,
      });
    case 'budget_exhausted':
      return toErrorBody(code, `${whose} does not suffice for this request until ${resetsAt}.`, { details });
    case 'budget_too_small':
      return toErrorBody(code, `${whose} is smaller than this one request may need. Lower max_tokens, or send less.`, {
        details,
      });
  }
}

/** Tokens, or dollars. */
export const toWire = (unit: Limit['unit'], amount: number): number => (unit === 'tokens' ? amount : toUsd(amount));

/** The highest threshold that is reached; 0 below the lowest. */
export const percentReached = (limit: number, used: number): number =>
  limit > 0 ? (WARNING_PERCENTS.find((percent) => used >= (limit * percent) / 100) ?? 0) : 0;

export const addAmounts = (a: Amounts, b: Amounts): Amounts => ({
  tokens: a.tokens + b.tokens,
  nanoUsd: a.nanoUsd + b.nanoUsd,
});

export const subtractAmounts = (a: Amounts, b: Amounts): Amounts => ({
  tokens: a.tokens - b.tokens,
  nanoUsd: a.nanoUsd - b.nanoUsd,
});

export const NO_AMOUNTS: Amounts = { tokens: 0, nanoUsd: 0 };
