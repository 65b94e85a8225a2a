/** Sessions beside their logs: rows to find and list them by, checkpoints of their folded state, and feedback. */
import type { Feedback } from '../../protocol/index.js';
import type { CommandAnswer } from './event-log.js';

export interface SessionRow {
  readonly id: string;
  /** Who made it. */
  readonly userId: string;
  readonly orgId: string;
  readonly status: 'idle' | 'running';
  readonly unfinished: boolean;
  /** Milliseconds since 1970. */
  readonly createdAt: number;
  readonly updatedAt: number;
  /** The session resource, as JSON. */
  readonly json: string;
}

export interface Checkpoint {
  /** The fold covers every event up to here. */
  readonly seq: number;
  readonly json: string;
}

export interface SessionPage {
  readonly rows: readonly SessionRow[];
  /** Opaque; undefined on the last page. */
  readonly nextPage: string | undefined;
}

export interface SessionStore {
  /** Durable when it resolves; the row's user is the session's first member. With an answer, both are written or none (CMD-2 of `session.create`). */
  create(row: SessionRow, answer?: CommandAnswer): Promise<void>;
  get(sessionId: string): Promise<SessionRow | undefined>;
  /** The sessions that one user is a member of (`RowChange.memberIds`), newest first. An unknown `page` starts over. */
  list(member: { userId: string; orgId: string }, query: { limit: number; page?: string }): Promise<SessionPage>;
  /** Ids of the sessions whose row says `unfinished`. */
  unfinished(): Promise<readonly string[]>;
  /** Removes the session, its log, checkpoint and answers; durable when it resolves. */
  remove(sessionId: string): Promise<void>;

  /** Replaces the checkpoint; never one with a higher seq. A lost checkpoint costs time, never data. */
  putCheckpoint(sessionId: string, checkpoint: Checkpoint): Promise<void>;
  getCheckpoint(sessionId: string): Promise<Checkpoint | undefined>;

  /** Kept for good, whatever the ids in it name. Durable when it resolves. */
  putFeedback(feedback: Feedback & { userId: string; orgId: string; at: number }): Promise<void>;

  /**
   * Applies retention: removes idle sessions not updated since `sessionsBefore`, and events older than `eventsBefore`
   * that a checkpoint covers (milliseconds since 1970; undefined keeps). Returns the ids of the removed sessions.
   */
  sweep(cut: { sessionsBefore?: number; eventsBefore?: number }): Promise<readonly string[]>;

  /** Ends all use: flushes what is pending, marks the store as cleanly closed. */
  close(): Promise<void>;
  /** Resolves where the store answers, rejects with the reason where it doesn't. */
  ping(): Promise<void>;
}
