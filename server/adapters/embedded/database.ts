/** The one SQLite connection: opened for us alone, typed where it is asked, closed without leaving a lock behind. */
import { mkdirSync } from 'node:fs';
import { join } from 'node:path';
import Libsql from 'libsql';
import { MIGRATIONS, SCHEMA_VERSION } from './schema.js';
import { EmbeddedStoreError } from './store-error.js';

export type SqlValue = string | number | null;
type Row = readonly SqlValue[];

export interface Statement<R extends Row = Row> {
  /** Returns how many rows changed. */
  run(...values: SqlValue[]): number;
  all(...values: SqlValue[]): R[];
  first(...values: SqlValue[]): R | undefined;
}

const codeOf = (error: unknown): string => String((error as { code?: unknown } | undefined)?.code ?? '');

/** A row that breaks a rule of its table: only the statement is undone, the transaction goes on. */
export const isConstraint = (error: unknown): boolean => codeOf(error).startsWith('SQLITE_CONSTRAINT');

export class Database {
  readonly #sqlite: Libsql.Database;
  readonly #begin: Statement;
  readonly #commit: Statement;

  private constructor(
    sqlite: Libsql.Database,
    readonly path: string,
  ) {
    this.#sqlite = sqlite;
    this.#begin = this.prepare('BEGIN IMMEDIATE');
    this.#commit = this.prepare('COMMIT');
  }

  /** Opens the file in `dataDir`, makes it where it isn't, and keeps everybody else out of it. */
  static open(dataDir: string, maxBytes: number | undefined): Database {
    const path = join(dataDir, 'midstream.db');
    let sqlite: Libsql.Database | undefined;
    try {
      mkdirSync(dataDir, { recursive: true, mode: 0o700 });
      sqlite = new Libsql(path, { timeout: 0 });
      // Asked for before anything is read: so there is no shared-memory file, and no second reader.
      sqlite.exec('PRAGMA locking_mode = EXCLUSIVE');
      // Takes effect in a new file only.
      sqlite.exec('PRAGMA auto_vacuum = INCREMENTAL');
      sqlite.exec('PRAGMA journal_mode = WAL');
      sqlite.exec('PRAGMA synchronous = FULL');
      const database = new Database(sqlite, path);
      database.#migrate(dataDir);
      if (maxBytes !== undefined)
        sqlite.exec(`PRAGMA max_page_count = ${Math.ceil(maxBytes / database.#number('page_size'))}`);
      return database;
    } catch (error) {
      const refusal = refusalOf(error, dataDir);
      if (sqlite !== undefined && refusal.reason === 'newer_schema') unlock(sqlite);
      sqlite?.close();
      throw refusal;
    }
  }

  prepare<R extends Row = Row>(sql: string): Statement<R> {
    const statement = this.#sqlite.prepare(sql);
    if (statement.reader) statement.raw();
    // An array as the only argument is passed on as it is; several would be copied once more.
    return {
      run: (...values) => statement.run(values).changes,
      all: (...values) => statement.all(values) as R[],
      first: (...values) => statement.all(values)[0] as R | undefined,
    };
  }

  exec(sql: string): void {
    this.#sqlite.exec(sql);
  }

  /** Everything that `write` does, or nothing. */
  transaction(write: () => void): void {
    this.#begin.run();
    try {
      write();
      this.#commit.run();
    } catch (error) {
      // A full disk has ended the transaction by itself.
      if (this.#sqlite.inTransaction) this.#sqlite.exec('ROLLBACK');
      throw error;
    }
  }

  /** Inside a transaction: everything that `write` does, or nothing of it, the rest going on. */
  savepoint<T>(write: () => T): T {
    this.#sqlite.exec('SAVEPOINT part');
    try {
      const result = write();
      this.#sqlite.exec('RELEASE part');
      return result;
    } catch (error) {
      if (this.#sqlite.inTransaction) this.#sqlite.exec('ROLLBACK TO part; RELEASE part');
      throw error;
    }
  }

  /** Pages that hold nothing any more. */
  freePages(): number {
    return this.#number('freelist_count');
  }

  /**
   * Until this is called, SQLite syncs each commit by itself; from here on that is left to `WriteAheadLog`. What a
   * killed process left in the log was perhaps never synced: now it is.
   */
  leaveSyncing(): void {
    this.#sqlite.exec('PRAGMA wal_checkpoint(TRUNCATE)');
    this.#sqlite.exec('PRAGMA synchronous = NORMAL');
    // A net below the checkpoints that we make.
    this.#sqlite.exec('PRAGMA wal_autocheckpoint = 16384');
  }

  /** SQLite syncs each commit by itself again. */
  syncCommits(): void {
    this.#sqlite.exec('PRAGMA synchronous = FULL');
  }

  close(): void {
    unlock(this.#sqlite);
    this.#sqlite.close();
  }

  #number(pragma: string): number {
    return Number(this.prepare(`PRAGMA ${pragma}`).first()?.[0]);
  }

  #migrate(dataDir: string): void {
    const version = this.#number('user_version');
    if (version > SCHEMA_VERSION) {
      throw new EmbeddedStoreError(
        'newer_schema',
        dataDir,
        `The data in ${dataDir} was written by a newer version of the server (format ${version}; this one knows up to ${SCHEMA_VERSION}). Start that version, or name another directory.`,
      );
    }
    this.transaction(() => {
      for (const step of MIGRATIONS.slice(version)) this.#sqlite.exec(step);
      this.#sqlite.exec(`PRAGMA user_version = ${SCHEMA_VERSION}`);
    });
  }
}

/**
 * Statements outlive `close()` until they are collected, and their connection's lock with them. So the lock is given up
 * first, which SQLite does only outside of WAL mode, at the next read.
 */
function unlock(sqlite: Libsql.Database): void {
  sqlite.exec('PRAGMA synchronous = FULL');
  sqlite.exec('PRAGMA journal_mode = DELETE');
  sqlite.exec('PRAGMA locking_mode = NORMAL');
  sqlite.prepare('SELECT count(*) FROM sqlite_schema').raw().all();
}

function refusalOf(cause: unknown, dataDir: string): EmbeddedStoreError {
  if (cause instanceof EmbeddedStoreError) return cause;
  if (codeOf(cause).startsWith('SQLITE_BUSY')) {
    return new EmbeddedStoreError(
      'in_use',
      dataDir,
      `Another server uses the data directory ${dataDir}. Stop it, or give this one a directory of its own.`,
      { cause },
    );
  }
  const reason = cause instanceof Error ? cause.message : String(cause);
  return new EmbeddedStoreError('unusable', dataDir, `The data directory ${dataDir} can't be used: ${reason}`, {
    cause,
  });
}
