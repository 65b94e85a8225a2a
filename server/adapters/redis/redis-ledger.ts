/**
 * The ledger of many nodes: every check and its hold are one script in Redis, under the keys of one organisation. Time
 * is that of Redis. What is settled while Redis is away waits in memory; what is not settled lapses, and any node
 * settles it from its last checkpoint.
 */
import { randomUUID } from 'node:crypto';
import type { BudgetWarning } from '../../core/budget-math.js';
import { checkHold, NO_AMOUNTS, toDay, windowsAt } from '../../core/budget-math.js';
import {
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
import { FreedBell } from './freed-bell.js';
import { keys } from './keys.js';
import {
  PERCENTS,
  parseCounter,
  parseLapsed,
  parseWarnings,
  toHoldJson,
  toLimitArgs,
  toSpendField,
  usedOf,
} from './ledger-format.js';
import { LedgerOrgs } from './ledger-orgs.js';
import { type RedisConnection, RedisUnavailable } from './redis-connection.js';
import type { Script } from './scripts.js';
import { SettlementQueue } from './settlement-queue.js';
import { readSpend, SPEND_KEPT_DAYS } from './spend-book.js';

export interface RedisLedgerDeps {
  readonly redis: RedisConnection;
  readonly logger: Logger | undefined;
  /** How long a reservation waits where only holds are in the way, in milliseconds. */
  readonly waitMs?: number;
  /** How often it looks for holds of the dead by itself, in milliseconds; undefined: only `sweep` does. */
  readonly sweepEveryMs?: number;
}

/** How long a hold is known as settled: a settlement that comes later than this would count again. */
const SETTLED_SECONDS = 86_400;
const LAPSED_AT_ONCE = 100;
/** Who waits for holds looks this often whether they are those of the dead. */
const SWEEP_WAITING_MS = 1_000;

type Settling = Pick<Hold, 'id' | 'orgId' | 'userId' | 'sessionId' | 'model' | 'tags' | 'limits' | 'heldAt'>;

export class RedisLedger implements Ledger {
  readonly #deps: RedisLedgerDeps;
  /** Names this node in its holds. */
  readonly #owner = randomUUID();
  readonly #waitMs: number;
  readonly #bell: FreedBell;
  readonly #queue: SettlementQueue;
  readonly #orgs: LedgerOrgs;
  readonly #onReady = (): void => this.#comeBack();
  /** Until then nobody's holds are given up: Redis was away, and their nodes have had no chance to renew them. */
  #sweepsFrom = Number.NEGATIVE_INFINITY;
  #isClosed = false;
  readonly #sweeping: NodeJS.Timeout | undefined;
  #sweepingAll: Promise<number> | undefined;

  /** Begins with a connection that is open. */
  constructor(deps: RedisLedgerDeps) {
    this.#deps = deps;
    this.#waitMs = deps.waitMs ?? LEDGER_TIMES.waitMs;
    this.#bell = new FreedBell(deps.redis);
    this.#orgs = new LedgerOrgs(deps.redis);
    this.#queue = new SettlementQueue({
      write: ({ hold, settlement }) => this.#settle(hold, settlement, 'held'),
      logger: deps.logger,
    });
    deps.redis.client.on('ready', this.#onReady);
    if (deps.sweepEveryMs !== undefined)
      this.#sweeping = setInterval(() => this.#sweepByItself(), deps.sweepEveryMs).unref();
  }

  async reserve(request: HoldRequest, maxWaitMs = Number.POSITIVE_INFINITY): Promise<Reservation> {
    const id = randomUUID();
    const owner = this.#owner;
    if (!request.limits) {
      const { heldAt, windows } = await this.#windowsOf(request);
      return { granted: true, hold: { ...request, id, windows, owner, heldAt, leaseExpiresAt: undefined } };
    }
    // Before the hold, so that whoever sweeps knows where to look.
    await this.#orgs.announce(request.orgId);
    const until = performance.now() + Math.min(this.#waitMs, maxWaitMs);
    let sweepsAt = performance.now();
    for (;;) {
      const left = until - performance.now();
      const freed = left > 0 ? this.#bell.next(request.orgId, left) : undefined;
      const reservation = await this.#tryReserve(id, request);
      if (!freed || reservation.granted || reservation.error.code !== 'budget_held') return reservation;
      if (performance.now() >= sweepsAt) {
        sweepsAt = performance.now() + SWEEP_WAITING_MS;
        if ((await this.#sweepOrg(request.orgId)) > 0) continue;
      }
      await freed;
    }
  }

  async settle(hold: Hold, settlement: Settlement): Promise<readonly BudgetWarning[]> {
    // Where some wait already, nobody waits for Redis once more.
    if (this.#queue.size > 0) {
      this.#queue.add({ hold, settlement });
      return [];
    }
    const { tokens, nanoUsd } = usedOf(settlement);
    if (hold.leaseExpiresAt !== undefined && (tokens > hold.amounts.tokens || nanoUsd > hold.amounts.nanoUsd))
      this.#deps.logger?.error('a request used more than was held for it', { hold: hold.id, model: hold.model });
    try {
      return (await this.#settle(hold, settlement, 'held')) ?? [];
    } catch (error) {
      this.#deps.logger?.warn('a settlement waits for Redis', { hold: hold.id, reason: String(error) });
      this.#queue.add({ hold, settlement });
      return [];
    }
  }

  async extend(beats: readonly Heartbeat[]): Promise<void> {
    const extending = beats.filter(({ hold }) => hold.leaseExpiresAt !== undefined).map((beat) => this.#extend(beat));
    await Promise.all(extending).catch((error: unknown) =>
      this.#deps.logger?.warn('holds could not be extended', { reason: String(error) }),
    );
  }

  /** One at a time: who asks meanwhile gets the same. */
  sweep(): Promise<number> {
    this.#sweepingAll ??= this.#sweepAll().finally(() => {
      this.#sweepingAll = undefined;
    });
    return this.#sweepingAll;
  }

  async #sweepAll(): Promise<number> {
    await this.#queue.flush();
    let count = 0;
    for (const orgId of await this.#noting(this.#orgs.all())) count += await this.#sweepOrg(orgId);
    return count;
  }

  async usage(payer: Payer): Promise<readonly WindowUsage[]> {
    const { windows, counters } = await this.#windowsOf(payer);
    return windows.map((window, n) => ({ window, ...(counters[n] ?? { used: NO_AMOUNTS, held: NO_AMOUNTS }) }));
  }

  async spend(query: SpendQuery): Promise<readonly SpendRow[]> {
    const { heldAt: now } = await this.#windowsOf({ orgId: query.orgId, userId: query.userId ?? '' });
    return readSpend(this.#deps.redis, query, now);
  }

  /** Refuses whoever waits, and writes what waits. */
  async close(): Promise<void> {
    this.#isClosed = true;
    clearInterval(this.#sweeping);
    this.#deps.redis.client.off('ready', this.#onReady);
    this.#bell.close();
    await this.#queue.close();
  }

  async #tryReserve(id: string, request: HoldRequest): Promise<Reservation> {
    if (this.#isClosed) throw new RedisUnavailable('The ledger is closed.');
    const owner = this.#owner;
    const { orgId, amounts, limits = [] } = request;
    const { leaseMs } = LEDGER_TIMES;
    const reply = await this.#run(
      'ledger-reserve',
      [keys.budgetUser(request), keys.budgetOrg(orgId), keys.hold(orgId, id), keys.leases(orgId)],
      [id, amounts.tokens, amounts.nanoUsd, leaseMs, toHoldJson({ ...request, owner }), ...toLimitArgs(limits)],
    );
    const [isGranted, time, ...texts] = reply as [number, string, ...string[]];
    const heldAt = Number(time);
    const windows = windowsAt(heldAt, request);
    if (isGranted === 1)
      return { granted: true, hold: { ...request, id, windows, owner, heldAt, leaseExpiresAt: heldAt + leaseMs } };
    // Redis says that it doesn't fit; why, and what helps, is told from the same numbers.
    const counters = new Map(windows.map(({ key }, n) => [key, parseCounter(texts[n] ?? '')]));
    const error = checkHold(windows, limits, amounts, (key) => counters.get(key) ?? NOTHING);
    if (!error) throw new Error('Redis refuses a hold that fits');
    return { granted: false, error };
  }

  /** Undefined where it was settled before, or (of `lapsed`) is alive. */
  async #settle(
    hold: Settling,
    settlement: Omit<Settlement, 'estimated'>,
    mode: 'held' | 'lapsed',
  ): Promise<readonly BudgetWarning[] | undefined> {
    const { id, orgId, userId, heldAt, limits = [] } = hold;
    const { usage, costNanoUsd } = settlement;
    const day = toDay(heldAt);
    const reply = await this.#run(
      'ledger-settle',
      [...this.#holdKeys(hold), keys.spend(hold, day), keys.spenders(orgId, day)],
      [
        id,
        heldAt,
        mode === 'lapsed' ? 1 : 0,
        costNanoUsd,
        usage.input_tokens,
        usage.output_tokens,
        usage.cache_creation_input_tokens,
        usage.cache_read_input_tokens,
        toSpendField(hold),
        userId,
        SETTLED_SECONDS,
        SPEND_KEPT_DAYS * 86_400,
        keys.freedChannel,
        orgId,
        PERCENTS,
        ...toLimitArgs(limits),
      ],
    );
    return reply === null ? undefined : parseWarnings(reply as string[], limits, windowsAt(heldAt, hold));
  }

  async #extend({ hold, known }: Heartbeat): Promise<void> {
    const { id, heldAt, amounts } = hold;
    const checkpoint = known ? JSON.stringify({ usage: known.usage, costNanoUsd: known.costNanoUsd }) : '';
    await this.#run('ledger-extend', this.#holdKeys(hold), [
      id,
      heldAt,
      amounts.tokens,
      amounts.nanoUsd,
      LEDGER_TIMES.leaseMs,
      toHoldJson(hold),
      checkpoint,
    ]);
  }

  async #sweepOrg(orgId: string): Promise<number> {
    if (performance.now() < this.#sweepsFrom) return 0;
    let count = 0;
    for (;;) {
      const ids = (await this.#run('ledger-lapsed', [keys.leases(orgId)], [LAPSED_AT_ONCE])) as string[];
      const settled = await Promise.all(ids.map((id) => this.#settleLapsed(orgId, id)));
      const found = settled.filter(Boolean).length;
      count += found;
      if (ids.length < LAPSED_AT_ONCE || found === 0) return count;
    }
  }

  async #settleLapsed(orgId: string, id: string): Promise<boolean> {
    const { redis } = this.#deps;
    const fields = await redis.do((client) => client.hgetall(keys.hold(orgId, id)));
    const lapsed = parseLapsed(id, fields);
    if (lapsed) return (await this.#settle(lapsed.hold, lapsed.known, 'lapsed')) !== undefined;
    await redis.do((client) => client.zrem(keys.leases(orgId), id));
    return false;
  }

  #holdKeys({ orgId, userId, id }: Pick<Hold, 'orgId' | 'userId' | 'id'>): string[] {
    return [
      keys.budgetUser({ orgId, userId }),
      keys.budgetOrg(orgId),
      keys.hold(orgId, id),
      keys.leases(orgId),
      keys.settled(orgId, id),
    ];
  }

  async #windowsOf(payer: Payer) {
    const found = await this.#run('ledger-windows', [keys.budgetUser(payer), keys.budgetOrg(payer.orgId)]);
    const [now = '', ...texts] = found as string[];
    const heldAt = Number(now);
    return { heldAt, windows: windowsAt(heldAt, payer), counters: texts.map(parseCounter) };
  }

  #sweepByItself(): void {
    this.sweep().catch((error: unknown) =>
      this.#deps.logger?.debug('the ledger could not be swept', { reason: String(error) }),
    );
  }

  async #run(script: Script, names: readonly string[], args: readonly (string | number)[] = []): Promise<unknown> {
    return this.#noting(this.#deps.redis.run(script, names, args));
  }

  async #noting<T>(asked: Promise<T>): Promise<T> {
    try {
      return await asked;
    } catch (error) {
      // One that stalls comes back without a new connection, and so does a node of a Cluster.
      if (error instanceof RedisUnavailable) this.#holdSweeps();
      throw error;
    }
  }

  #holdSweeps(): void {
    this.#sweepsFrom = performance.now() + LEDGER_TIMES.leaseMs;
  }

  #comeBack(): void {
    this.#holdSweeps();
    this.#orgs.forget();
    void this.#queue.flush();
  }
}

const NOTHING = { used: NO_AMOUNTS, held: NO_AMOUNTS };
