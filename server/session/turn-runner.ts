/** Does what the machine decided, once it is in the log: model requests, tools, holds. Results go back as inputs. */
import { bodyOf } from '../../protocol/index.js';
import type { ModelEvent } from '../core/model-stream.js';
import type { Effect, PlannedRequest, RequestKey } from '../core/transition.js';
import type { Input, Step } from '../core/turn-machine.js';
import { type Clock, pause } from '../ports/clock.js';
import type { Hold } from '../ports/ledger.js';
import type { Logger } from '../ports/logger.js';
import type { Metrics } from '../ports/metrics.js';
import type { Model, ModelRequest } from '../ports/model.js';
import type { ToolRunner } from '../ports/tool-runner.js';
import type { AdmissionGate } from './admission-gate.js';
import type { BudgetGate, PricedReservation, SpendRequest } from './budget-gate.js';

export interface RunnerDeps {
  readonly sessionId: string;
  readonly model: Model;
  readonly tools: ToolRunner;
  readonly gate: BudgetGate;
  readonly admission: AdmissionGate;
  readonly metrics: Metrics;
  readonly clock: Clock;
  readonly logger: Logger;
  /** Until the store can say who was revoked; undefined where it can, or where that is not waited for any more. */
  readonly whenCurrent: () => Promise<void> | undefined;
  /** How long a turn that has begun waits for a store that is away, in milliseconds. */
  readonly storePatienceMs: number;
  readonly rolesOf: (who: { user_id: string; org_id: string }) => readonly string[];
  /** Into the actor's mailbox. */
  readonly send: (input: Input) => Step | undefined;
}

type ReserveEffect = Extract<Effect, { type: 'reserve' }>;

interface RunningRequest {
  readonly turnId: string;
  readonly abort: AbortController;
  /** Resolves when the upstream connection is closed. */
  readonly done: Promise<void>;
}

/** How often a turn that waits for the stores of budgets and seats asks them. */
const STORE_RETRY_MS = 200;

export class TurnRunner {
  readonly #deps: RunnerDeps;
  readonly #tools = new Map<string, AbortController>();
  #request: RunningRequest | undefined;
  #closing: Promise<void> | undefined;
  /** Resolves when what the model said and is held back has been taken. */
  #held: Promise<void> | undefined;
  #isStopped = false;

  constructor(deps: RunnerDeps) {
    this.#deps = deps;
  }

  /** Begins each effect, in order. */
  perform(effects: readonly Effect[]): void {
    for (const effect of effects) this.#begin(effect);
  }

  /** Until the connections of all aborted requests are closed: no reply goes out before that (CAN-2). */
  get closing(): Promise<void> | undefined {
    return this.#closing;
  }

  /** Keeps a hold that was granted before its turn had a name, for the request that `key` names. */
  keepHold(key: RequestKey, hold: Hold): void {
    this.#deps.gate.keep(key, hold);
  }

  release(hold: Hold): void {
    this.#deps.gate.release(hold);
  }

  reserve(request: SpendRequest): Promise<PricedReservation> {
    return this.#deps.gate.reserve(request);
  }

  /** Ends all work at once: the actor is gone, and nothing that comes back would be taken (NODE-3). */
  async stop(): Promise<void> {
    this.#isStopped = true;
    for (const abort of this.#tools.values()) abort.abort();
    this.#request?.abort.abort();
    await Promise.all([this.#request?.done, this.#closing]);
  }

  #abort(request: RunningRequest): void {
    request.abort.abort();
    const closing = Promise.all([this.#closing, request.done]).then(() => {
      if (this.#closing === closing) this.#closing = undefined;
    });
    this.#closing = closing;
  }

  #begin(effect: Effect): void {
    switch (effect.type) {
      case 'reserve':
        void this.#reserve(effect);
        break;
      case 'request_model':
        this.#requestModel(effect.request);
        break;
      case 'abort_model':
        if (this.#request?.turnId === effect.turnId) this.#abort(this.#request);
        break;
      case 'settle':
        void this.#settle(effect);
        break;
      case 'run_tool':
        void this.#runTool(effect);
        break;
      case 'abort_tool':
        this.#tools.get(effect.toolUseId)?.abort();
        break;
    }
  }

  async #reserve(effect: ReserveEffect): Promise<void> {
    const { send } = this.#deps;
    const { key } = effect;
    const reservation = await this.#reserveInTime(effect);
    if (!reservation.granted) {
      send({ type: 'refused', key, error: reservation.error });
      return;
    }
    this.keepHold(key, reservation.hold);
    const step = send({ type: 'admitted', key, pricedAt: reservation.hold.pricedAt });
    // Nobody waited for it any more.
    const isUsed = step?.effects.some((e) => e.type === 'request_model' && isSameKey(e.request.key, key));
    if (!isUsed) this.#deps.gate.giveBack(key);
  }

  /** A turn that has begun waits a while for a store that is away. */
  async #reserveInTime(effect: ReserveEffect): Promise<PricedReservation> {
    const { clock, storePatienceMs } = this.#deps;
    const until = clock.now() + storePatienceMs;
    for (;;) {
      const reservation = await this.#tryReserve(effect);
      const isAway = !reservation.granted && reservation.error.code === 'store_unavailable';
      if (!isAway || this.#isStopped || clock.now() >= until) return reservation;
      await pause(clock, STORE_RETRY_MS);
    }
  }

  async #tryReserve({ type, key, payer, toRequest, ...asked }: ReserveEffect): Promise<PricedReservation> {
    const { sessionId, rolesOf, admission } = this.#deps;
    try {
      await admission.seatFor(key.turnId, payer, sessionId);
    } catch (thrown) {
      return { granted: false, error: bodyOf(thrown) };
    }
    return this.reserve({
      userId: payer.user_id,
      orgId: payer.org_id,
      roles: rolesOf(payer),
      sessionId,
      ...key,
      ...asked,
      toRequest: () => toModelRequest(sessionId, toRequest()),
    });
  }

  #requestModel(planned: PlannedRequest): void {
    const { model, sessionId, clock, metrics } = this.#deps;
    const { key, model: modelName } = planned;
    const abort = new AbortController();
    const startedAt = clock.now();
    let isSilent = true;
    const onEvents: Parameters<Model['stream']>[1] = (events) => {
      if (isSilent && events.some(({ type }) => CONTENT.has(type))) {
        isSilent = false;
        metrics.firstContent(modelName, Math.max(0, clock.now() - startedAt));
      }
      this.#deliver({ type: 'model_events', key, events }, events.some(endsBlock) ? 'decides' : 'tells');
    };
    const done = model.stream(toModelRequest(sessionId, planned), onEvents, abort.signal).then((end) => {
      if (this.#request?.abort === abort) this.#request = undefined;
      this.#deliver({ type: 'model_ended', key, end }, 'decides');
    });
    this.#request = { turnId: key.turnId, abort, done };
  }

  /** What may let a tool begin waits until it is known who was revoked, and what follows waits behind it. */
  #deliver(input: Input, effect: 'tells' | 'decides'): void {
    const { send, whenCurrent } = this.#deps;
    const before = this.#held ?? (effect === 'decides' ? whenCurrent() : undefined);
    if (!before) {
      send(input);
      return;
    }
    const after = before.then(() => {
      if (this.#held === after) this.#held = undefined;
      send(input);
    });
    this.#held = after;
  }

  async #settle({ key, usage, estimated, costNanoUsd }: Extract<Effect, { type: 'settle' }>): Promise<void> {
    const warnings = await this.#deps.gate.settle(key, { usage, estimated, costNanoUsd });
    if (warnings.length > 0) this.#deps.send({ type: 'budget_warned', warnings });
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

/** A client's tool is offered as soon as its own block is complete (TOOL-4). */
const endsBlock = ({ type }: ModelEvent): boolean => type === 'block_stop';

/** What a user may see of an answer. */
const CONTENT: ReadonlySet<string> = new Set<ModelEvent['type']>(['text', 'thinking', 'input_json']);

export const toModelRequest = (sessionId: string, { key, ...request }: PlannedRequest): ModelRequest => ({
  ...request,
  ...key,
  sessionId,
});

const isSameKey = (a: RequestKey, b: RequestKey): boolean =>
  a.turnId === b.turnId && a.step === b.step && a.attempt === b.attempt;
