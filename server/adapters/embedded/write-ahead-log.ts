/** What reaches the disk, and when: syncs the write-ahead log, and folds it into the database when it is long. */
import { closeSync, fdatasync, fsyncSync, openSync } from 'node:fs';
import { dirname } from 'node:path';
import type { Logger } from '../../ports/logger.js';
import type { Database } from './database.js';

/** Calls `done` when all that was written to the file survives a power cut. */
export type SyncFile = (fd: number, done: (error: Error | null) => void) => void;

/** About 4 MB: so the copying back stays a matter of milliseconds. */
const LONG_PAGES = 1_024;
const PAGE_BYTES = 4_096;

/**
 * SQLite would sync on the thread that asks, which is the event loop. So it is asked not to, and this class does it
 * on the thread pool. The order is SQLite's own: the log is synced before its pages are copied into the database, and
 * the database before the log is written from its beginning again. Nothing may be written while `fold` runs.
 */
export class WriteAheadLog {
  readonly #database: Database;
  readonly #sync: SyncFile;
  readonly #logger: Logger | undefined;
  readonly #logFd: number;
  readonly #databaseFd: number;
  #pages = 0;

  constructor(database: Database, options: { sync?: SyncFile | undefined; logger?: Logger | undefined }) {
    this.#database = database;
    this.#sync = options.sync ?? fdatasync;
    this.#logger = options.logger;
    this.#logFd = openSync(`${database.path}-wal`, 'r+');
    // Kept open until the connection is closed: closing any descriptor of the file drops SQLite's lock on it.
    this.#databaseFd = openSync(database.path, 'r+');
    const directoryFd = openSync(dirname(database.path), 'r');
    fsyncSync(directoryFd);
    closeSync(directoryFd);
  }

  /** Notes a commit; the pages it took are estimated, for SQLite doesn't say. */
  grew(rows: number, bytes: number): void {
    this.#pages += 2 + rows + Math.ceil(bytes / PAGE_BYTES);
  }

  get isLong(): boolean {
    return this.#pages >= LONG_PAGES;
  }

  /** Makes every commit so far durable. */
  sync(done: (error: Error | null) => void): void {
    this.#sync(this.#logFd, done);
  }

  fold(done: (error: Error | null) => void): void {
    this.#pages = 0;
    this.sync((error) => {
      if (error) return done(error);
      try {
        this.#database.exec('PRAGMA synchronous = OFF');
        this.#database.exec('PRAGMA wal_checkpoint(PASSIVE)');
      } catch (cause) {
        // A full disk, mostly. The log keeps everything, and grows until this works.
        this.#logger?.warn('The write-ahead log could not be folded into the database.', { reason: String(cause) });
      } finally {
        this.#database.exec('PRAGMA synchronous = NORMAL');
      }
      this.#sync(this.#databaseFd, done);
    });
  }

  /** Call it after the connection was closed, in the same turn. */
  close(): void {
    closeSync(this.#logFd);
    closeSync(this.#databaseFd);
  }
}
