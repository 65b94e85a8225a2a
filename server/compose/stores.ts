/** Where state is kept, port by port: the embedded store, and in Redis, where there is one, what nodes share. */
import { EmbeddedRates, EmbeddedSeats, openEmbeddedStore } from '../adapters/embedded/index.js';
import {
  createRedisStore,
  RedisAudit,
  RedisCalls,
  RedisConnection,
  RedisDirectory,
  RedisInbox,
  RedisLedger,
  RedisRates,
  RedisSeats,
  RedisTickets,
  takeSweepTurn,
} from '../adapters/redis/index.js';
import type { Config } from '../config/index.js';
import type { AuditLog } from '../ports/audit-log.js';
import type { CallMemory } from '../ports/call-memory.js';
import type { Clock } from '../ports/clock.js';
import type { DirectoryStore } from '../ports/directory-store.js';
import type { EventLog } from '../ports/event-log.js';
import type { Inbox } from '../ports/inbox.js';
import type { Leases } from '../ports/lease.js';
import { type Ledger, LEDGER_TIMES } from '../ports/ledger.js';
import type { LogTail } from '../ports/log-tail.js';
import type { Logger } from '../ports/logger.js';
import type { RateLimiter } from '../ports/rate-limiter.js';
import type { SessionStore } from '../ports/session-store.js';
import type { TicketStore } from '../ports/ticket-store.js';
import type { TurnSeats } from '../ports/turn-seats.js';

export interface StoreCheck {
  readonly ok: boolean;
  readonly detail: string;
}

export interface Stores {
  readonly log: EventLog;
  readonly sessions: SessionStore;
  readonly leases: Leases;
  readonly ledger: Ledger;
  readonly audit: AuditLog;
  readonly calls: CallMemory;
  readonly tickets: TicketStore;
  readonly directory: DirectoryStore;
  readonly rates: RateLimiter;
  readonly seats: TurnSeats;
  /** Where nodes share it: what fixes the id of a session, whichever makes it (CMD-2). */
  readonly creations?: CallMemory;
  /** How nodes work together; undefined where there is one. */
  readonly nodes: { readonly inbox: Inbox; readonly tail: LogTail } | undefined;
  /** Where nodes share sessions: whether this one applies retention now; if so, no other before the time is over, in milliseconds. */
  readonly takeSweepTurn?: (forMs: number) => Promise<boolean>;
  /** Whether each store answers, by name. Never rejects. */
  check(): Promise<Readonly<Record<string, StoreCheck>>>;
  /** The server goes down: a store that is shared has a bounded time left for all of it, and is not waited for longer. */
  hurry(): void;
  close(): Promise<void>;
}

/** For what is still to be written when the server goes down; what Redis did not take by then is in the log. */
const END_MS = 3_000;

/** Rejects where a store can't be had. */
export async function openStores(config: Config, clock: Clock, logger: Logger): Promise<Stores> {
  if (!config.redisUrl) return openEmbedded(config, clock, logger);
  const redis = await RedisConnection.open({ url: config.redisUrl.reveal(), logger });
  try {
    return await openShared(redis, config.leases, logger);
  } catch (error) {
    await redis.close();
    throw error;
  }
}

async function openEmbedded({ dataDir, fsync }: Config, clock: Clock, logger: Logger): Promise<Stores> {
  const now = (): number => clock.now();
  const embedded = await openEmbeddedStore({ dataDir, fsync, logger, now });
  return {
    ...embedded,
    rates: new EmbeddedRates(now),
    seats: new EmbeddedSeats(now),
    nodes: undefined,
    check: async () => ({ store: await checkStore(() => embedded.sessions.ping(), `embedded store in ${dataDir}`) }),
    hurry: () => undefined,
    close: () => embedded.close(),
  };
}

async function openShared(redis: RedisConnection, times: Config['leases'], logger: Logger): Promise<Stores> {
  const store = createRedisStore({ redis, logger, times });
  const { log, sessions, leases, tail, nodeId } = store;
  const inbox = await RedisInbox.open({ redis, nodeId, logger, times }).catch(async (error: unknown) => {
    await store.close();
    throw error;
  });
  // A node that holds nothing looks for holds of the dead all the same.
  const ledger = new RedisLedger({ redis, logger, sweepEveryMs: LEDGER_TIMES.leaseMs / 2 });
  const audit = new RedisAudit(redis, logger);
  const calls = new RedisCalls(redis);
  return {
    log,
    sessions,
    leases,
    nodes: { inbox, tail },
    takeSweepTurn: (forMs) => takeSweepTurn(redis, nodeId, forMs),
    ledger,
    audit,
    calls,
    creations: calls,
    rates: new RedisRates(redis, logger),
    seats: new RedisSeats(redis, logger),
    tickets: new RedisTickets(redis),
    directory: new RedisDirectory(redis, logger),
    check: async () => ({ redis: await checkStore(() => redis.tryWrite(), redis.description) }),
    hurry() {
      store.hurry();
      redis.endWithin(END_MS);
    },
    async close() {
      await ledger.close();
      await audit.close();
      await inbox.close();
      await store.close();
      await redis.close();
    },
  };
}

const checkStore = (ping: () => Promise<void>, detail: string): Promise<StoreCheck> =>
  ping().then(
    () => ({ ok: true, detail }),
    (error: unknown) => ({ ok: false, detail: error instanceof Error ? error.message : String(error) }),
  );
