/** What a contract suite needs of an adapter: a fresh store, and the same store opened again. */
import type { AuditLog } from '../../server/ports/audit-log.js';
import type { CallMemory } from '../../server/ports/call-memory.js';
import type { EventLog } from '../../server/ports/event-log.js';
import type { Leases } from '../../server/ports/lease.js';
import type { SessionStore } from '../../server/ports/session-store.js';

export interface Store {
  readonly log: EventLog;
  readonly sessions: SessionStore;
  readonly leases: Leases;
  readonly audit: AuditLog;
  readonly calls: CallMemory;
  close(): Promise<void>;
}

export interface StoreHarness {
  /** Opens a store that holds nothing; `now` is what it takes for the time. */
  openFresh(now?: () => number): Promise<Store>;
  /** Opens the store that `openFresh` opened last once more, after it was closed. */
  reopen(now?: () => number): Promise<Store>;
  /** Another node on the store that is open; left out where only one may use it. */
  openSecondNode?(): Promise<Store>;
  /** Ends what the test has opened. */
  dispose(): Promise<void>;
}
