/** Writes checkpoints of the sessions that are open here, and finds those that nobody uses. */
import { canCheckpoint, toCheckpoint } from '../core/checkpoint.js';
import type { Clock, Timer } from '../ports/clock.js';
import type { Lease } from '../ports/lease.js';
import type { Logger } from '../ports/logger.js';
import type { SessionStore } from '../ports/session-store.js';
import type { SessionActor } from './session-actor.js';

/** A session that is open here. */
export interface Live {
  readonly actor: SessionActor;
  readonly lease: Lease;
  checkpointSeq: number;
  /** When it was asked for last, in milliseconds since 1970. */
  usedAt: number;
}

export interface SessionRestDeps {
  readonly sessions: SessionStore;
  readonly clock: Clock;
  readonly logger: Logger;
  readonly all: () => readonly (readonly [sessionId: string, live: Live])[];
  /** Whether who watches can go on without the actor. */
  readonly watchersStay: boolean;
  readonly giveUp: (sessionId: string, live: Live) => Promise<void>;
}

const SWEEP_MS = 15_000;
const IDLE_MS = 60_000;
/** A checkpoint is written when this many events came since the last one. */
const CHECKPOINT_EVENTS = 200;

export class SessionRest {
  readonly #deps: SessionRestDeps;
  #timer: Timer | undefined;
  #isClosed = false;

  constructor(deps: SessionRestDeps) {
    this.#deps = deps;
    this.#schedule();
  }

  close(): void {
    this.#isClosed = true;
    this.#timer?.cancel();
  }

  /** As far as it goes; one that fails costs time at the next opening, and no more. */
  async writeLast(sessionId: string, live: Live): Promise<void> {
    const { logger } = this.#deps;
    await this.#checkpoint(live, 1).catch((error: unknown) =>
      logger.warn('no checkpoint was written', { session_id: sessionId, error }),
    );
  }

  #schedule(): void {
    this.#timer = this.#deps.clock.schedule(SWEEP_MS, () => {
      void this.#sweep().finally(() => {
        if (!this.#isClosed) this.#schedule();
      });
    });
  }

  async #sweep(): Promise<void> {
    const { all, clock, logger, giveUp } = this.#deps;
    for (const [id, live] of all()) {
      try {
        const isIdle = (): boolean => this.#isUnused(live.actor) && clock.now() - live.usedAt >= IDLE_MS;
        const wasIdle = isIdle();
        await this.#checkpoint(live, wasIdle ? 1 : CHECKPOINT_EVENTS);
        // Somebody may have come while the checkpoint was written.
        if (wasIdle && isIdle()) await giveUp(id, live);
      } catch (error) {
        logger.warn('a session could not be put to rest', { session_id: id, error });
      }
    }
  }

  /** Nothing runs, no tool is registered, and nobody watches who needs the actor. */
  #isUnused({ state, feed }: SessionActor): boolean {
    const isWatched = feed.watchers.size > 0 && !this.#deps.watchersStay;
    return !isWatched && state.turn === undefined && state.queue.length === 0 && state.registrations.length === 0;
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
