/** The session room as one piece: actors, service, and how it goes down. */
import type { Limits } from '../../protocol/index.js';
import type { BudgetPolicy } from '../core/budget-math.js';
import { toKnownUsage } from '../core/known-usage.js';
import { type FitsSchema, mostGenerous, type Policy } from '../core/permissions.js';
import type { FactsOf } from '../core/prices.js';
import type { StepContext } from '../core/transition.js';
import type { AuditLog } from '../ports/audit-log.js';
import type { CallMemory } from '../ports/call-memory.js';
import type { Clock } from '../ports/clock.js';
import type { EventLog } from '../ports/event-log.js';
import type { NewId } from '../ports/identity.js';
import type { Inbox } from '../ports/inbox.js';
import type { Leases } from '../ports/lease.js';
import type { Ledger } from '../ports/ledger.js';
import type { LogTail } from '../ports/log-tail.js';
import type { Logger } from '../ports/logger.js';
import type { Metrics } from '../ports/metrics.js';
import type { Model } from '../ports/model.js';
import type { RateLimiter } from '../ports/rate-limiter.js';
import type { SessionStore } from '../ports/session-store.js';
import type { InputValidator, ToolRunner } from '../ports/tool-runner.js';
import type { TurnSeats } from '../ports/turn-seats.js';
import { ActorRegistry, participantsOf } from './actor-registry.js';
import { AdmissionGate } from './admission-gate.js';
import type { Agents } from './agents.js';
import { createAuditedApi, createAuditedUsage } from './audited-api.js';
import { BudgetGate } from './budget-gate.js';
import type { Directory } from './directory.js';
import { createDirectoryWait } from './directory-wait.js';
import { cutAll, handOverAll } from './drain.js';
import { Followers } from './followers.js';
import { InboxDesk } from './inbox-desk.js';
import { NodeWatch } from './node-watch.js';
import { createPromptCounter } from './prompt-counter.js';
import { RemoteConnections } from './remote-connections.js';
import { Recovery } from './recovery.js';
import { createRevocationDesk } from './revocation-desk.js';
import { SessionAccess } from './session-access.js';
import type { RevocationApi, SessionApi, UsageApi } from './session-api.js';
import type { Doors } from './session-door.js';
import { SessionDoors } from './session-doors.js';
import { SessionService } from './session-service.js';
import { guardStore } from './store-guard.js';
import { TakeOver } from './take-over.js';
import { ToolBook } from './tool-book.js';
import { ToolDesk } from './tool-desk.js';
import { createUsageDesk } from './usage-desk.js';
import { WatchCensus } from './watch-census.js';

export interface RoomDeps {
  readonly log: EventLog;
  readonly sessions: SessionStore;
  readonly leases: Leases;
  /** How this node works with others; undefined where there are none. */
  readonly nodes?: { readonly inbox: Inbox; readonly tail: LogTail } | undefined;
  readonly audit: AuditLog;
  /** Of tools called without the model. */
  readonly calls: CallMemory;
  /** Of sessions made on several nodes; undefined where one makes them all. */
  readonly creations?: CallMemory | undefined;
  readonly ledger: Ledger;
  readonly rates: RateLimiter;
  readonly seats: TurnSeats;
  /** Whether `requests_per_minute` and `concurrent_turns` apply; where nobody authenticates they don't. */
  readonly limitsUsers: boolean;
  readonly metrics: Metrics;
  readonly budgets: BudgetPolicy;
  readonly model: Model;
  readonly tools: ToolRunner;
  readonly validator: InputValidator;
  readonly clock: Clock;
  readonly newId: NewId;
  readonly random: () => number;
  readonly logger: Logger;
  readonly limits: Limits;
  readonly agents: Agents;
  readonly policy: Policy;
  readonly directory: Directory;
  readonly factsOf: FactsOf;
  readonly mayRegister: (toolName: string) => boolean;
  readonly approvalTimeoutMs: number;
  /** How long what has begun waits for a store that is away, in milliseconds. */
  readonly storePatienceMs: number;
}

export interface SessionRoom {
  readonly api: SessionApi;
  readonly usage: UsageApi;
  readonly revocations: RevocationApi;
  /** Takes up the turns that the last run left unfinished. */
  recover(): Promise<void>;
  /** No new turns from here on. */
  beginDrain(): void;
  /** Resolves when no turn runs, or at the deadline after cutting those that do. */
  drained(deadlineMs: number): Promise<void>;
  /** Removes what retention no longer keeps (milliseconds since 1970). */
  sweep(cut: { sessionsBefore?: number; eventsBefore?: number; auditBefore?: number }): Promise<void>;
  /** What is decided from here on, is decided by this policy; what a running turn was offered stays. */
  setPolicy(policy: Policy, budgets: BudgetPolicy): void;
  close(): Promise<void>;
}

const CANNOT_TELL = 'the store can’t say who was revoked, so no tool may run';

export function createSessionRoom(deps: RoomDeps): SessionRoom {
  const { log, sessions, leases, ledger, model, tools, validator, clock, newId, logger, directory, audit, nodes } =
    deps;
  let { policy } = deps;
  let draining = false;
  let { budgets } = deps;
  const serverTools = new Map(tools.definitions.map((tool) => [tool.name, tool]));
  const fitsSchema: FitsSchema = (schema, input) => validator.check(schema, input);
  const context = (): StepContext => ({
    now: clock.now(),
    newId,
    random: deps.random,
    limits: deps.limits,
    approvalTimeoutMs: deps.approvalTimeoutMs,
    serverTools,
    policy,
    rolesOf: (who) => directory.rolesOf(who),
    heldBack: directory.isCurrent ? undefined : CANNOT_TELL,
    fitsSchema,
    refuseSchema: (schema) => validator.refuse(schema),
    mayRegister: deps.mayRegister,
    factsOf: deps.factsOf,
    draining,
    hasPlace: (sessionId) => admission.places.isFreeFor(sessionId),
    isOverloaded: () => admission.places.isFull,
  });
  const rolesOf: StepContext['rolesOf'] = (who) => directory.rolesOf(who);
  const limitOf = (
    who: { readonly user_id: string; readonly org_id: string },
    limit: 'requests_per_minute' | 'concurrent_turns',
  ): number | undefined => (deps.limitsUsers ? mostGenerous(policy, directory.rolesOf(who), limit) : undefined);
  const admission: AdmissionGate = new AdmissionGate({
    rates: { rates: deps.rates, limitOf: (who) => limitOf(who, 'requests_per_minute'), clock, logger },
    seats: {
      seats: deps.seats,
      isLimited: deps.limitsUsers,
      limitOf: (who) => limitOf(who, 'concurrent_turns'),
      clock,
      logger,
    },
    places: {
      capacity: deps.limits.running_turns,
      maxWaiting: deps.limits.waiting_turns,
      isDraining: () => draining,
      onFree: (sessionId) => registry.find(sessionId)?.send({ type: 'place_free' }),
    },
  });
  const gate: BudgetGate = new BudgetGate({
    ledger,
    budgets: () => budgets,
    factsOf: deps.factsOf,
    countPrompt: createPromptCounter({ model, clock, logger }),
    clock,
    logger,
    metrics: deps.metrics,
    running: () => {
      const now = context();
      return registry.actors.map(({ state }) => toKnownUsage(state, now)).filter((known) => known !== undefined);
    },
  });
  const followers =
    nodes &&
    new Followers({
      tail: nodes.tail,
      sessions,
      clock,
      logger,
      isNeeded: (sessionId) => toolBook.has(sessionId),
      onOwner: ({ owner, feed }) => owner && toolBook.renew(feed.sessionId),
    });
  const { places } = admission;
  const { storePatienceMs } = deps;
  const whenCurrent = createDirectoryWait({ directory, clock, patienceMs: storePatienceMs });
  const registry: ActorRegistry = new ActorRegistry({
    log,
    audit,
    sessions,
    leases,
    clock,
    logger,
    runner: { model, tools, gate, admission, metrics: deps.metrics, rolesOf, whenCurrent, storePatienceMs },
    context,
    loadRoles: async (who) => {
      for (const one of who) await directory.load(one);
      await whenCurrent();
    },
    followers,
    onOpen: (sessionId) => toolBook.renew(sessionId),
  });
  const doors: Doors =
    nodes && followers ? new SessionDoors({ registry, followers, inbox: nodes.inbox, clock }) : registry;
  const access = new SessionAccess({ doors, sessions });
  const toolBook: ToolBook = new ToolBook({ access, clock, logger });
  directory.protect(() => registry.actors.flatMap(({ state }) => participantsOf(state)));
  const toolDesk = new ToolDesk({
    tools,
    calls: deps.calls,
    rates: admission.rates,
    metrics: deps.metrics,
    audit,
    policy: () => policy,
    directory,
    fitsSchema,
    clock,
    newId,
    logger,
    maxResultBytes: deps.limits.tool_result_bytes,
    isDraining: () => draining,
  });
  const census = new WatchCensus(() => [...registry.actors.map(({ feed }) => feed), ...(followers?.feeds ?? [])]);
  const watch = nodes && new NodeWatch({ inbox: nodes.inbox, clock });
  const service: SessionService = new SessionService({
    registry,
    doors,
    access,
    toolBook,
    nodes: nodes && watch && { inbox: nodes.inbox, watch },
    log,
    sessions,
    clock,
    newId,
    logger,
    agents: deps.agents,
    directory,
    get policy() {
      return policy;
    },
    audit,
    toolDesk,
    tools: tools.definitions,
    fitsSchema,
    isDraining: () => draining,
    creations: deps.creations,
    delivered: census.delivered,
  });
  const api = createAuditedApi(service, { audit, clock });
  const guests =
    watch && new RemoteConnections(watch, (sessionId, connectionId) => registry.find(sessionId)?.leave(connectionId));
  if (nodes && guests)
    new InboxDesk({
      inbox: nodes.inbox,
      registry,
      access: new SessionAccess({ doors: registry, sessions }),
      directory,
      connections: guests,
      isDraining: () => draining,
      deleteSession: (caller, sessionId) => service.deleteSession(caller, sessionId),
    });
  const recovery = new Recovery({ registry, sessions, leases, random: deps.random, logger });
  const takeUp = (ids: readonly string[]): Promise<void> => places.afterAll(() => recovery.takeUp(ids));
  const recover = async (): Promise<void> => {
    const ids = await recovery.unfinished();
    if (ids.length > 0) await takeUp(ids);
  };
  let takeOver: TakeOver | undefined;
  deps.metrics.gauge('turns_running', () => places.running);
  deps.metrics.gauge('turns_waiting', () => places.waiting);
  deps.metrics.gauge('turn_capacity', () => places.capacity);
  deps.metrics.gauge('sessions_open', () => registry.size);
  deps.metrics.gauge('sessions_followed', () => followers?.feeds.length ?? 0);
  deps.metrics.gauge('subscriptions', () => census.countByState());
  deps.metrics.gauge('subscription_lag_events', () => census.greatestLag);
  deps.metrics.total('delivered_records', () => ({ ...census.delivered }));
  deps.metrics.gauge('budget_holds_open', () => gate.size);
  return {
    api: guardStore(api),
    usage: createAuditedUsage(createUsageDesk({ ledger, clock, budgets: () => budgets, directory }), { audit, clock }),
    revocations: createRevocationDesk({ directory, policy: () => policy, audit, clock }),
    async recover() {
      // What the last run held is settled before this one holds anything.
      await gate.beat();
      await recover();
      if (nodes)
        takeOver = new TakeOver({
          leases,
          clock,
          random: deps.random,
          logger,
          recover,
          takeUp,
          isDraining: () => draining,
        });
    },
    beginDrain: () => {
      draining = true;
      if (nodes) registry.beginYield();
    },
    async drained(deadlineMs) {
      const until = clock.now() + deadlineMs;
      await (nodes ? handOverAll : cutAll)({ registry, clock, logger }, until);
    },
    async sweep(cut) {
      const removed = await sessions.sweep(cut);
      for (const id of removed) await registry.drop(id);
      if (removed.length > 0) logger.info('old sessions removed', { count: removed.length });
      if (cut.auditBefore !== undefined) await audit.sweep(cut.auditBefore);
    },
    setPolicy(next, nextBudgets) {
      policy = next;
      budgets = nextBudgets;
    },
    async close() {
      draining = true;
      await takeOver?.close();
      await toolDesk.close();
      await gate.close();
      admission.close();
      watch?.close();
      followers?.close();
      await registry.close();
    },
  };
}
