/** The live actors of this node: opened from their log when first needed, closed when nobody uses them. */

import type { LoggedEvent, Session } from '../../protocol/index.js';
import { MidstreamError } from '../../protocol/index.js';
import { canCheckpoint, fromCheckpoint, toCheckpoint } from '../core/checkpoint.js';
import { applyDelta } from '../core/delta-fold.js';
import { createSessionState, type NewSession, type SessionState } from '../core/session-state.js';
import { applyEvent } from '../core/session-view.js';
import type { StepContext } from '../core/transition.js';
import type { AuditSink } from '../ports/audit-log.js';
import type { Clock, Timer } from '../ports/clock.js';
import type { EventLog } from '../ports/event-log.js';
import type { Lease, Leases } from '../ports/lease.js';
import type { Logger } from '../ports/logger.js';
import type { Checkpoint, SessionRow, SessionStore } from '../ports/session-store.js';
import { CommandMemory } from './command-memory.js';
import { SessionActor } from './session-actor.js';
import { SessionFeed } from './session-feed.js';
import { type RunnerDeps, TurnRunner } from './turn-runner.js';

export interface RegistryDeps {
  readonly log: EventLog;
  readonly audit: AuditSink;
  readonly sessions: SessionStore;
  readonly leases: Leases;
  readonly clock: Clock;
  readonly logger: Logger;
  readonly runner: Omit<RunnerDeps, 'send' | 'sessionId' | 'logger'>;
  readonly context: () => StepContext;
}

interface Live {
  readonly actor: SessionActor;
  readonly lease: Lease;
  checkpointSeq: number;
  usedAt: number;
}

const FIRST_REOPEN_MS = 1_000;
const MAX_REOPEN_MS = 30_000;
const PAGE = 1_000;
const SWEEP_MS = 15_000;
const IDLE_MS = 60_000;
/** A checkpoint is written when this many events came since the last one. */
const CHECKPOINT_EVENTS = 200;

export class ActorRegistry {
  readonly #deps: RegistryDeps;
  readonly #live = new Map<string, Promise<Live>>();
  readonly #actors = new Map<string, Live>();
  #sweep: Timer | undefined;
  #isClosed = false;

  constructor(deps: RegistryDeps) {
    this.#deps = deps;
    deps.leases.onLost?.((sessionId) => this.#lose(sessionId));
    this.#scheduleSweep();
  }

  get size(): number {
    return this.#actors.size;
  }

  get actors(): readonly SessionActor[] {
    return [...this.#actors.values()].map((live) => live.actor);
  }

  /** The session's actor where it is open. */
  find(sessionId: string): SessionActor | undefined {
    return this.#actors.get(sessionId)?.actor;
  }

  /** The session's actor, opened where it isn't. Rejects with `session_not_found`. */
  async get(sessionId: string): Promise<SessionActor> {
    const opened = this.#actors.get(sessionId);
    if (opened) {
      opened.usedAt = this.#deps.clock.now();
      return opened.actor;
    }
    let opening = this.#live.get(sessionId);
    if (!opening) {
      opening = this.#open(sessionId);
      this.#live.set(sessionId, opening);
      opening.catch(() => this.#live.delete(sessionId));
    }
    return (await opening).actor;
  }

  /** Opens a session that was just made. */
  async adopt(session: NewSession): Promise<SessionActor> {
    const opening = this.#claim(session.sessionId).then((lease) =>
      this.#start(createSessionState({ ...session, epoch: this.#epochOf(lease) }), lease, {
        checkpointSeq: 0,
        isNew: true,
      }),
    );
    this.#live.set(session.sessionId, opening);
    opening.catch(() => this.#live.delete(session.sessionId));
    return (await opening).actor;
  }

  /** Forgets a session whose log is gone. */
  async drop(sessionId: string): Promise<void> {
    const live = this.#forget(sessionId);
    if (!live) return;
    await live.actor.stop();
    live.actor.feed.end('deleted');
    await this.#deps.leases.release(sessionId, live.lease);
  }

  /** Takes up every session that has an unfinished turn (NODE-2). */
  async recover(): Promise<void> {
    const ids = await this.#deps.sessions.unfinished();
    for (const id of ids)
      await this.get(id).catch((error: unknown) =>
        this.#deps.logger.error('recovery failed', { session_id: id, error }),
      );
    if (ids.length > 0) this.#deps.logger.info('unfinished sessions taken up', { count: ids.length });
  }

  /** Stops everything; what is in the log goes on at the next start. */
  async close(): Promise<void> {
    this.#isClosed = true;
    this.#sweep?.cancel();
    await Promise.allSettled(this.#live.values());
    for (const [id, live] of [...this.#actors]) {
      await this.#checkpoint(live, 1).catch((error: unknown) =>
        this.#deps.logger.warn('no checkpoint was written', { session_id: id, error }),
      );
      await live.actor.stop();
      this.#forget(id);
      await this.#deps.leases.release(id, live.lease);
    }
  }

  async #open(sessionId: string): Promise<Live> {
    const row = await this.#deps.sessions.get(sessionId);
    if (!row) throw new MidstreamError('session_not_found');
    const lease = await this.#claim(sessionId);
    const { state, checkpointSeq } = await this.#fold(row, this.#epochOf(lease));
    if (state.deleted) {
      // Its removal was cut short.
      await this.#deps.sessions.remove(sessionId);
      throw new MidstreamError('session_not_found');
    }
    const live = this.#start(state, lease, { checkpointSeq, isNew: false });
    // The row was read before the lease was had; the log is read under it.
    const isUnfinished = row.unfinished || state.turn !== undefined || state.queue.length > 0;
    if (isUnfinished) live.actor.send({ type: 'recover' });
    return live;
  }

  async #claim(sessionId: string): Promise<Lease> {
    if (this.#isClosed) throw new MidstreamError('draining');
    const lease = await this.#deps.leases.claim(sessionId);
    if (!lease) throw new MidstreamError('store_unavailable', 'Another server holds this session. Try again.');
    return lease;
  }

  #epochOf(lease: Lease): string {
    return lease.epoch ?? this.#deps.log.epoch;
  }

  /** Folds the log from the last checkpoint on. */
  async #fold(row: SessionRow, epoch: string): Promise<{ state: SessionState; checkpointSeq: number }> {
    const { log } = this.#deps;
    const checkpoint = await this.#loadCheckpoint(row.id);
    const checkpointSeq = checkpoint?.seq ?? 0;
    let state = checkpoint ? fromCheckpoint(checkpoint.json, epoch) : createSessionState(toNewSession(row, epoch));
    const deltas = [...(await log.readDeltas(row.id, state.seq))];
    let page: Awaited<ReturnType<EventLog['read']>>;
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
    return { state, checkpointSeq };
  }

  /** A checkpoint ahead of its log would hold what never happened: it is as good as lost. */
  async #loadCheckpoint(sessionId: string): Promise<Checkpoint | undefined> {
    const { log, sessions, logger } = this.#deps;
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

  /** The actor failed: its turn goes on in the next one, as soon as the store answers again (TURN-1). */
  #replace(sessionId: string): void {
    const live = this.#forget(sessionId);
    const { state } = live?.actor ?? {};
    if (state && (state.turn || state.queue.length > 0)) this.#openAgain(sessionId, FIRST_REOPEN_MS);
  }

  /** Another node writes this session, or may: all work on it ends (NODE-3), and its watchers attach where it goes on. */
  #lose(sessionId: string): void {
    const live = this.#actors.get(sessionId);
    if (!live || live.actor.isDead) return;
    this.#deps.logger.warn('a session’s lease was lost', { session_id: sessionId });
    void live.actor.stop();
    live.actor.feed.end('failed');
    this.#replace(sessionId);
  }

  #openAgain(sessionId: string, delayMs: number): void {
    this.#deps.clock.schedule(delayMs, () => {
      if (this.#isClosed) return;
      this.get(sessionId).catch((error: unknown) => {
        if (error instanceof MidstreamError && error.code === 'session_not_found') return;
        this.#deps.logger.warn('a session could not be taken up again yet', { session_id: sessionId, error });
        this.#openAgain(sessionId, Math.min(delayMs * 2, MAX_REOPEN_MS));
      });
    });
  }

  #start(state: SessionState, lease: Lease, from: { checkpointSeq: number; isNew: boolean }): Live {
    const { log, audit, clock, logger, runner, context } = this.#deps;
    const { sessionId } = state;
    const sessionLogger = logger.child({ session_id: sessionId });
    const actor = new SessionActor(
      {
        log,
        audit,
        clock,
        logger: sessionLogger,
        memory: new CommandMemory(sessionId, log, from.isNew),
        feed: new SessionFeed(sessionId, state.seq),
        token: lease.token,
        createRunner: (send) => new TurnRunner({ ...runner, sessionId, logger: sessionLogger, send }),
        context,
        onFail: () => this.#replace(sessionId),
      },
      state,
    );
    const live = { actor, lease, checkpointSeq: from.checkpointSeq, usedAt: clock.now() };
    this.#actors.set(sessionId, live);
    return live;
  }

  #forget(sessionId: string): Live | undefined {
    const live = this.#actors.get(sessionId);
    this.#actors.delete(sessionId);
    this.#live.delete(sessionId);
    return live;
  }

  #scheduleSweep(): void {
    this.#sweep = this.#deps.clock.schedule(SWEEP_MS, () => {
      void this.#sweepIdle().finally(() => {
        if (!this.#isClosed) this.#scheduleSweep();
      });
    });
  }

  async #sweepIdle(): Promise<void> {
    const { clock, logger, leases } = this.#deps;
    for (const [id, live] of [...this.#actors]) {
      try {
        const isIdle = isUnused(live.actor) && clock.now() - live.usedAt >= IDLE_MS;
        await this.#checkpoint(live, isIdle ? 1 : CHECKPOINT_EVENTS);
        // Somebody may have come while the checkpoint was written.
        if (!isIdle || !isUnused(live.actor) || clock.now() - live.usedAt < IDLE_MS) continue;
        this.#forget(id);
        await live.actor.stop();
        await leases.release(id, live.lease);
      } catch (error) {
        logger.warn('a session could not be put to rest', { session_id: id, error });
      }
    }
  }

  async #checkpoint(live: Live, minEvents: number): Promise<void> {
    const { state } = live.actor;
    if (live.actor.isDead) return;
    await live.actor.flushed();
    if (!canCheckpoint(state) || state.seq - live.checkpointSeq < minEvents) return;
    await this.#deps.sessions.putCheckpoint(state.sessionId, { seq: state.seq, json: toCheckpoint(state) });
    live.checkpointSeq = state.seq;
  }
}

/** Nobody watches, nothing runs, no tool is registered. */
const isUnused = ({ state, feed }: SessionActor): boolean =>
  state.turn === undefined && state.queue.length === 0 && state.registrations.length === 0 && feed.watchers.size === 0;

function toNewSession(row: SessionRow, epoch: string): NewSession {
  const { title, metadata, agent } = JSON.parse(row.json) as Session;
  const owner = { user_id: row.userId, org_id: row.orgId };
  return { sessionId: row.id, epoch, owner, title, metadata, agent, createdAt: row.createdAt };
}
