/** What is deleted, and in slices small enough that nobody waits for them. */
import type { Database, Statement } from './database.js';
import type { DeltaTable } from './delta-table.js';
import type { GroupCommit } from './group-commit.js';
import type { SessionWriters } from './session-writers.js';

const SESSIONS_PER_SLICE = 20;
const CHECKPOINTS_PER_SLICE = 200;
const PAGES_PER_SLICE = 256;
/** About 4 MB: less than this is soon used again, and not given back to the file system. */
const FREE_PAGES_KEPT = 1_024;

export interface RetentionDeps {
  readonly database: Database;
  readonly commits: GroupCommit;
  readonly writers: SessionWriters;
  readonly deltas: DeltaTable;
}

export class Retention {
  readonly #deps: RetentionDeps;
  readonly #removals: readonly Statement[];
  readonly #idle: Statement<[session: number, id: string, updatedAt: number]>;
  readonly #covered: Statement<[session: number, seq: number]>;
  readonly #firstKept: Statement<[number]>;
  readonly #lastTaken: Statement<[number | null]>;
  readonly #deleteEvents: Statement;
  readonly #setFloor: Statement;

  constructor(deps: RetentionDeps) {
    this.#deps = deps;
    const { database } = deps;
    this.#removals = ['events', 'answers', 'checkpoints', 'session_members', 'sessions'].map((table) =>
      database.prepare(`DELETE FROM ${table} WHERE session = ?`),
    );
    this.#idle = database.prepare(
      `SELECT session, id, updated_at FROM sessions
       WHERE unfinished = 0 AND status = 'idle' AND updated_at < ? AND (updated_at, session) > (?, ?)
       ORDER BY updated_at, session LIMIT ?`,
    );
    this.#covered = database.prepare('SELECT session, seq FROM checkpoints WHERE session > ? ORDER BY session LIMIT ?');
    this.#firstKept = database.prepare('SELECT seq FROM events WHERE session = ? AND at >= ? ORDER BY seq LIMIT 1');
    this.#lastTaken = database.prepare('SELECT max(seq) FROM events WHERE session = ? AND seq <= ?');
    this.#setFloor = database.prepare('UPDATE sessions SET floor_seq = ? WHERE session = ?');
    this.#deleteEvents = database.prepare('DELETE FROM events WHERE session = ? AND seq <= ?');
  }

  async remove(sessionId: string): Promise<void> {
    const { commits, writers, deltas } = this.#deps;
    // At once: an append after this call finds its lease gone; what was queued before is removed with the rest.
    writers.drop(sessionId);
    const session = await commits.run(() => {
      const found = writers.sessionOf(sessionId);
      if (found !== undefined) this.#delete(found);
      return found;
    });
    if (session !== undefined) deltas.forget(session);
  }

  async sweep(cut: { sessionsBefore?: number; eventsBefore?: number }): Promise<readonly string[]> {
    const removed = cut.sessionsBefore === undefined ? [] : await this.#sweepSessions(cut.sessionsBefore);
    if (cut.eventsBefore !== undefined) await this.#sweepEvents(cut.eventsBefore);
    await this.#shrink();
    return removed;
  }

  async #sweepSessions(before: number): Promise<string[]> {
    const { commits, writers, deltas } = this.#deps;
    const removed: string[] = [];
    const gone: number[] = [];
    let after: [updatedAt: number, session: number] | undefined = [Number.MIN_SAFE_INTEGER, 0];
    while (after !== undefined) {
      const [updatedAt, session]: [number, number] = after;
      after = await commits.run(() => {
        const slice = this.#idle.all(before, updatedAt, session, SESSIONS_PER_SLICE);
        for (const [idle, id] of slice) {
          // Something of it waits in this very group: it is idle no more.
          if (writers.find(id)?.group?.isSettled === false) continue;
          this.#delete(idle);
          writers.drop(id);
          removed.push(id);
          gone.push(idle);
        }
        const last = slice.length === SESSIONS_PER_SLICE ? slice.at(-1) : undefined;
        return last && [last[2], last[0]];
      });
      for (const swept of gone.splice(0)) deltas.forget(swept);
    }
    return removed;
  }

  async #sweepEvents(before: number): Promise<void> {
    let after: number | undefined = 0;
    while (after !== undefined) {
      const start: number = after;
      after = await this.#deps.commits.run(() => {
        const slice = this.#covered.all(start, CHECKPOINTS_PER_SLICE);
        for (const [session, coveredSeq] of slice) {
          const firstKept = this.#firstKept.first(session, before)?.[0] ?? Number.MAX_SAFE_INTEGER;
          const floorSeq = this.#lastTaken.first(session, Math.min(coveredSeq, firstKept - 1))?.[0] ?? 0;
          if (floorSeq === 0) continue;
          this.#deleteEvents.run(session, floorSeq);
          this.#setFloor.run(floorSeq, session);
        }
        return slice.length === CHECKPOINTS_PER_SLICE ? slice.at(-1)?.[0] : undefined;
      }, 'relaxed');
    }
  }

  #delete(session: number): void {
    for (const removal of this.#removals) removal.run(session);
  }

  /** Gives pages that hold nothing back to the file system. */
  async #shrink(): Promise<void> {
    const { database, commits } = this.#deps;
    while (database.freePages() > FREE_PAGES_KEPT) {
      await commits.run(() => database.exec(`PRAGMA incremental_vacuum(${PAGES_PER_SLICE})`), 'relaxed');
    }
  }
}
