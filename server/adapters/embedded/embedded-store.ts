/** Puts the embedded store together: one directory, one connection, every port of it. */
import { randomUUID } from 'node:crypto';
import type { AuditLog } from '../../ports/audit-log.js';
import type { CallMemory } from '../../ports/call-memory.js';
import type { DirectoryStore } from '../../ports/directory-store.js';
import type { EventLog } from '../../ports/event-log.js';
import type { Leases } from '../../ports/lease.js';
import { LEDGER_TIMES, type Ledger } from '../../ports/ledger.js';
import type { Logger } from '../../ports/logger.js';
import type { SessionStore } from '../../ports/session-store.js';
import type { TicketStore } from '../../ports/ticket-store.js';
import { AnswerTable } from './answer-table.js';
import { AuditTable } from './audit-table.js';
import { readBootIdentity } from './boot-identity.js';
import { CallTable } from './call-table.js';
import { Database } from './database.js';
import { DeltaTable } from './delta-table.js';
import { DirectoryTable } from './directory-table.js';
import { EmbeddedEventLog } from './embedded-event-log.js';
import { EmbeddedLeases } from './embedded-leases.js';
import { EmbeddedLedger } from './embedded-ledger.js';
import { EmbeddedSessionStore } from './embedded-session-store.js';
import { GroupCommit } from './group-commit.js';
import { LedgerTable } from './ledger-table.js';
import { MemoryTickets } from './memory-tickets.js';
import { Retention } from './retention.js';
import { type BegunRun, beginRun, markRun } from './run-record.js';
import { SessionWriters } from './session-writers.js';
import { EmbeddedStoreError } from './store-error.js';
import { type SyncFile, WriteAheadLog } from './write-ahead-log.js';

export interface EmbeddedStoreOptions {
  /** Made where it isn't there; used by one server at a time. */
  readonly dataDir: string;
  /**
   * `group`: what is acknowledged survives a power cut, deltas aside. `off`: it survives the death of the process only;
   * a power cut may take the last seconds, never the database.
   */
  readonly fsync: 'group' | 'off';
  /** How long after a flush deltas wait for company, in milliseconds; 0.5 by default. */
  readonly flushIntervalMs?: number;
  /** Beyond this size of the database, writes are refused; unlimited by default. */
  readonly maxBytes?: number;
  readonly logger?: Logger;
  /** Milliseconds since 1970. */
  readonly now?: () => number;
  /** Names this boot of the machine; the machine's own by default. */
  readonly bootIdentity?: string;
  /** `fdatasync` by default. */
  readonly syncFile?: SyncFile;
  /** How long a reservation waits where only holds are in the way, in milliseconds. */
  readonly ledgerWaitMs?: number;
}

export interface EmbeddedStore {
  readonly log: EventLog;
  readonly sessions: SessionStore;
  readonly leases: Leases;
  readonly ledger: Ledger;
  readonly audit: AuditLog;
  readonly calls: CallMemory;
  /** In memory: they live for seconds, and a server that starts knows none. */
  readonly tickets: TicketStore;
  readonly directory: DirectoryStore;
  /** Flushes what is pending, marks the directory as cleanly closed and gives it free. Calling it again is harmless. */
  close(): Promise<void>;
}

const DEFAULT_FLUSH_INTERVAL_MS = 0.5;

/** Rejects with `EmbeddedStoreError`. */
export async function openEmbeddedStore(options: EmbeddedStoreOptions): Promise<EmbeddedStore> {
  const { fsync, flushIntervalMs = DEFAULT_FLUSH_INTERVAL_MS, logger, now = Date.now } = options;
  const { database, wal, run } = openFiles(options);
  const deltas = new DeltaTable(database);
  const answers = new AnswerTable(database, now);
  const tidy = (): void => {
    answers.prune();
    calls.prune();
    deltas.deleteTrimmed();
  };
  const onBroken = (): void => markRun(database, 'unproven');
  const commits = new GroupCommit({ database, deltas, wal, fsync, flushIntervalMs, logger, tidy, onBroken });
  const audit = new AuditTable(database, commits);
  const calls = new CallTable(database, commits, now);
  const writers = new SessionWriters(database, deltas);
  const retention = new Retention({ database, commits, writers, deltas });

  const waitMs = options.ledgerWaitMs ?? LEDGER_TIMES.waitMs;
  const ledger = new EmbeddedLedger({
    table: new LedgerTable(database),
    commits,
    logger,
    now,
    newId: randomUUID,
    waitMs,
  });

  const finish = async (): Promise<void> => {
    audit.close();
    ledger.close();
    const closed = commits.close();
    // Whoever still waits for a hold is refused, now that nothing is taken any more.
    ledger.close();
    await closed;
    try {
      if (!commits.isBroken) {
        database.syncCommits();
        database.transaction(() => {
          deltas.deleteTrimmed(1);
          markRun(database, 'closed');
        });
      }
    } finally {
      try {
        database.close();
      } finally {
        wal.close();
      }
    }
  };
  let closing: Promise<void> | undefined;
  const close = (): Promise<void> => {
    closing ??= finish();
    return closing;
  };
  return {
    log: new EmbeddedEventLog({ database, commits, writers, deltas, answers, run, now }),
    sessions: new EmbeddedSessionStore({ database, commits, answers, retention, close }),
    leases: new EmbeddedLeases(commits, writers),
    ledger,
    audit,
    calls,
    tickets: new MemoryTickets(now),
    directory: new DirectoryTable(database, commits, now),
    close,
  };
}

function openFiles(options: EmbeddedStoreOptions): { database: Database; wal: WriteAheadLog; run: BegunRun } {
  const database = Database.open(options.dataDir, options.maxBytes);
  try {
    const run = beginRun(database, options.bootIdentity ?? readBootIdentity());
    database.leaveSyncing();
    const wal = new WriteAheadLog(database, { sync: options.syncFile, logger: options.logger });
    return { database, wal, run };
  } catch (cause) {
    database.close();
    const reason = cause instanceof Error ? cause.message : String(cause);
    throw new EmbeddedStoreError(
      'unusable',
      options.dataDir,
      `The data directory ${options.dataDir} can't be used: ${reason}`,
      { cause },
    );
  }
}
