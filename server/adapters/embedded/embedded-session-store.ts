/** Session rows, checkpoints and feedback on SQLite. */
import type { Feedback } from '../../../protocol/index.js';
import type { CommandAnswer } from '../../ports/event-log.js';
import type { Checkpoint, SessionPage, SessionRow, SessionStore } from '../../ports/session-store.js';
import { type AnswerTable, NO_SESSION } from './answer-table.js';
import type { Database, SqlValue, Statement } from './database.js';
import type { GroupCommit } from './group-commit.js';
import type { Retention } from './retention.js';

type StoredRow = [
  session: number,
  id: string,
  userId: string,
  orgId: string,
  status: 'idle' | 'running',
  unfinished: number,
  createdAt: number,
  updatedAt: number,
  json: string,
];

const COLUMNS = 'session, id, user_id, org_id, status, unfinished, created_at, updated_at, json';

export interface EmbeddedSessionStoreDeps {
  readonly database: Database;
  readonly commits: GroupCommit;
  readonly answers: AnswerTable;
  readonly retention: Retention;
  readonly close: () => Promise<void>;
}

export class EmbeddedSessionStore implements SessionStore {
  readonly #deps: EmbeddedSessionStoreDeps;
  readonly #insert: Statement;
  readonly #insertMember: Statement;
  readonly #select: Statement<StoredRow>;
  readonly #page: Statement<StoredRow>;
  readonly #unfinished: Statement<[string]>;
  readonly #putCheckpoint: Statement;
  readonly #getCheckpoint: Statement<[number, string]>;
  readonly #putFeedback: Statement;

  constructor(deps: EmbeddedSessionStoreDeps) {
    this.#deps = deps;
    const { database } = deps;
    this.#insert = database.prepare(
      `INSERT INTO sessions (id, user_id, org_id, status, unfinished, created_at, updated_at, json)
       VALUES (?, ?, ?, ?, ?, ?, ?, ?)`,
    );
    this.#select = database.prepare(`SELECT ${COLUMNS} FROM sessions WHERE id = ?`);
    this.#page = database.prepare(
      `SELECT ${COLUMNS} FROM sessions WHERE session IN (SELECT session FROM session_members
         WHERE org_id = ? AND user_id = ? AND (created_at, session) < (?, ?)
         ORDER BY created_at DESC, session DESC LIMIT ?)
       ORDER BY created_at DESC, session DESC`,
    );
    this.#insertMember = database.prepare(
      'INSERT INTO session_members SELECT org_id, user_id, created_at, session FROM sessions WHERE id = ?',
    );
    this.#unfinished = database.prepare('SELECT id FROM sessions WHERE unfinished = 1 ORDER BY session');
    this.#putCheckpoint = database.prepare(
      `INSERT INTO checkpoints (session, seq, json) SELECT session, ?2, ?3 FROM sessions WHERE id = ?1
       ON CONFLICT (session) DO UPDATE SET seq = excluded.seq, json = excluded.json WHERE excluded.seq >= checkpoints.seq`,
    );
    this.#getCheckpoint = database.prepare(
      'SELECT seq, checkpoints.json FROM checkpoints JOIN sessions USING (session) WHERE id = ?',
    );
    this.#putFeedback = database.prepare(
      'INSERT INTO feedback (org_id, user_id, conversation_id, turn_id, rating, comment, at) VALUES (?, ?, ?, ?, ?, ?, ?)',
    );
  }

  async create(row: SessionRow, answer?: CommandAnswer): Promise<void> {
    const { commits, answers } = this.#deps;
    const values: SqlValue[] = [row.id, row.userId, row.orgId, row.status, row.unfinished ? 1 : 0];
    const isNew = await commits.run(() => {
      // An answer that still counts says that the session was made already: nothing is written.
      if (answer !== undefined && !answers.put(NO_SESSION, answer)) return false;
      this.#insert.run(...values, row.createdAt, row.updatedAt, row.json);
      this.#insertMember.run(row.id);
      return true;
    });
    if (!isNew) throw new Error(`Command ${answer?.commandId} made a session before.`);
  }

  async get(sessionId: string): Promise<SessionRow | undefined> {
    this.#refuseWhereClosed();
    const row = this.#select.first(sessionId);
    return row && toSessionRow(row);
  }

  async list(member: { userId: string; orgId: string }, query: { limit: number; page?: string }): Promise<SessionPage> {
    this.#refuseWhereClosed();
    const { createdAt, session } = parsePage(query.page) ?? {
      createdAt: Number.MAX_SAFE_INTEGER,
      session: Number.MAX_SAFE_INTEGER,
    };
    const rows = this.#page.all(member.orgId, member.userId, createdAt, session, query.limit + 1);
    const shown = rows.slice(0, query.limit);
    const last = rows.length > query.limit ? shown.at(-1) : undefined;
    return { rows: shown.map(toSessionRow), nextPage: last && toPage(last) };
  }

  async unfinished(): Promise<readonly string[]> {
    this.#refuseWhereClosed();
    return this.#unfinished.all().map(([id]) => id);
  }

  remove(sessionId: string): Promise<void> {
    return this.#deps.retention.remove(sessionId);
  }

  async putCheckpoint(sessionId: string, checkpoint: Checkpoint): Promise<void> {
    await this.#deps.commits.run(() => {
      this.#putCheckpoint.run(sessionId, checkpoint.seq, checkpoint.json);
    }, 'relaxed');
  }

  async getCheckpoint(sessionId: string): Promise<Checkpoint | undefined> {
    this.#refuseWhereClosed();
    const row = this.#getCheckpoint.first(sessionId);
    return row && { seq: row[0], json: row[1] };
  }

  async putFeedback(feedback: Feedback & { userId: string; orgId: string; at: number }): Promise<void> {
    const { orgId, userId, conversation_id, turn_id, rating, comment, at } = feedback;
    await this.#deps.commits.run(() => {
      this.#putFeedback.run(orgId, userId, conversation_id, turn_id ?? null, rating, comment ?? null, at);
    });
  }

  sweep(cut: { sessionsBefore?: number; eventsBefore?: number }): Promise<readonly string[]> {
    return this.#deps.retention.sweep(cut);
  }

  close(): Promise<void> {
    return this.#deps.close();
  }

  async ping(): Promise<void> {
    this.#deps.commits.requireWritable();
    this.#select.first('');
  }

  #refuseWhereClosed(): void {
    const { refusal } = this.#deps.commits;
    if (refusal?.reason === 'closed') throw refusal;
  }
}

function toSessionRow(row: StoredRow): SessionRow {
  const [, id, userId, orgId, status, unfinished, createdAt, updatedAt, json] = row;
  return { id, userId, orgId, status, unfinished: unfinished === 1, createdAt, updatedAt, json };
}

const toPage = (row: StoredRow): string => Buffer.from(`${row[6]}.${row[0]}`).toString('base64url');

function parsePage(page: string | undefined): { createdAt: number; session: number } | undefined {
  const match = /^(\d{1,15})\.(\d{1,15})$/.exec(Buffer.from(page ?? '', 'base64url').toString());
  return match ? { createdAt: Number(match[1]), session: Number(match[2]) } : undefined;
}
