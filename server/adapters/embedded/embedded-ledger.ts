/**
 * The ledger of one machine. What counts is in memory, where a check and its hold are one synchronous step; the store
 * has it too. A hold is written in the same group commit as the turn's events, or an earlier one, so that no request
 * begins before its hold is there; what is settled is synced.
 */

import { NO_USAGE } from '../../../protocol/index.js';
import {
  type Amounts,
  addAmounts,
  amountOf,
  type BudgetWarning,
  type BudgetWindow,
  checkHold,
  type Limit,
  NO_AMOUNTS,
  percentReached,
  subtractAmounts,
  toWire,
  windowsAt,
} from '../../core/budget-math.js';
import {
  type Checkpoint,
  type Heartbeat,
  type Hold,
  type HoldRequest,
  LEDGER_TIMES,
  type Ledger,
  type Payer,
  type Reservation,
  type Settlement,
  type SpendQuery,
  type SpendRow,
  type WindowUsage,
} from '../../ports/ledger.js';
import type { Logger } from '../../ports/logger.js';
import type { GroupCommit } from './group-commit.js';
import { type LedgerTable, type SettledRow, usedOf, type Warned } from './ledger-table.js';

export interface EmbeddedLedgerDeps {
  readonly table: LedgerTable;
  readonly commits: GroupCommit;
  readonly logger: Logger | undefined;
  /** Milliseconds since 1970. */
  readonly now: () => number;
  readonly newId: () => string;
  /** How long a reservation waits where only holds are in the way. */
  readonly waitMs: number;
}

interface Counting {
  readonly window: BudgetWindow;
  used: Amounts;
  held: Amounts;
  warned: Warned;
}

interface OpenHold {
  readonly hold: Hold;
  readonly checkpoint: Checkpoint | undefined;
}

interface Waiter {
  /** Tries again; true where it is answered. */
  readonly retry: () => boolean;
}

export class EmbeddedLedger implements Ledger {
  readonly #deps: EmbeddedLedgerDeps;
  /** A data directory has one server: holds of another owner are those of a run that is over. */
  readonly #owner: string;
  readonly #windows = new Map<string, Counting>();
  readonly #open = new Map<string, OpenHold>();
  readonly #waiters = new Map<string, Set<Waiter>>();
  /** Settled here and not yet in the store. */
  readonly #unwritten = new Map<string, SettledRow>();

  constructor(deps: EmbeddedLedgerDeps) {
    this.#deps = deps;
    this.#owner = deps.newId();
    for (const { hold, checkpoint } of deps.table.holds()) {
      this.#open.set(hold.id, { hold, checkpoint });
      this.#hold(hold);
    }
  }

  async reserve(request: HoldRequest, maxWaitMs = Number.POSITIVE_INFINITY): Promise<Reservation> {
    const first = this.#tryReserve(request);
    const waitMs = Math.min(this.#deps.waitMs, maxWaitMs);
    if (first.granted || first.error.code !== 'budget_held' || waitMs <= 0) return first;
    return new Promise((resolve, reject) => {
      let last: Reservation = first;
      const waiters = this.#waiters.get(request.orgId) ?? new Set();
      this.#waiters.set(request.orgId, waiters);
      const leave = (): true => {
        clearTimeout(timer);
        waiters.delete(waiter);
        if (waiters.size === 0 && this.#waiters.get(request.orgId) === waiters) this.#waiters.delete(request.orgId);
        return true;
      };
      const waiter: Waiter = {
        retry: () => {
          try {
            last = this.#tryReserve(request);
            if (!last.granted && last.error.code === 'budget_held') return false;
            resolve(last);
          } catch (error) {
            reject(error as Error);
          }
          return leave();
        },
      };
      const timer = setTimeout(() => {
        leave();
        resolve(last);
      }, waitMs);
      waiters.add(waiter);
    });
  }

  async settle({ id, turnId }: Hold, settlement: Settlement): Promise<readonly BudgetWarning[]> {
    const open = this.#open.get(id);
    return open ? this.#settle({ ...open.hold, turnId }, settlement) : [];
  }

  async extend(beats: readonly Heartbeat[]): Promise<void> {
    const { commits, table, now } = this.#deps;
    const extended: OpenHold[] = [];
    for (const { hold, known } of beats) {
      const open = this.#open.get(hold.id);
      if (open?.hold.leaseExpiresAt === undefined) continue;
      const { turnId } = hold;
      const next: OpenHold = {
        hold: { ...open.hold, turnId, leaseExpiresAt: now() + LEDGER_TIMES.leaseMs },
        checkpoint: known ?? open.checkpoint,
      };
      this.#open.set(hold.id, next);
      extended.push(next);
    }
    this.#writeUnwritten();
    if (extended.length === 0) return;
    const write = (): void => {
      for (const { hold, checkpoint } of extended) table.putHold(hold, checkpoint);
    };
    await commits.run(write, 'relaxed').catch((error: unknown) => this.#warn('holds could not be extended', error));
  }

  async sweep(): Promise<number> {
    const { commits, now } = this.#deps;
    commits.requireWritable();
    const isDead = ({ owner, leaseExpiresAt }: Hold): boolean =>
      leaseExpiresAt !== undefined && (owner !== this.#owner || leaseExpiresAt <= now());
    const dead = [...this.#open.values()].filter(({ hold }) => isDead(hold));
    for (const { hold, checkpoint } of dead) {
      const known = checkpoint ?? { usage: NO_USAGE, costNanoUsd: 0 };
      this.#settle(hold, { ...known, estimated: true });
    }
    for (const [key, { window, held }] of this.#windows)
      if (window.resetsAt <= now() && held.tokens === 0 && held.nanoUsd === 0 && this.#unwritten.size === 0)
        this.#windows.delete(key);
    this.#writeUnwritten();
    return dead.length;
  }

  async usage(payer: Payer): Promise<readonly WindowUsage[]> {
    return windowsAt(this.#deps.now(), payer).map((window) => {
      const { used, held } = this.#counting(window);
      return { window, used, held };
    });
  }

  async spend(query: SpendQuery): Promise<readonly SpendRow[]> {
    // What was counted before is in it.
    await this.#deps.commits.settled();
    return this.#deps.table.spend(query);
  }

  /** Answers everybody who waits; the store is about to be closed. */
  close(): void {
    this.#writeUnwritten();
    for (const waiters of [...this.#waiters.values()]) for (const waiter of [...waiters]) waiter.retry();
  }

  /** The check and the hold, in one step that nothing comes between. */
  #tryReserve(request: HoldRequest): Reservation {
    const { commits, table, now, newId } = this.#deps;
    commits.requireWritable();
    const at = now();
    const windows = windowsAt(at, request);
    const { limits } = request;
    const error =
      limits && checkHold(windows, limits, request.amounts, (key) => this.#counting(windowOf(windows, key)));
    if (error) return { granted: false, error };
    const leaseExpiresAt = limits && at + LEDGER_TIMES.leaseMs;
    const hold: Hold = { ...request, id: newId(), windows, owner: this.#owner, heldAt: at, leaseExpiresAt };
    this.#open.set(hold.id, { hold, checkpoint: undefined });
    this.#hold(hold);
    if (leaseExpiresAt !== undefined) {
      // Not waited for: the events that begin the request are written behind it, as its settlement is.
      commits
        .run(() => table.putHold(hold, undefined), 'relaxed')
        .catch((cause: unknown) => this.#warn('a hold could not be written', cause));
    }
    return { granted: true, hold };
  }

  #hold({ windows, amounts, leaseExpiresAt }: Hold): void {
    if (leaseExpiresAt === undefined) return;
    for (const window of windows) {
      const counting = this.#counting(window);
      counting.held = addAmounts(counting.held, amounts);
    }
  }

  #settle(hold: Hold, settlement: Settlement): readonly BudgetWarning[] {
    const { id, windows, amounts, leaseExpiresAt, limits } = hold;
    this.#open.delete(id);
    const used = usedOf(settlement);
    if (leaseExpiresAt !== undefined && (used.tokens > amounts.tokens || used.nanoUsd > amounts.nanoUsd))
      this.#deps.logger?.error('a request used more than was held for it', { hold: id, model: hold.model });
    for (const window of windows) {
      const counting = this.#counting(window);
      if (leaseExpiresAt !== undefined) counting.held = subtractAmounts(counting.held, amounts);
      counting.used = addAmounts(counting.used, used);
    }
    const warnings = (limits ?? []).flatMap((limit) => this.#warning(windows, limit));
    const warned = warnings.map(({ key }) => ({ key, warned: this.#windows.get(key)?.warned ?? NOT_WARNED }));
    this.#unwritten.set(id, { hold, settlement, warned });
    this.#writeUnwritten();
    for (const waiter of [...(this.#waiters.get(hold.orgId) ?? [])]) waiter.retry();
    return warnings.map(({ warning }) => warning);
  }

  /** What is to be told of a limit now, where that is new. */
  #warning(windows: readonly BudgetWindow[], limit: Limit): { key: string; warning: BudgetWarning }[] {
    const { scope, window: span, unit } = limit;
    const window = windows.find((w) => w.scope === scope && w.window === span);
    if (!window) return [];
    const counting = this.#counting(window);
    const percent = percentReached(limit.limit, amountOf(counting.used, unit));
    if (percent <= counting.warned[unit]) return [];
    counting.warned = { ...counting.warned, [unit]: percent };
    const warning = {
      scope,
      window: span,
      unit,
      limit: toWire(unit, limit.limit),
      used: toWire(unit, amountOf(counting.used, unit)),
      held: toWire(unit, amountOf(counting.held, unit)),
      resets_at: new Date(window.resetsAt).toISOString(),
    };
    return [{ key: window.key, warning }];
  }

  #counting(window: BudgetWindow): Counting {
    const known = this.#windows.get(window.key);
    if (known) return known;
    const { used, warned } = this.#deps.table.window(window.key);
    const counting: Counting = { window, used, held: NO_AMOUNTS, warned };
    this.#windows.set(window.key, counting);
    return counting;
  }

  /** Each on its own, so that one that the store refuses keeps none of the others back. */
  #writeUnwritten(): void {
    const { commits, table } = this.#deps;
    if (commits.refusal) return;
    for (const [id, row] of this.#unwritten) {
      this.#unwritten.delete(id);
      commits
        .run(() => table.settle(row))
        .catch((error: unknown) => {
          this.#unwritten.set(id, row);
          this.#warn('a settlement waits for the store', error);
        });
    }
  }

  #warn(message: string, error: unknown): void {
    this.#deps.logger?.warn(message, { reason: String(error) });
  }
}

const NOT_WARNED: Warned = { tokens: 0, usd: 0 };

function windowOf(windows: readonly BudgetWindow[], key: string): BudgetWindow {
  const window = windows.find((w) => w.key === key);
  if (!window) throw new Error(`no window ${key}`);
  return window;
}
