/** What is known in memory about who writes each session: its lease's token, the head of its log, whether it failed. */
import type { Database, Statement } from './database.js';
import type { DeltaTable } from './delta-table.js';
import type { Group } from './group-commit.js';

export interface SessionWriter {
  readonly sessionId: string;
  /** The session's integer; undefined where there is no such session. */
  session: number | undefined;
  /** The current lease's; undefined while nobody holds it. */
  token: string | undefined;
  /** The seq of the last record that was queued. */
  head: number;
  /** The seq of the last event that was written. */
  lastEventSeq: number;
  /** Something of it was refused or lost: nothing is taken until it is claimed again. */
  hasFailed: boolean;
  /** The group that holds its last append. */
  group: Group | undefined;
}

export class SessionWriters {
  readonly #writers = new Map<string, SessionWriter>();
  readonly #deltas: DeltaTable;
  readonly #sessionOf: Statement<[number]>;
  readonly #isUnfinished: Statement<[number]>;
  readonly #lastEvent: Statement<[number]>;
  #hasLoaded = false;

  constructor(database: Database, deltas: DeltaTable) {
    this.#deltas = deltas;
    this.#sessionOf = database.prepare('SELECT session FROM sessions WHERE id = ?');
    this.#isUnfinished = database.prepare('SELECT unfinished FROM sessions WHERE session = ?');
    // Retention may have taken the very last event.
    this.#lastEvent = database.prepare(
      `SELECT max(coalesce((SELECT max(seq) FROM events WHERE session = ?1), 0),
                  coalesce((SELECT floor_seq FROM sessions WHERE session = ?1), 0))`,
    );
  }

  find(sessionId: string): SessionWriter | undefined {
    return this.#writers.get(sessionId);
  }

  /** The writer of a session, with what the store says about it; kept until it is dropped. */
  load(sessionId: string): SessionWriter {
    const known = this.#writers.get(sessionId);
    if (known !== undefined) return known;
    const writer = this.look(sessionId);
    this.#writers.set(sessionId, writer);
    return writer;
  }

  /** What the store says about a session that nobody holds. */
  look(sessionId: string): SessionWriter {
    const writer: SessionWriter = {
      sessionId,
      session: undefined,
      token: undefined,
      head: 0,
      lastEventSeq: 0,
      hasFailed: false,
      group: undefined,
    };
    this.refresh(writer);
    return writer;
  }

  /** Reads the head again, after a failure or for a new holder. Nothing of the session may be queued. */
  refresh(writer: SessionWriter): void {
    writer.session = this.sessionOf(writer.sessionId);
    writer.hasFailed = false;
    if (writer.session === undefined) return;
    this.loadDeltas();
    writer.lastEventSeq = this.#lastEventOf(writer.session);
    writer.head = Math.max(writer.lastEventSeq, this.#deltas.lastSeq(writer.session));
  }

  sessionOf(sessionId: string): number | undefined {
    return this.#sessionOf.first(sessionId)?.[0];
  }

  /** Forgets a writer: whatever lease there was is over. */
  drop(sessionId: string): void {
    const writer = this.#writers.get(sessionId);
    if (writer === undefined) return;
    writer.token = undefined;
    this.#writers.delete(sessionId);
  }

  /** Finds, once, which deltas of an earlier run are still needed: to finish a turn, or because the head is among them. */
  loadDeltas(): void {
    if (this.#hasLoaded) return;
    this.#hasLoaded = true;
    this.#deltas.load(
      (session, lastSeq) =>
        this.#isUnfinished.first(session)?.[0] === 1 ||
        (this.#isUnfinished.first(session) !== undefined && lastSeq > this.#lastEventOf(session)),
    );
  }

  #lastEventOf(session: number): number {
    return Number(this.#lastEvent.first(session)?.[0] ?? 0);
  }
}
