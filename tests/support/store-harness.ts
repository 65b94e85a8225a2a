/** What a contract suite needs of an adapter: a fresh store, and the same store opened again. */
import type { AuditLog } from '../../server/ports/audit-log.js';
import type { CallMemory } from '../../server/ports/call-memory.js';
import type { EventLog } from '../../server/ports/event-log.js';
import type { Leases } from '../../server/ports/lease.js';
import type { SessionStore } from '../../server/ports/session-store.js';

/** The part that keeps sessions. */
export interface LogStore {
  readonly log: EventLog;
  readonly sessions: SessionStore;
  readonly leases: Leases;
  close(): Promise<void>;
}

export interface Store extends LogStore {
  readonly audit: AuditLog;
  readonly calls: CallMemory;
}

export interface StoreHarness<S extends LogStore = Store> {
  /** Opens a store that holds nothing; `now` is what it takes for the time. */
  openFresh(now?: () => number): Promise<S>;
  /** Opens the store that `openFresh` opened last once more, after it was closed. */
  reopen(now?: () => number): Promise<S>;
  /** Another node on the store that is open; left out where only one may use it. */
  openSecondNode?(): Promise<S>;
  /** Ends what the test has opened. */
  dispose(): Promise<void>;
}
