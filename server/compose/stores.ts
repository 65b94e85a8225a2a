/** Where state is kept, port by port: the embedded store on one machine. */
import { EmbeddedRates, EmbeddedSeats, openEmbeddedStore } from '../adapters/embedded/index.js';
import type { Config } from '../config/index.js';
import type { AuditLog } from '../ports/audit-log.js';
import type { CallMemory } from '../ports/call-memory.js';
import type { Clock } from '../ports/clock.js';
import type { DirectoryStore } from '../ports/directory-store.js';
import type { EventLog } from '../ports/event-log.js';
import type { Leases } from '../ports/lease.js';
import type { Ledger } from '../ports/ledger.js';
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
  /** Whether each store answers, by name. Never rejects. */
  check(): Promise<Readonly<Record<string, StoreCheck>>>;
  close(): Promise<void>;
}

/** Rejects where a store can't be had. */
export async function openStores(config: Config, clock: Clock, logger: Logger): Promise<Stores> {
  const { dataDir, fsync } = config;
  const embedded = await openEmbeddedStore({ dataDir, fsync, logger, now: () => clock.now() });
  return {
    ...embedded,
    rates: new EmbeddedRates(() => clock.now()),
    seats: new EmbeddedSeats(() => clock.now()),
    check: async () => ({ store: await checkStore(() => embedded.sessions.ping(), `embedded store in ${dataDir}`) }),
    close: () => embedded.close(),
  };
}

const checkStore = (ping: () => Promise<void>, detail: string): Promise<StoreCheck> =>
  ping().then(
    () => ({ ok: true, detail }),
    (error: unknown) => ({ ok: false, detail: String(error) }),
  );
