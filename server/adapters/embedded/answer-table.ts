/** First answers to accepted commands, kept for 24 h (CMD-2). */
import { BOUNDS, type CommandResult } from '../../../protocol/index.js';
import type { CommandAnswer } from '../../ports/event-log.js';
import type { Database, Statement } from './database.js';

/** The number under which answers to `session.create` are kept: they belong to no session. */
export const NO_SESSION = 0;

const PRUNE_EVERY_MS = 60_000;
const PRUNE_ROWS = 500;

type AnswerRow = [bodyHash: string, result: string, appliedAtSeq: number | null, acceptedAt: number];

export class AnswerTable {
  readonly #insert: Statement;
  readonly #select: Statement<AnswerRow>;
  readonly #prune: Statement;
  readonly #now: () => number;
  #pruneAt = Number.NEGATIVE_INFINITY;

  constructor(database: Database, now: () => number) {
    this.#now = now;
    // An answer that still counts stays: the first one is repeated, whatever comes later under its id.
    this.#insert = database.prepare(
      `INSERT INTO answers (session, user_id, org_id, command_id, body_hash, result, applied_at_seq, accepted_at)
       VALUES (?1, ?2, ?3, ?4, ?5, ?6, ?7, ?8)
       ON CONFLICT (session, user_id, org_id, command_id) DO UPDATE SET body_hash = excluded.body_hash,
         result = excluded.result, applied_at_seq = excluded.applied_at_seq, accepted_at = excluded.accepted_at
       WHERE answers.accepted_at <= ?9`,
    );
    this.#select = database.prepare(
      `SELECT body_hash, result, applied_at_seq, accepted_at FROM answers
       WHERE session = ? AND user_id = ? AND org_id = ? AND command_id = ? AND accepted_at > ?`,
    );
    this.#prune = database.prepare(
      'DELETE FROM answers WHERE id IN (SELECT id FROM answers WHERE accepted_at <= ? ORDER BY accepted_at LIMIT ?)',
    );
  }

  /** Returns whether it was kept: not where an earlier one under the same id still counts. */
  put(session: number, answer: CommandAnswer): boolean {
    const { userId, orgId, commandId, bodyHash, appliedAtSeq, acceptedAt } = answer;
    const result = JSON.stringify(answer.result);
    const seq = appliedAtSeq ?? null;
    return (
      this.#insert.run(session, userId, orgId, commandId, bodyHash, result, seq, acceptedAt, this.#expired()) === 1
    );
  }

  find(
    session: number,
    key: Pick<CommandAnswer, 'sessionId' | 'userId' | 'orgId' | 'commandId'>,
  ): CommandAnswer | undefined {
    const row = this.#select.first(session, key.userId, key.orgId, key.commandId, this.#expired());
    if (row === undefined) return undefined;
    const [bodyHash, result, appliedAtSeq, acceptedAt] = row;
    return {
      sessionId: key.sessionId,
      userId: key.userId,
      orgId: key.orgId,
      commandId: key.commandId,
      bodyHash,
      appliedAtSeq: appliedAtSeq ?? undefined,
      result: JSON.parse(result) as CommandResult,
      acceptedAt,
    };
  }

  /** Deletes some that no longer count, now and then. Belongs into a transaction. */
  prune(): void {
    const now = this.#now();
    if (now < this.#pruneAt) return;
    // A full slice says that there is more: the next transaction goes on.
    const deleted = this.#prune.run(this.#expired(), PRUNE_ROWS);
    this.#pruneAt = deleted < PRUNE_ROWS ? now + PRUNE_EVERY_MS : now;
  }

  #expired(): number {
    return this.#now() - BOUNDS.dedupeMs;
  }
}
