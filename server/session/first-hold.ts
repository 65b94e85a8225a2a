/** What a turn's first request needs of the budget, held before its message is accepted (BUD-3) unless it is interrupted (CAN-1). */
import type { SessionCommand, UserMessage } from '../../protocol/index.js';
import type { SessionState } from '../core/session-state.js';
import { boundFirstInputTokens } from '../core/token-estimate.js';
import type { Effect, StepContext } from '../core/transition.js';
import type { ModelRequest } from '../ports/model.js';
import type { PricedHold } from './budget-gate.js';
import { type HoldWait, HoldWaits, type Notice } from './hold-wait.js';
import { toRefusal } from './replies.js';
import type { Caller } from './session-api.js';
import { type TurnRunner, toModelRequest } from './turn-runner.js';

export interface FirstHoldDeps {
  readonly runner: TurnRunner;
  readonly context: () => StepContext;
  /** The state now; throws where the actor is dead. */
  readonly state: () => SessionState;
  /** Of an actor that is dead, too. */
  readonly runningTurn: () => string | undefined;
}

/** What is paid for. */
export interface FirstRequest {
  readonly message: UserMessage;
  readonly caller: Caller;
  /** The effects that the message would have; throws where it would be refused. */
  readonly tryOut: () => readonly Effect[];
}

export class FirstHolds {
  readonly #deps: FirstHoldDeps;
  readonly #waits = new HoldWaits();

  constructor(deps: FirstHoldDeps) {
    this.#deps = deps;
  }

  /** To be told before the commands have their turn; `withdraw` follows when they had it. */
  announce(commands: readonly SessionCommand[]): Notice {
    return this.#waits.announce(commands);
  }

  withdraw(notice: Notice): void {
    this.#waits.withdraw(notice);
  }

  /** The interrupt was refused, or met another turn: the message that was cut short for it pays as a queued one does. */
  askAgain({ wait }: Notice): void {
    if (!wait) return;
    const { runner, runningTurn } = this.#deps;
    const effects = wait.withheld.splice(0);
    if (wait.turnId !== undefined && runningTurn() === wait.turnId) runner.perform(effects);
  }

  /** Resolves when the hold is there, or when nobody waits for it any more. Rejects with the refusal. */
  async take({ message, caller, tryOut }: FirstRequest): Promise<HoldWait> {
    const { state, context, runner } = this.#deps;
    const { agent, sessionId } = state();
    const { user_id: userId, org_id: orgId } = caller.principal;
    const wait = this.#waits.begin(message.id);
    if (wait.isCut) return wait;
    const reserving = runner.reserve({
      userId,
      orgId,
      roles: context().rolesOf(caller.principal),
      sessionId,
      turnId: '',
      step: 1,
      attempt: 1,
      model: message.model ?? agent.model,
      input: boundFirstInputTokens(state(), message.content, context().serverTools),
      outputTokens: message.max_tokens ?? agent.max_tokens,
      tags: message.tags ?? [],
      toRequest: () => toFirstRequest(sessionId, tryOut),
    });
    const reservation = await this.#waits.wait(wait, reserving);
    if (!reservation) {
      // Nobody needs it any more.
      void reserving.then((late) => late.granted && runner.release(late.hold));
      return wait;
    }
    if (!reservation.granted) throw toRefusal({ ok: false, error: reservation.error });
    wait.hold = reservation.hold;
    return wait;
  }

  /** Steps, and gives the hold to the request that was begun with it, or gives it back. */
  spend<T extends { readonly outcome: { readonly effects: readonly Effect[] } }>(
    hold: PricedHold | undefined,
    stepAll: () => T,
  ): T {
    const { runner } = this.#deps;
    let isUsed = false;
    try {
      const stepped = stepAll();
      const begun = hold && stepped.outcome.effects.find((effect) => effect.type === 'request_model');
      if (begun) runner.keepHold(begun.request.key, hold);
      isUsed = begun !== undefined;
      return stepped;
    } finally {
      if (hold && !isUsed) runner.release(hold);
    }
  }
}

/** Found by a trial of the commands; undefined where they begin none. */
function toFirstRequest(sessionId: string, tryOut: FirstRequest['tryOut']): ModelRequest | undefined {
  try {
    const begun = tryOut().find((effect) => effect.type === 'request_model');
    return begun && toModelRequest(sessionId, begun.request);
  } catch {
    // What is wrong will be wrong again, in earnest.
    return undefined;
  }
}
