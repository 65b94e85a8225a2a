/** The live actors of this node: opened from their log when first needed, closed when nobody uses them. */

import { MidstreamError } from '../../protocol/index.js';
import { createSessionState, type NewSession, type Participant, type SessionState } from '../core/session-state.js';
import type { StepContext } from '../core/transition.js';
import type { AuditSink } from '../ports/audit-log.js';
import type { Clock } from '../ports/clock.js';
import type { EventLog } from '../ports/event-log.js';
import type { Lease, Leases } from '../ports/lease.js';
import type { Logger } from '../ports/logger.js';
import type { SessionRow, SessionStore } from '../ports/session-store.js';
import { CommandMemory } from './command-memory.js';
import type { Followers } from './followers.js';
import { SessionActor } from './session-actor.js';
import { HeldElsewhere } from './session-door.js';
import { SessionFeed } from './session-feed.js';
import { foldLog } from './session-fold.js';
import { type Live, SessionRest } from './session-rest.js';
import { type RunnerDeps, TurnRunner } from './turn-runner.js';

export interface RegistryDeps {
  readonly log: EventLog;
  readonly audit: AuditSink;
  readonly sessions: SessionStore;
  readonly leases: Leases;
  readonly clock: Clock;
  readonly logger: Logger;
  readonly runner: Omit<RunnerDeps, 'send' | 'sessionId' | 'logger' | 'clock'>;
  readonly context: () => StepContext;
  /** Brings the roles of those who take part in a turn that goes on (TOOL-1). */
  readonly loadRoles: (who: readonly Participant[]) => Promise<void>;
  /** Where other nodes write sessions, too. */
  readonly followers?: Followers | undefined;
  /** A session was taken up that may have been open elsewhere. */
  readonly onOpen?: (sessionId: string) => void;
}

const FIRST_REOPEN_MS = 1_000;
const MAX_REOPEN_MS = 30_000;
export class ActorRegistry {
  readonly #deps: RegistryDeps;
  readonly #live = new Map<string, Promise<Live>>();
  readonly #actors = new Map<string, Live>();
  readonly #rest: SessionRest;
  #isClosed = false;
  #isYielding = false;

  constructor(deps: RegistryDeps) {
    this.#deps = deps;
    deps.leases.onLost?.((sessionId) => this.#lose(sessionId));
    const { sessions, clock, logger, followers } = deps;
    this.#rest = new SessionRest({
      sessions,
      clock,
      logger,
      all: () => [...this.#actors],
      watchersStay: followers !== undefined,
      giveUp: (sessionId, live) => this.#giveUp(sessionId, live),
    });
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

  feedOf(sessionId: string): SessionFeed | undefined {
    return this.find(sessionId)?.feed;
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
        feed: undefined,
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
    await this.#release(sessionId, live.lease);
  }

  /** From here on other nodes take what this one gives back; it opens nothing more. */
  beginYield(): void {
    this.#isYielding = true;
  }

  get isYielding(): boolean {
    return this.#isYielding;
  }

  /** Gives a session to whichever node takes it. */
  async yield(sessionId: string): Promise<void> {
    const live = this.#actors.get(sessionId);
    if (!live) return;
    await this.#rest.writeLast(sessionId, live);
    if (this.#actors.get(sessionId) === live) await this.#giveUp(sessionId, live);
  }

  /** Stops everything; what is in the log goes on at the next start. */
  async close(): Promise<void> {
    this.#isClosed = true;
    this.#rest.close();
    await Promise.allSettled(this.#live.values());
    for (const [id, live] of [...this.#actors]) {
      await this.#rest.writeLast(id, live);
      await live.actor.stop();
      this.#forget(id);
      await this.#release(id, live.lease);
    }
  }

  async #open(sessionId: string): Promise<Live> {
    const { sessions } = this.#deps;
    if (!(await sessions.get(sessionId))) throw new MidstreamError('session_not_found');
    const lease = await this.#claim(sessionId);
    try {
      return await this.#openWith(sessionId, lease);
    } catch (error) {
      await this.#release(sessionId, lease);
      throw error;
    }
  }

  async #openWith(sessionId: string, lease: Lease): Promise<Live> {
    const { sessions, followers } = this.#deps;
    // Only now it is what it is: another node may have written it until it was claimed.
    const row = await sessions.get(sessionId);
    if (!row) throw new MidstreamError('session_not_found');
    const epoch = this.#epochOf(lease);
    const feed = await followers?.handOver(sessionId, epoch);
    try {
      return await this.#resume(row, lease, feed);
    } catch (error) {
      // Who watches must not be left with nobody.
      if (feed) followers?.take({ feed, epoch });
      throw error;
    }
  }

  async #resume(row: SessionRow, lease: Lease, feed: SessionFeed | undefined): Promise<Live> {
    const { sessions, loadRoles, onOpen } = this.#deps;
    const { id: sessionId } = row;
    const epoch = this.#epochOf(lease);
    const { state, checkpointSeq } = await foldLog(row, epoch, this.#deps);
    if (state.deleted) {
      // Its removal was cut short.
      await sessions.remove(sessionId);
      throw new MidstreamError('session_not_found');
    }
    const isUnfinished = row.unfinished || state.turn !== undefined || state.queue.length > 0;
    if (isUnfinished) await loadRoles(participantsOf(state));
    if (feed && feed.head !== state.seq) feed.skipTo(state.seq);
    const live = this.#start(state, lease, { checkpointSeq, isNew: false, feed });
    if (isUnfinished) live.actor.send({ type: 'recover', cause: lease.wasGivenBack ? 'handed_over' : 'lost' });
    if (state.turn) this.#deps.runner.metrics.turnTakenUp();
    onOpen?.(sessionId);
    return live;
  }

  async #claim(sessionId: string): Promise<Lease> {
    if (this.#isClosed) throw new MidstreamError('draining');
    if (this.#isYielding) throw new HeldElsewhere();
    const lease = await this.#deps.leases.claim(sessionId);
    if (!lease) throw new HeldElsewhere();
    return lease;
  }

  async #release(sessionId: string, lease: Lease): Promise<void> {
    const { leases, logger } = this.#deps;
    await leases
      .release(sessionId, lease)
      .catch((error: unknown) =>
        logger.warn('a lease was not given back; it lapses', { session_id: sessionId, error }),
      );
  }

  #epochOf(lease: Lease): string {
    return lease.epoch ?? this.#deps.log.epoch;
  }

  /** The actor failed: its turn goes on in the next one, as soon as the store answers again (TURN-1). */
  #replace(sessionId: string): void {
    const live = this.#forget(sessionId);
    if (!live) return;
    const { state, feed } = live.actor;
    const { followers } = this.#deps;
    if (followers) followers.take({ feed, epoch: state.epoch });
    else feed.end('failed');
    if (state.turn || state.queue.length > 0) this.#openAgain(sessionId, FIRST_REOPEN_MS);
    else void this.#release(sessionId, live.lease);
  }

  /** Another node writes this session, or may: all work on it ends (NODE-3), and its watchers see how it goes on. */
  #lose(sessionId: string): void {
    const live = this.#actors.get(sessionId);
    if (!live) {
      // It is being opened under that lease.
      const opening = this.#live.get(sessionId);
      opening?.then(
        (opened) => this.#actors.get(sessionId) === opened && this.#lose(sessionId),
        () => undefined,
      );
      return;
    }
    if (live.actor.isDead) return;
    this.#deps.logger.warn('a session’s lease was lost', { session_id: sessionId });
    void live.actor.stop();
    this.#replace(sessionId);
  }

  #openAgain(sessionId: string, delayMs: number): void {
    this.#deps.clock.schedule(delayMs, () => {
      if (this.#isClosed) return;
      this.get(sessionId).catch((error: unknown) => {
        if (error instanceof HeldElsewhere) return;
        if (error instanceof MidstreamError && error.code === 'session_not_found') return;
        this.#deps.logger.warn('a session could not be taken up again yet', { session_id: sessionId, error });
        this.#openAgain(sessionId, Math.min(delayMs * 2, MAX_REOPEN_MS));
      });
    });
  }

  #start(
    state: SessionState,
    lease: Lease,
    from: { checkpointSeq: number; isNew: boolean; feed: SessionFeed | undefined },
  ): Live {
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
        feed: from.feed ?? new SessionFeed(sessionId, state.seq),
        token: lease.token,
        createRunner: (send) => new TurnRunner({ ...runner, clock, sessionId, logger: sessionLogger, send }),
        admission: runner.admission,
        metrics: runner.metrics,
        context,
        onFail: () => this.#replace(sessionId),
      },
      state,
    );
    const live = { actor, lease, checkpointSeq: from.checkpointSeq, usedAt: clock.now() };
    this.#actors.set(sessionId, live);
    runner.admission.opened(state);
    return live;
  }

  #forget(sessionId: string): Live | undefined {
    const live = this.#actors.get(sessionId);
    this.#actors.delete(sessionId);
    this.#live.delete(sessionId);
    if (live) this.#deps.runner.admission.gone(sessionId);
    return live;
  }

  /** Gives the lease back; watchers stay. */
  async #giveUp(sessionId: string, live: Live): Promise<void> {
    const { feed, state } = live.actor;
    this.#forget(sessionId);
    const stopped = live.actor.stop();
    // At once: whoever opens the session again meanwhile gets this feed.
    this.#deps.followers?.take({ feed, epoch: state.epoch });
    await stopped;
    await this.#release(sessionId, live.lease);
  }
}

/** Who takes part in the turn that runs, and in those that wait. */
export const participantsOf = ({ turn, queue }: SessionState): readonly Participant[] => [
  ...(turn?.participants ?? []),
  ...(turn?.steers ?? []).map(({ from }) => from),
  ...queue.map(({ from }) => from),
];
