/**
 * What a turn needs before it may begin, in this order: one of the user's requests of this minute, a place on this node,
 * one of the user's seats, and the budget of its first request. Who is refused at one of them keeps what was taken before.
 */
import { MidstreamError } from '../../protocol/index.js';
import type { Participant, SessionState } from '../core/session-state.js';
import { RateDesk, type RateDeskDeps } from './rate-desk.js';
import { SeatDesk, type SeatDeskDeps } from './seat-desk.js';
import type { Caller } from './session-api.js';
import { type PlacesDeps, TurnPlaces } from './turn-places.js';

export interface AdmissionDeps {
  readonly rates: RateDeskDeps;
  readonly seats: SeatDeskDeps;
  readonly places: PlacesDeps;
}

export interface AdmissionRequest {
  readonly caller: Caller;
  readonly sessionId: string;
  /** How many commands count. */
  readonly requests: number;
  /** Makes the error of the counted command that is one too many. */
  readonly onRefused: (error: MidstreamError, at: number) => unknown;
  /** Whether a turn would begin at once. Asked when what counts was counted. */
  readonly beginsTurn: () => boolean;
}

/** What was taken for commands that are not yet accepted. */
export interface Admission {
  /** False where the turn has to wait for a place, or where none begins. */
  readonly begins: boolean;
  /** They were refused: nothing counts. */
  giveBack(): void;
  /** They were accepted; what no turn uses is given back. */
  settle(): void;
}

export class AdmissionGate {
  readonly rates: RateDesk;
  readonly places: TurnPlaces;
  readonly #seats: SeatDesk;

  constructor({ rates, seats, places }: AdmissionDeps) {
    this.rates = new RateDesk(rates);
    this.places = new TurnPlaces(places);
    this.#seats = new SeatDesk(seats);
  }

  async admit({ caller, sessionId, requests, onRefused, beginsTurn }: AdmissionRequest): Promise<Admission> {
    const counted = await this.rates.count(caller, requests, onRefused);
    let begins = false;
    const settle = (): void => {
      if (!begins) return;
      this.places.giveBack(sessionId);
      this.#seats.giveBack(sessionId);
    };
    const giveBack = (): void => {
      settle();
      counted.giveBack();
    };
    try {
      begins = beginsTurn() && this.places.keepFor(sessionId);
      const { user_id, org_id } = caller.principal;
      if (begins) await this.#seats.take({ user_id, org_id }, sessionId);
    } catch (error) {
      giveBack();
      throw error instanceof MidstreamError ? onRefused(error, 0) : error;
    }
    return { begins, giveBack, settle };
  }

  /** For a turn that began when its time came: its seat. Rejects with `MidstreamError`. */
  seatFor(turnId: string, payer: Participant, sessionId: string): Promise<void> {
    return this.#seats.takeFor({ turnId, payer }, sessionId);
  }

  /** A session was opened, perhaps with a turn in the middle. */
  opened(state: SessionState): void {
    this.#follow(state);
    this.#seats.resume(state);
  }

  /** Costs a delta two comparisons. */
  changed(before: SessionState, after: SessionState): void {
    const isSameTurn = before.turn?.turnId === after.turn?.turnId && before.turn?.phase === after.turn?.phase;
    if (!isSameTurn || before.queue !== after.queue || before.deleted !== after.deleted) this.#follow(after);
  }

  /** The session has no actor any more. */
  gone(sessionId: string): void {
    this.places.gone(sessionId);
    this.#seats.gone(sessionId);
  }

  close(): void {
    this.#seats.close();
  }

  #follow(state: SessionState): void {
    this.#seats.follow(state);
    this.places.follow(state);
  }
}
