/** Where state is kept, port by port: the embedded store, and what nodes share in Redis where there is one. */
import { EmbeddedRates, EmbeddedSeats, openEmbeddedStore } from '../adapters/embedded/index.js';
import {
  RedisAudit,
  RedisCalls,
  RedisConnection,
  RedisDirectory,
  RedisLedger,
  RedisRates,
  RedisSeats,
  RedisTickets,
} from '../adapters/redis/index.js';
import type { Config } from '../config/index.js';
import type { AuditLog } from '../ports/audit-log.js';
import type { CallMemory } from '../ports/call-memory.js';
import type { Clock } from '../ports/clock.js';
import type { DirectoryStore } from '../ports/directory-store.js';
import type { EventLog } from '../ports/event-log.js';
import type { Leases } from '../ports/lease.js';
import { type Ledger, LEDGER_TIMES } from '../ports/ledger.js';
import type { Logger } from '../ports/logger.js';
import type { RateLimiter } from '../ports/rate-limiter.js';
import type { SessionStore } from '../ports/session-store.js';
import type { TicketStore } from '../ports/ticket-store.js';
import type { TurnSeats } from '../ports/turn-seats.js';

export interface StoreCheck {
  readonly ok: boolean;
  readonly detail: string;
}

/** What all nodes must see alike. */
interface SharedStores {
  readonly ledger: Ledger;
  readonly audit: AuditLog;
  readonly calls: CallMemory;
  readonly tickets: TicketStore;
  readonly directory: DirectoryStore;
  readonly rates: RateLimiter;
  readonly seats: TurnSeats;
}

export interface Stores extends SharedStores {
  readonly log: EventLog;
  readonly sessions: SessionStore;
  readonly leases: Leases;
  /** Where nodes share it: what fixes the id of a session, whichever makes it (CMD-2). */
  readonly creations?: CallMemory;
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
  const { dataDir, fsync, redisUrl } = config;
  const redis = redisUrl && (await RedisConnection.open({ url: redisUrl.reveal(), logger }));
  const now = (): number => clock.now();
  const embedded = await openEmbeddedStore({ dataDir, fsync, logger, now }).catch(async (error: unknown) => {
    await redis?.close();
    throw error;
  });
  const inRedis = redis && shareInRedis(redis, logger);
  const shared = inRedis ?? { rates: new EmbeddedRates(now), seats: new EmbeddedSeats(now) };
  return {
    ...embedded,
    ...shared,
    check: async () => ({
      store: await checkStore(() => embedded.sessions.ping(), `embedded store in ${dataDir}`),
      ...(redis && { redis: await checkStore(() => redis.ping(), redis.description) }),
    }),
    hurry: () => redis?.endWithin(END_MS),
    async close() {
      await inRedis?.ledger.close();
      await inRedis?.audit.close();
      await embedded.close();
      await redis?.close();
    },
  };
}

function shareInRedis(redis: RedisConnection, logger: Logger) {
  const calls = new RedisCalls(redis);
  return {
    // A node that holds nothing looks for holds of the dead all the same.
    ledger: new RedisLedger({ redis, logger, sweepEveryMs: LEDGER_TIMES.leaseMs / 2 }),
    audit: new RedisAudit(redis, logger),
    calls,
    creations: calls,
    rates: new RedisRates(redis, logger),
    seats: new RedisSeats(redis, logger),
    tickets: new RedisTickets(redis),
    directory: new RedisDirectory(redis, logger),
  };
}

const checkStore = (ping: () => Promise<void>, detail: string): Promise<StoreCheck> =>
  ping().then(
    () => ({ ok: true, detail }),
    (error: unknown) => ({ ok: false, detail: error instanceof Error ? error.message : String(error) }),
  );
