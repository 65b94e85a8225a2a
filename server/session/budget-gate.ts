/** The one way to the ledger: what a request may cost and whether its payer has that, held before it and settled after. */
import { NO_USAGE, toErrorBody } from '../../protocol/index.js';
import { type BudgetPolicy, type BudgetWarning, limitsOf, toCostBound } from '../core/budget-math.js';
import type { ModelFacts } from '../core/prices.js';
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

export interface SpendRequest extends Omit<HoldRequest, 'amounts' | 'limits'> {
  readonly roles: readonly string[];
  /** Upper bound of the input side. */
  readonly inputTokens: number;
  /** Upper bound of the output side: `max_tokens`. */
  readonly outputTokens: number;
}

export interface GateDeps {
  readonly ledger: Ledger;
  readonly budgets: () => BudgetPolicy;
  readonly factsOf: (model: string) => ModelFacts;
  readonly clock: Clock;
  readonly logger: Logger;
  readonly metrics: Metrics;
  /** What the requests that run now are known to have used. Asked once a heartbeat, for all of them. */
  readonly running: () => Iterable<readonly [RequestKey, Checkpoint]>;
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
  async reserve({ roles, inputTokens, outputTokens, ...request }: SpendRequest): Promise<Reservation> {
    const { ledger, budgets, factsOf, logger } = this.#deps;
    const limits = limitsOf(budgets(), roles);
    const { price, isPriced } = factsOf(request.model);
    if (!isPriced && limits?.some(({ unit }) => unit === 'usd')) {
      const message = `The price of ${request.model} is not known, and a budget in dollars applies. Choose another model, or have the operator set its price in "prices".`;
      return { granted: false, error: toErrorBody('invalid_request', message) };
    }
    const amounts = { tokens: inputTokens + outputTokens, nanoUsd: toCostBound(price, inputTokens, outputTokens) };
    try {
      return await ledger.reserve({ ...request, amounts, limits });
    } catch (error) {
      logger.error('the ledger did not answer', { error });
      return { granted: false, error: toErrorBody('store_unavailable', undefined, RETRY) };
    }
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
const UNUSED: Settlement = { usage: NO_USAGE, estimated: false, costNanoUsd: 0 };

const toText = ({ turnId, step, attempt }: RequestKey): string => `${turnId}/${step}/${attempt}`;
