/** Turns of one user at a time: a seat for each session of theirs in which a turn runs, whoever the node. */
import { MidstreamError } from '../../protocol/index.js';
import { isSame, type Participant, type SessionState } from '../core/session-state.js';
import { type Clock, pause, type Timer } from '../ports/clock.js';
import type { Logger } from '../ports/logger.js';
import { SEAT_TIMES, type TurnSeat, type TurnSeats } from '../ports/turn-seats.js';

export interface SeatDeskDeps {
  readonly seats: TurnSeats;
  /** Whether anybody's turns are counted at all. */
  readonly isLimited: boolean;
  /** Undefined: as many as they like. */
  readonly limitOf: (who: Participant) => number | undefined;
  readonly clock: Clock;
  readonly logger: Logger;
}

interface Running {
  readonly turnId: string;
  readonly payer: Participant;
}

const WAIT_MS = 2_000;
const LOOK_MS = 100;
const RETRY_MS = 1_000;

export class SeatDesk {
  readonly #deps: SeatDeskDeps;
  /** By session. At most one turn of it runs, so that the session names the seat: on any node, and after a crash. */
  readonly #held = new Map<string, TurnSeat>();
  readonly #running = new Map<string, Running>();
  #heartbeat: Timer | undefined;
  #isClosed = false;

  constructor(deps: SeatDeskDeps) {
    this.#deps = deps;
  }

  /** Takes a seat for a turn that is about to begin. Rejects where there is none. */
  async take(who: Participant, sessionId: string): Promise<void> {
    if (!(await this.#tryTake(who, sessionId))) throw this.#refusal(who);
  }

  /**
   * Takes a seat for a turn that has begun, or knows that it has one; waits a little where there is none. Rejects where
   * none was freed, and resolves without one where the turn has ended meanwhile.
   */
  async takeFor({ turnId, payer }: Running, sessionId: string): Promise<void> {
    const { clock } = this.#deps;
    const until = clock.now() + WAIT_MS;
    const isOver = (): boolean => this.#running.get(sessionId)?.turnId !== turnId;
    while (!isOver()) {
      if (await this.#tryTake(payer, sessionId)) {
        if (isOver()) this.giveBack(sessionId);
        return;
      }
      if (clock.now() >= until) throw this.#refusal(payer);
      await pause(clock, LOOK_MS);
    }
  }

  /** Frees a seat that no turn uses. */
  giveBack(sessionId: string): void {
    const seat = this.#held.get(sessionId);
    if (!seat || isOf(seat, this.#running.get(sessionId)?.payer)) return;
    this.#held.delete(sessionId);
    void this.#deps.seats.release(seat);
  }

  /** The next turn of the same payer takes the seat over. */
  follow({ sessionId, turn }: SessionState): void {
    if (turn) this.#running.set(sessionId, { turnId: turn.turnId, payer: turn.payer });
    else this.#running.delete(sessionId);
    this.giveBack(sessionId);
  }

  /** A turn that was found running has its seat, whatever the limit. */
  resume(state: SessionState): void {
    const { sessionId, turn } = state;
    // Whose roles are not known yet may have a limit.
    if (!turn || !this.#deps.isLimited) return;
    const seat = toSeat(turn.payer, sessionId);
    this.#hold(seat);
    void this.#deps.seats.renew([seat]);
  }

  /** Its actor is gone: where the turn goes on, its seat is taken again; else it lapses. */
  gone(sessionId: string): void {
    this.#running.delete(sessionId);
    this.#held.delete(sessionId);
  }

  close(): void {
    this.#isClosed = true;
    this.#heartbeat?.cancel();
  }

  async #tryTake(who: Participant, sessionId: string): Promise<boolean> {
    const { seats, limitOf, logger } = this.#deps;
    const limit = limitOf(who);
    if (limit === undefined || isOf(this.#held.get(sessionId), who)) return true;
    const seat = toSeat(who, sessionId);
    try {
      if (!(await seats.take(seat, limit))) return false;
    } catch (error) {
      logger.error('the seats of turns did not answer', { error });
      throw new MidstreamError('store_unavailable');
    }
    this.#hold(seat);
    return true;
  }

  #hold(seat: TurnSeat): void {
    this.#held.set(seat.seatId, seat);
    this.#scheduleHeartbeat();
  }

  #refusal(who: Participant): MidstreamError {
    const quota = this.#deps.limitOf(who) ?? 0;
    const message = `${quota} of your turns run, as many as you may have at a time. Wait for one of them to end.`;
    const details = { limit: 'concurrent_turns', quota, remaining: 0 };
    return new MidstreamError('rate_limited', message, { retryAfterMs: RETRY_MS, details });
  }

  /** One for all seats, as long as there are any. */
  #scheduleHeartbeat(): void {
    if (this.#isClosed) return;
    this.#heartbeat ??= this.#deps.clock.schedule(SEAT_TIMES.heartbeatMs, () => {
      this.#heartbeat = undefined;
      if (this.#held.size === 0) return;
      this.#scheduleHeartbeat();
      void this.#deps.seats.renew([...this.#held.values()]);
    });
  }
}

const toSeat = ({ user_id: userId, org_id: orgId }: Participant, seatId: string): TurnSeat => ({
  userId,
  orgId,
  seatId,
});

const isOf = (seat: TurnSeat | undefined, who: Participant | undefined): boolean =>
  seat !== undefined && who !== undefined && isSame({ user_id: seat.userId, org_id: seat.orgId }, who);
