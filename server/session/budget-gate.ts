/** The one way to the ledger: what a request may cost and whether its payer has that, held before it and settled after. */
import { type ErrorBody, NO_USAGE, toErrorBody } from '../../protocol/index.js';
import {
  amountOf,
  type BudgetPolicy,
  type BudgetWarning,
  type Limit,
  limitsOf,
  toCostBound,
  toWire,
} from '../core/budget-math.js';
import type { FactsOf } from '../core/prices.js';
import type { InputBound } from '../core/token-estimate.js';
import type { RequestKey } from '../core/transition.js';
import type { Clock, Timer } from '../ports/clock.js';
import {
  type Checkpoint,
  type Heartbeat,
  type Hold,
  type HoldRequest,
  LEDGER_TIMES,
  type Ledger,
  type Reservation,
  type Settlement,
} from '../ports/ledger.js';
import type { Logger } from '../ports/logger.js';
import type { Metrics } from '../ports/metrics.js';
import type { ModelRequest } from '../ports/model.js';
import type { CountPrompt } from './prompt-counter.js';

export interface SpendRequest extends Omit<HoldRequest, 'amounts' | 'limits'> {
  readonly roles: readonly string[];
  readonly input: InputBound;
  /** Upper bound of the output side: `max_tokens`. */
  readonly outputTokens: number;
  /** The very request that is to be paid for; undefined where there is none. Made only where it is to be counted. */
  readonly toRequest: () => ModelRequest | undefined;
}

/** A hold, and whose prices it is in: it is settled in the same ones. */
export interface PricedHold extends Hold {
  readonly pricedAt: number;
}

export type PricedReservation =
  | { readonly granted: true; readonly hold: PricedHold }
  | Extract<Reservation, { granted: false }>;

export interface GateDeps {
  readonly ledger: Ledger;
  readonly budgets: () => BudgetPolicy;
  readonly factsOf: FactsOf;
  readonly countPrompt: CountPrompt;
  readonly clock: Clock;
  readonly logger: Logger;
  readonly metrics: Metrics;
  /** What the requests that run now are known to have used. Asked once a heartbeat, for all of them. */
  readonly running: () => Iterable<readonly [RequestKey, Checkpoint]>;
}

interface Ask {
  readonly input: InputBound;
  readonly toHold: (inputTokens: number) => HoldRequest;
  readonly toRequest: () => ModelRequest | undefined;
}

interface KeptHold {
  readonly hold: Hold;
  /** Heartbeats since its request was last seen running. */
  missed: number;
}

/** By then its lease is over, and the ledger has settled it. */
const MISSED_BEATS = Math.ceil(LEDGER_TIMES.leaseMs / LEDGER_TIMES.heartbeatMs) + 1;

export class BudgetGate {
  readonly #deps: GateDeps;
  /** Of running requests, by request: the next actor of a session settles what the one before held. */
  readonly #holds = new Map<string, KeptHold>();
  #heartbeat: Timer | undefined;
  #isClosed = false;

  constructor(deps: GateDeps) {
    this.#deps = deps;
  }

  /** Holds of requests that run. */
  get size(): number {
    return this.#holds.size;
  }

  /** Never rejects: a ledger that can't be reached refuses (nothing is spent on credit). */
  async reserve({ roles, input, outputTokens, toRequest, ...request }: SpendRequest): Promise<PricedReservation> {
    const { budgets, factsOf, clock, logger } = this.#deps;
    const pricedAt = clock.now();
    const limits = limitsOf(budgets(), roles);
    const { price, isPriced } = factsOf(request.model, pricedAt);
    if (!isPriced && limits?.some(({ unit }) => unit === 'usd')) {
      const message = `The price of ${request.model} is not known, and a budget in dollars applies. Choose another model, or have the operator set its price in "prices".`;
      return { granted: false, error: toErrorBody('invalid_request', message) };
    }
    const ask: Ask = {
      input,
      toHold: (inputTokens) => {
        const nanoUsd = toCostBound(price, inputTokens, outputTokens);
        return { ...request, limits, amounts: { tokens: inputTokens + outputTokens, nanoUsd } };
      },
      toRequest,
    };
    try {
      const reservation = await this.#hold(ask);
      return reservation.granted ? { granted: true, hold: { ...reservation.hold, pricedAt } } : reservation;
    } catch (error) {
      logger.error('the ledger did not answer', { error });
      return { granted: false, error: toErrorBody('store_unavailable', undefined, RETRY) };
    }
  }

  /** By the bound; by the provider's count where that may decide the answer. All of it waits as long as a hold may. */
  async #hold({ input, toHold, toRequest }: Ask): Promise<Reservation> {
    const { ledger, clock } = this.#deps;
    const bound = toHold(input.tokens);
    // Nobody has a budget, or only limits that nothing fits into: no count changes that.
    if (!bound.limits?.some(({ limit }) => limit > 0)) return ledger.reserve(bound);
    const until = clock.now() + LEDGER_TIMES.waitMs;
    const refused = input.hasAttachments ? undefined : await ledger.reserve(bound, 0);
    if (refused && (refused.granted || !mayFit(refused.error, toHold(1)))) return refused;
    const counted = await this.#count(toRequest);
    const leftMs = Math.max(0, until - clock.now());
    return ledger.reserve(toHold(Math.min(input.tokens, counted ?? input.tokens)), leftMs);
  }

  async #count(toRequest: Ask['toRequest']): Promise<number | undefined> {
    const request = toRequest();
    return request && this.#deps.countPrompt(request);
  }

  /** Keeps a hold for the request that `key` names, alive until it is settled. */
  keep(key: RequestKey, hold: Hold): void {
    this.#holds.set(toText(key), { hold: { ...hold, turnId: key.turnId }, missed: 0 });
    if (hold.leaseExpiresAt !== undefined) this.#scheduleHeartbeat();
  }

  /** Settles a kept hold as unused. */
  giveBack(key: RequestKey): void {
    void this.settle(key, UNUSED);
  }

  release(hold: Hold): void {
    void this.#deps.ledger.settle(hold, UNUSED);
  }

  /** Settles a kept hold, once. */
  async settle(key: RequestKey, settlement: Settlement): Promise<readonly BudgetWarning[]> {
    const kept = this.#holds.get(toText(key));
    if (!kept) return [];
    this.#holds.delete(toText(key));
    if (settlement !== UNUSED) this.#deps.metrics.spent(kept.hold.model, settlement.usage, settlement.costNanoUsd);
    return this.#deps.ledger.settle(kept.hold, settlement);
  }

  /** Renews what runs, then settles what nobody renews any more (BUD-4). */
  async beat(): Promise<void> {
    const { ledger, running, logger } = this.#deps;
    const beats: Heartbeat[] = [];
    for (const [key, known] of running()) {
      const kept = this.#holds.get(toText(key));
      if (!kept) continue;
      kept.missed = -1;
      beats.push({ hold: kept.hold, known });
    }
    // A session whose log refused its request forgets the hold; it ends with its lease.
    for (const [key, kept] of this.#holds) if (++kept.missed >= MISSED_BEATS) this.#holds.delete(key);
    await ledger.extend(beats);
    try {
      const count = await ledger.sweep();
      if (count > 0) logger.warn('holds that nobody kept alive were settled', { count });
    } catch (error) {
      logger.warn('the ledger could not be swept', { error });
    }
  }

  /** Leaves what still runs with its last checkpoint. */
  async close(): Promise<void> {
    this.#isClosed = true;
    this.#heartbeat?.cancel();
    await this.beat();
  }

  /** One for all requests, as long as there are any. */
  #scheduleHeartbeat(): void {
    if (this.#isClosed) return;
    this.#heartbeat ??= this.#deps.clock.schedule(LEDGER_TIMES.heartbeatMs, () => {
      this.#heartbeat = undefined;
      if (this.#holds.size === 0) return;
      this.#scheduleHeartbeat();
      void this.beat();
    });
  }
}

/** When a ledger that is away is worth another try. */
const RETRY = { retryAfterMs: 1_000 } as const;

/** Whether the smallest hold there could be would get past what refused a larger one. */
function mayFit({ code, details }: ErrorBody, least: HoldRequest): boolean {
  if (!code.startsWith('budget_')) return false;
  if (!details) return true;
  const { unit, limit, used } = details as { unit: Limit['unit']; limit: number; used: number };
  return limit > 0 && used + toWire(unit, amountOf(least.amounts, unit)) <= limit;
}

const UNUSED: Settlement = { usage: NO_USAGE, estimated: false, costNanoUsd: 0 };

const toText = ({ turnId, step, attempt }: RequestKey): string => `${turnId}/${step}/${attempt}`;
