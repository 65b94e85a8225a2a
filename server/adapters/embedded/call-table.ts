/** Keys of tools called without the model, and their first answers, kept for 24 h (CMD-2). */
import { BOUNDS } from '../../../protocol/index.js';
import type { CallClaim, CallKey, CallMemory, KnownCall } from '../../ports/call-memory.js';
import type { Database, Statement } from './database.js';
import type { GroupCommit } from './group-commit.js';

const PRUNE_EVERY_MS = 60_000;
const PRUNE_ROWS = 500;

export class CallTable implements CallMemory {
  readonly #commits: GroupCommit;
  readonly #now: () => number;
  readonly #claim: Statement;
  readonly #find: Statement<[callId: string, bodyHash: string, answer: string | null]>;
  readonly #settle: Statement;
  readonly #prune: Statement;
  #pruneAt = Number.NEGATIVE_INFINITY;

  constructor(database: Database, commits: GroupCommit, now: () => number) {
    this.#commits = commits;
    this.#now = now;
    this.#claim = database.prepare(
      `INSERT INTO calls (user_id, org_id, key, call_id, body_hash, claimed_at) VALUES (?1, ?2, ?3, ?4, ?5, ?6)
       ON CONFLICT (user_id, org_id, key) DO UPDATE SET call_id = excluded.call_id, body_hash = excluded.body_hash,
         answer = NULL, claimed_at = excluded.claimed_at
       WHERE calls.claimed_at <= ?7`,
    );
    this.#find = database.prepare(
      'SELECT call_id, body_hash, answer FROM calls WHERE user_id = ? AND org_id = ? AND key = ?',
    );
    this.#settle = database.prepare(
      'UPDATE calls SET answer = ? WHERE user_id = ? AND org_id = ? AND key = ? AND call_id = ? AND answer IS NULL',
    );
    this.#prune = database.prepare(
      'DELETE FROM calls WHERE id IN (SELECT id FROM calls WHERE claimed_at <= ? ORDER BY claimed_at LIMIT ?)',
    );
  }

  claim({ userId, orgId, key }: CallKey, { callId, bodyHash }: CallClaim): Promise<KnownCall | undefined> {
    return this.#commits.run(() => {
      const now = this.#now();
      if (this.#claim.run(userId, orgId, key, callId, bodyHash, now, now - BOUNDS.dedupeMs) === 1) return undefined;
      const found = this.#find.first(userId, orgId, key);
      return found && { callId: found[0], bodyHash: found[1], answer: found[2] ?? undefined };
    });
  }

  async settle({ userId, orgId, key }: CallKey, callId: string, answer: string): Promise<void> {
    await this.#commits.run(() => this.#settle.run(answer, userId, orgId, key, callId));
  }

  /** Deletes some that no longer count, now and then. Belongs into a transaction. */
  prune(): void {
    const now = this.#now();
    if (now < this.#pruneAt) return;
    const deleted = this.#prune.run(now - BOUNDS.dedupeMs, PRUNE_ROWS);
    this.#pruneAt = deleted < PRUNE_ROWS ? now + PRUNE_EVERY_MS : now;
  }
}
