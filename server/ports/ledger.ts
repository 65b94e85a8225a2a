/**
 * Budgets: what may be spent is held before each model request and settled once after it (BUD-1, BUD-2). Several nodes
 * may use one ledger; the time is the ledger's own.
 */
import type { ErrorBody, Usage } from '../../protocol/index.js';
import type { Amounts, BudgetWarning, BudgetWindow, Limit } from '../core/budget-math.js';

/** Who pays. */
export interface Payer {
  readonly userId: string;
  readonly orgId: string;
}

export interface HoldRequest extends Payer {
  readonly sessionId: string;
  /** Empty where the turn has no name yet. */
  readonly turnId: string;
  readonly step: number;
  readonly attempt: number;
  readonly model: string;
  readonly tags: readonly string[];
  /** The most that the request may use. */
  readonly amounts: Amounts;
  /** Of the windows at the moment of the hold. Undefined: nobody has a budget, and nothing is held or kept. */
  readonly limits: readonly Limit[] | undefined;
}

export interface Hold extends HoldRequest {
  readonly id: string;
  /** The exact windows that it is held in, and will be settled into, whenever that is. */
  readonly windows: readonly BudgetWindow[];
  /** The node that keeps it alive. */
  readonly owner: string;
  /** Milliseconds since 1970. */
  readonly heldAt: number;
  /** When it is given up unless it is extended; undefined where nothing is held. */
  readonly leaseExpiresAt: number | undefined;
}

export type Reservation =
  | { readonly granted: true; readonly hold: Hold }
  | { readonly granted: false; readonly error: ErrorBody };

export interface Settlement {
  readonly usage: Usage;
  /** True where the provider's count did not come. */
  readonly estimated: boolean;
  readonly costNanoUsd: number;
}

/** What a running request is known to have used so far. */
export interface Checkpoint {
  readonly usage: Usage;
  readonly costNanoUsd: number;
}

export interface Heartbeat {
  readonly hold: Hold;
  /** Undefined where nothing is known yet: the earlier checkpoint stays. */
  readonly known: Checkpoint | undefined;
}

export interface WindowUsage {
  readonly window: BudgetWindow;
  readonly used: Amounts;
  readonly held: Amounts;
}

export type SpendGroup = 'session' | 'model' | 'tag' | 'user';

export interface SpendQuery {
  readonly orgId: string;
  /** Undefined: everybody of the organisation. */
  readonly userId: string | undefined;
  /** The first day, `2026-01-31`, UTC. */
  readonly sinceDay: string;
  /** Beside the day. A request with several tags counts under each of them. */
  readonly groupBy: readonly SpendGroup[];
  readonly limit: number;
}

export interface SpendRow {
  /** Of the hold, so that days add up to what the windows say. */
  readonly day: string;
  readonly sessionId?: string;
  readonly model?: string;
  /** Left out where a request had none. */
  readonly tag?: string;
  readonly userId?: string;
  readonly requests: number;
  readonly usage: Usage;
  readonly costNanoUsd: number;
}

export interface Ledger {
  /**
   * All windows or none, atomically, in a total order with every other call: `used + held ≤ limit` (BUD-1). Where only
   * holds are in the way it waits up to 2 s, woken by settlements; then, or where nothing helps, a refusal of BUD-3.
   * Rejects where the store can't be reached: nothing is spent on credit. A hold that is granted may be lost in a power
   * cut, together with the request that it was for, but not by the death of its process once the request was begun.
   * `maxWaitMs` bounds the wait further.
   */
  reserve(request: HoldRequest, maxWaitMs?: number): Promise<Reservation>;
  /**
   * Settles a hold, once, into the windows that were held; again, or after a sweep did, is a no-op. Counts at once, and
   * resolves with the thresholds that this crossed, each told once a window. Never rejects: what can't be written now
   * is queued. Usage above the hold is counted all the same. `hold.turnId` may have been filled in meanwhile.
   */
  settle(hold: Hold, settlement: Settlement): Promise<readonly BudgetWarning[]>;
  /** Renews leases and notes what is known to be used. Holds that are settled are left alone. Never rejects. */
  extend(beats: readonly Heartbeat[]): Promise<void>;
  /**
   * Settles holds whose owner is dead (their lease expired) from their last checkpoint, as estimated (BUD-4). Returns
   * how many. Any node may do it, also at the same time. Rejects where the store can't be reached.
   */
  sweep(): Promise<number>;
  /** The windows that the payer's requests fall into now. Rejects where the store can't be reached. */
  usage(payer: Payer): Promise<readonly WindowUsage[]>;
  /** What was settled, newest day first, dearest first within it. Rejects where the store can't be reached. */
  spend(query: SpendQuery): Promise<readonly SpendRow[]>;
}

/** How long a hold lives without being extended, and how often it is, in milliseconds. */
export const LEDGER_TIMES = { leaseMs: 10_000, heartbeatMs: 3_000, waitMs: 2_000 } as const;
