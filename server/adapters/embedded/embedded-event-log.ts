/** The event log on SQLite: checks each append in memory, queues it for the group commit, and reads events back. */
import type { DeltaRecord, LogRecord } from '../../core/log-record.js';
import type { StoredEvent } from '../../ports/event-log.js';
import {
  type CommandAnswer,
  type EventLog,
  type LogAppend,
  type LogQuery,
  LogUnavailable,
} from '../../ports/event-log.js';
import { type AnswerTable, NO_SESSION } from './answer-table.js';
import type { Database, Statement } from './database.js';
import type { DeltaTable } from './delta-table.js';
import type { GroupCommit, GroupPart } from './group-commit.js';
import type { BegunRun } from './run-record.js';
import type { SessionWriter, SessionWriters } from './session-writers.js';

type EventRow = [seq: number, type: string, turnId: string | null, json: string];

export interface EmbeddedEventLogDeps {
  readonly database: Database;
  readonly commits: GroupCommit;
  readonly writers: SessionWriters;
  readonly deltas: DeltaTable;
  readonly answers: AnswerTable;
  readonly run: BegunRun;
  readonly now: () => number;
}

export class EmbeddedEventLog implements EventLog {
  readonly epoch: string;
  readonly isEpochNew: boolean;
  readonly #deps: EmbeddedEventLogDeps;
  readonly #insertEvent: Statement;
  readonly #updateRow: Statement;
  readonly #deleteMembers: Statement;
  readonly #insertMembers: Statement;
  readonly #ascending: Statement<EventRow>;
  readonly #descending: Statement<EventRow>;
  readonly #ascendingOf: Statement<EventRow>;
  readonly #descendingOf: Statement<EventRow>;
  readonly #floor: Statement<[number]>;

  constructor(deps: EmbeddedEventLogDeps) {
    this.#deps = deps;
    this.epoch = deps.run.epoch;
    this.isEpochNew = deps.run.isEpochNew;
    const { database } = deps;
    this.#insertEvent = database.prepare(
      'INSERT INTO events (session, seq, type, turn_id, at, json) VALUES (?, ?, ?, ?, ?, ?)',
    );
    this.#updateRow = database.prepare(
      'UPDATE sessions SET status = ?, unfinished = ?, updated_at = ?, json = ? WHERE session = ?',
    );
    this.#deleteMembers = database.prepare('DELETE FROM session_members WHERE session = ?');
    this.#insertMembers = database.prepare(
      `INSERT INTO session_members SELECT org_id, value, created_at, session FROM sessions, json_each(?2) WHERE session = ?1`,
    );
    const select = (bound: string, types: string, order: string): Statement<EventRow> =>
      database.prepare(
        `SELECT seq, type, turn_id, json FROM events WHERE session = ?1 AND seq ${bound} ?2 ${types} ORDER BY seq ${order} LIMIT ?3`,
      );
    const listed = 'AND type IN (SELECT value FROM json_each(?4))';
    this.#ascending = select('>', '', 'ASC');
    this.#descending = select('<', '', 'DESC');
    this.#ascendingOf = select('>', listed, 'ASC');
    this.#descendingOf = select('<', listed, 'DESC');
    this.#floor = database.prepare('SELECT floor_seq FROM sessions WHERE id = ?');
  }

  append(append: LogAppend): Promise<void> {
    const { commits, writers } = this.#deps;
    if (commits.refusal) return Promise.reject(commits.refusal);
    const writer = writers.find(append.sessionId);
    if (writer === undefined || writer.token !== append.token) {
      const message = `Session ${append.sessionId} is written by another holder now.`;
      return Promise.reject(new LogUnavailable('lease_lost', message));
    }
    const defect = defectOf(writer, append);
    if (defect !== undefined) {
      writer.hasFailed = true;
      return Promise.reject(new LogUnavailable('store_failed', defect));
    }
    const { records } = append;
    if (records.length > 0) writer.head = (records[records.length - 1] as LogRecord).seq;
    writer.group = commits.join(new QueuedAppend(this, writer, append), isDeltasOnly(append) ? 'deltas' : 'durable');
    return writer.group.promise;
  }

  /** Called within the group's transaction; the append was checked when it was queued. */
  write(writer: SessionWriter, append: LogAppend): number {
    const { deltas, answers, now } = this.#deps;
    const session = writer.session as number;
    let bytes = 0;
    for (const record of append.records) {
      if (record.kind === 'delta') continue;
      this.#insertEvent.run(session, record.seq, record.type, record.turnId ?? null, now(), record.json);
      writer.lastEventSeq = record.seq;
      bytes += record.json.length;
    }
    deltas.add(session, append.records);
    for (const answer of append.answers ?? []) {
      answers.put(answer.sessionId === '' ? NO_SESSION : session, answer);
    }
    const { row } = append;
    if (row !== undefined) {
      this.#updateRow.run(row.status, row.unfinished ? 1 : 0, row.updatedAt, row.json, session);
      bytes += row.json.length;
      if (row.memberIds !== undefined) this.#setMembers(session, row.memberIds);
    }
    return bytes;
  }

  #setMembers(session: number, memberIds: readonly string[]): void {
    this.#deleteMembers.run(session);
    this.#insertMembers.run(session, JSON.stringify(memberIds));
  }

  async read(sessionId: string, query: LogQuery): Promise<readonly StoredEvent[]> {
    this.#refuseWhereClosed();
    const session = this.#sessionOf(sessionId);
    if (session === undefined) return [];
    const { afterSeq, types } = query;
    const limit = Math.min(query.limit, Number.MAX_SAFE_INTEGER);
    const isDescending = query.order === 'desc';
    const bound = isDescending && afterSeq === 0 ? Number.MAX_SAFE_INTEGER : afterSeq;
    const rows = types
      ? (isDescending ? this.#descendingOf : this.#ascendingOf).all(session, bound, limit, JSON.stringify(types))
      : (isDescending ? this.#descending : this.#ascending).all(session, bound, limit);
    return rows.map(([seq, type, turnId, json]) => ({ seq, type, turnId: turnId ?? undefined, json }));
  }

  async floorOf(sessionId: string): Promise<number> {
    this.#refuseWhereClosed();
    return this.#floor.first(sessionId)?.[0] ?? 0;
  }

  async readDeltas(sessionId: string, afterSeq: number): Promise<readonly DeltaRecord[]> {
    this.#refuseWhereClosed();
    const session = this.#sessionOf(sessionId);
    if (session === undefined) return [];
    this.#deps.writers.loadDeltas();
    return this.#deps.deltas.read(session, afterSeq);
  }

  trimDeltas(sessionId: string, upToSeq: number): void {
    const { commits, writers, deltas } = this.#deps;
    if (commits.refusal) return;
    // Released or not: the hint may come long after the turn.
    const writer = writers.find(sessionId);
    const { session, lastEventSeq, hasFailed } = writer ?? writers.look(sessionId);
    // Deltas beyond the last event are the only witness of the head: they stay, whatever the hint says.
    if (session !== undefined && !hasFailed) deltas.trim(session, Math.min(upToSeq, lastEventSeq));
  }

  async findAnswer(
    key: Pick<CommandAnswer, 'sessionId' | 'userId' | 'orgId' | 'commandId'>,
  ): Promise<CommandAnswer | undefined> {
    this.#refuseWhereClosed();
    const session = key.sessionId === '' ? NO_SESSION : this.#sessionOf(key.sessionId);
    return session === undefined ? undefined : this.#deps.answers.find(session, key);
  }

  #sessionOf(sessionId: string): number | undefined {
    const { writers } = this.#deps;
    return writers.find(sessionId)?.session ?? writers.sessionOf(sessionId);
  }

  #refuseWhereClosed(): void {
    const { refusal } = this.#deps.commits;
    if (refusal?.reason === 'closed') throw refusal;
  }
}

class QueuedAppend implements GroupPart {
  constructor(
    readonly log: EmbeddedEventLog,
    readonly writer: SessionWriter,
    readonly append: LogAppend,
  ) {}

  write(): number {
    return this.log.write(this.writer, this.append);
  }

  abandon(): void {
    this.writer.hasFailed = true;
  }
}

function isDeltasOnly(append: LogAppend): boolean {
  if (append.row !== undefined || (append.answers !== undefined && append.answers.length > 0)) return false;
  for (const record of append.records) if (record.kind === 'event') return false;
  return true;
}

/** Why an append can't be taken, as a sentence; undefined where it can. */
function defectOf(writer: SessionWriter, append: LogAppend): string | undefined {
  if (writer.hasFailed) return `An earlier append to session ${append.sessionId} failed; it must be claimed again.`;
  if (writer.session === undefined) return `Session ${append.sessionId} is not in the store.`;
  let next = writer.head + 1;
  for (const record of append.records) {
    const first = record.kind === 'delta' ? record.firstSeq : record.seq;
    if (first !== next) return `Seq ${first} was appended to session ${append.sessionId} where ${next} is due.`;
    next = record.seq + 1;
  }
  return undefined;
}
