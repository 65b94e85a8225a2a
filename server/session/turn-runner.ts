/** Does what the machine decided, once it is in the log: model requests, tools, holds. Results go back as inputs. */

import { NO_USAGE, toErrorBody } from '../../protocol/index.js';
import type { Effect, PlannedRequest, RequestKey } from '../core/transition.js';
import type { Input, Step } from '../core/turn-machine.js';
import type { Hold, HoldRequest, Ledger, Reservation } from '../ports/ledger.js';
import type { Logger } from '../ports/logger.js';
import type { Model } from '../ports/model.js';
import type { ToolRunner } from '../ports/tool-runner.js';

export interface RunnerDeps {
  readonly sessionId: string;
  readonly model: Model;
  readonly tools: ToolRunner;
  readonly ledger: Ledger;
  /** Holds of running requests, by request; shared, so that the next actor of a session settles what this one held. */
  readonly holds: Map<string, Hold>;
  readonly logger: Logger;
  readonly rolesOf: (who: { user_id: string; org_id: string }) => readonly string[];
  /** Into the actor's mailbox. */
  readonly send: (input: Input) => Step | undefined;
}

interface RunningRequest {
  readonly turnId: string;
  readonly abort: AbortController;
  /** Resolves when the upstream connection is closed. */
  readonly done: Promise<void>;
}

export class TurnRunner {
  readonly #deps: RunnerDeps;
  readonly #tools = new Map<string, AbortController>();
  #request: RunningRequest | undefined;
  #closing: Promise<void> | undefined;

  constructor(deps: RunnerDeps) {
    this.#deps = deps;
  }

  /** Begins each effect, in order. Returns a promise only where something must be over before the reply (CAN-2). */
  perform(effects: readonly Effect[]): Promise<void> | undefined {
    let over: Promise<void>[] | undefined;
    for (const effect of effects) {
      const done = this.#begin(effect);
      if (done) {
        over ??= [];
        over.push(done);
      }
    }
    return over && Promise.all(over).then(() => undefined);
  }

  /** While an aborted request's connection is being closed: no reply may say before that it is (CAN-2). */
  get closing(): Promise<void> | undefined {
    return this.#closing;
  }

  /** Keeps a hold that was granted before its turn had a name, for the request that `key` names. */
  keepHold(key: RequestKey, hold: Hold): void {
    this.#deps.holds.set(toText(key), hold);
  }

  release(hold: Hold): void {
    void this.#deps.ledger.settle(hold, { usage: NO_USAGE, estimated: false, costNanoUsd: 0 });
  }

  /** Never rejects: a ledger that can't be reached refuses (nothing is spent on credit). */
  async reserve(request: HoldRequest): Promise<Reservation> {
    try {
      return await this.#deps.ledger.reserve(request);
    } catch (error) {
      this.#deps.logger.error('the ledger did not answer', { error });
      return { granted: false, error: toErrorBody('store_unavailable') };
    }
  }

  /** Ends all work at once: the actor is gone, and nothing that comes back would be taken (NODE-3). */
  async stop(): Promise<void> {
    for (const abort of this.#tools.values()) abort.abort();
    this.#request?.abort.abort();
    await this.#request?.done;
  }

  #close(done: Promise<void>): Promise<void> {
    const closing = done.finally(() => {
      if (this.#closing === closing) this.#closing = undefined;
    });
    this.#closing = closing;
    return closing;
  }

  #begin(effect: Effect): Promise<void> | undefined {
    switch (effect.type) {
      case 'reserve':
        void this.#reserve(effect);
        return undefined;
      case 'request_model':
        this.#requestModel(effect.request);
        return undefined;
      case 'abort_model':
        if (this.#request?.turnId !== effect.turnId) return undefined;
        this.#request.abort.abort();
        return this.#close(this.#request.done);
      case 'settle':
        this.#settle(effect);
        return undefined;
      case 'run_tool':
        void this.#runTool(effect);
        return undefined;
      case 'abort_tool':
        this.#tools.get(effect.toolUseId)?.abort();
        return undefined;
    }
  }

  async #reserve({ type, key, payer, ...asked }: Extract<Effect, { type: 'reserve' }>): Promise<void> {
    const { send, sessionId, rolesOf } = this.#deps;
    const reservation = await this.reserve({
      userId: payer.user_id,
      orgId: payer.org_id,
      roles: rolesOf(payer),
      sessionId,
      ...key,
      ...asked,
    });
    if (!reservation.granted) {
      send({ type: 'refused', key, error: reservation.error });
      return;
    }
    this.keepHold(key, reservation.hold);
    const step = send({ type: 'admitted', key });
    // Nobody waited for it any more.
    const isUsed = step?.effects.some((e) => e.type === 'request_model' && toText(e.request.key) === toText(key));
    if (!isUsed && this.#deps.holds.get(toText(key)) === reservation.hold) {
      this.#deps.holds.delete(toText(key));
      this.release(reservation.hold);
    }
  }

  #requestModel({ key, ...request }: PlannedRequest): void {
    const { model, send, sessionId } = this.#deps;
    const abort = new AbortController();
    const onEvents: Parameters<Model['stream']>[1] = (events) => void send({ type: 'model_events', key, events });
    const done = model.stream({ ...request, ...key, sessionId }, onEvents, abort.signal).then((end) => {
      if (this.#request?.abort === abort) this.#request = undefined;
      send({ type: 'model_ended', key, end });
    });
    this.#request = { turnId: key.turnId, abort, done };
  }

  #settle({ key, usage, estimated, costNanoUsd }: Extract<Effect, { type: 'settle' }>): void {
    const hold = this.#deps.holds.get(toText(key));
    if (!hold) return;
    this.#deps.holds.delete(toText(key));
    void this.#deps.ledger.settle(hold, { usage, estimated, costNanoUsd });
  }

  async #runTool({ toolUseId, name, input, turnId, userId }: Extract<Effect, { type: 'run_tool' }>): Promise<void> {
    const { tools, send, sessionId } = this.#deps;
    const abort = new AbortController();
    this.#tools.set(toolUseId, abort);
    const call = { tool_use_id: toolUseId, name, input, session_id: sessionId, turn_id: turnId, user_id: userId };
    const answer = await tools.run(call, {
      signal: abort.signal,
      progress: (update) => void send({ type: 'tool_progress', toolUseId, ...update }),
    });
    this.#tools.delete(toolUseId);
    send({ type: 'tool_ended', toolUseId, result: answer });
  }
}

const toText = ({ turnId, step, attempt }: RequestKey): string => `${turnId}/${step}/${attempt}`;
