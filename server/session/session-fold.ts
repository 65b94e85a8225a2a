/** A session's state, from its row or its checkpoint and the records of its log. */
import type { LoggedEvent, Session } from '../../protocol/index.js';
import { fromCheckpoint } from '../core/checkpoint.js';
import { applyDelta } from '../core/delta-fold.js';
import type { LogRecord } from '../core/log-record.js';
import { createSessionState, type NewSession, type SessionState } from '../core/session-state.js';
import { applyEvent } from '../core/session-view.js';
import type { EventLog, StoredEvent } from '../ports/event-log.js';
import type { Logger } from '../ports/logger.js';
import type { Checkpoint, SessionRow, SessionStore } from '../ports/session-store.js';

export interface FoldDeps {
  readonly log: EventLog;
  readonly sessions: SessionStore;
  readonly logger: Logger;
}

export interface Folded {
  readonly state: SessionState;
  /** 0 where there is no checkpoint. */
  readonly checkpointSeq: number;
}

const PAGE = 1_000;

/** Folds a log that nobody writes meanwhile, from the last checkpoint on. */
export async function foldLog(row: SessionRow, epoch: string, deps: FoldDeps): Promise<Folded> {
  const { log } = deps;
  const checkpoint = await loadCheckpoint(row.id, deps);
  let state = toFirstState(row, checkpoint, epoch);
  const deltas = [...(await log.readDeltas(row.id, state.seq))];
  let page: readonly StoredEvent[];
  let after = state.seq;
  do {
    page = await log.read(row.id, { afterSeq: after, limit: PAGE });
    for (const { seq, json } of page) {
      while (deltas[0] && deltas[0].seq < seq) state = applyDelta(state, deltas.shift() as (typeof deltas)[number]);
      state = applyEvent(state, JSON.parse(json) as LoggedEvent);
      after = seq;
    }
  } while (page.length === PAGE);
  for (const delta of deltas) if (delta.seq > state.seq) state = applyDelta(state, delta);
  return { state, checkpointSeq: checkpoint?.seq ?? 0 };
}

/** What a fold begins with. */
export function toFirstState(row: SessionRow, checkpoint: Checkpoint | undefined, epoch: string): SessionState {
  return checkpoint ? fromCheckpoint(checkpoint.json, epoch) : createSessionState(toNewSession(row, epoch));
}

export const applyRecord = (state: SessionState, record: LogRecord): SessionState =>
  record.kind === 'delta' ? applyDelta(state, record) : applyEvent(state, JSON.parse(record.json) as LoggedEvent);

/** A checkpoint ahead of its log would hold what never happened: it is as good as lost. */
async function loadCheckpoint(sessionId: string, { log, sessions, logger }: FoldDeps): Promise<Checkpoint | undefined> {
  const checkpoint = await sessions.getCheckpoint(sessionId);
  if (!checkpoint) return undefined;
  const [last] = await log.read(sessionId, { afterSeq: 0, limit: 1, order: 'desc' });
  const head = Math.max(last?.seq ?? 0, await log.floorOf(sessionId));
  if (checkpoint.seq <= head) return checkpoint;
  logger.error('a checkpoint is ahead of its log and is not used', {
    session_id: sessionId,
    seq: checkpoint.seq,
    head,
  });
  return undefined;
}

function toNewSession(row: SessionRow, epoch: string): NewSession {
  const { title, metadata, agent } = JSON.parse(row.json) as Session;
  const owner = { user_id: row.userId, org_id: row.orgId };
  return { sessionId: row.id, epoch, owner, title, metadata, agent, createdAt: row.createdAt };
}
