/**
 * Where users' commands enter a session: in order (CMD-5), once per id (CMD-2), paid for before they start a turn
 * (BUD-3), and several of them all or none.
 */
import { MidstreamError, type SessionCommand, type ToolsRegister, type ToolsUnregister } from '../../protocol/index.js';
import type { LogRecord } from '../core/log-record.js';
import type { SessionState } from '../core/session-state.js';
import type { Effect, StepContext } from '../core/transition.js';
import { step } from '../core/turn-machine.js';
import type { FirstHold } from '../core/turn-start.js';
import type { Clock } from '../ports/clock.js';
import type { CommandAnswer } from '../ports/event-log.js';
import type { Logger } from '../ports/logger.js';
import type { Metrics } from '../ports/metrics.js';
import type { Admission, AdmissionGate } from './admission-gate.js';
import { type Carried, echoOf, type Fate, toAnswer, toTwin } from './command-fates.js';
import { type CommandMemory, toBodyHash } from './command-memory.js';
import { isDenial } from './denials.js';
import { FirstHolds } from './first-hold.js';
import type { HoldWait } from './hold-wait.js';
import { Refused, toAccepted, toRefusal, toSender } from './replies.js';
import type { Accepted, Caller } from './session-api.js';
import type { TurnRunner } from './turn-runner.js';

/** What one or more steps came to. */
export interface Outcome {
  readonly state: SessionState;
  readonly records: readonly LogRecord[];
  readonly effects: readonly Effect[];
  readonly answers: readonly CommandAnswer[];
  /** Of the request that asked for it; for the audit. */
  readonly requestId?: string;
}

export interface DeskDeps {
  readonly memory: CommandMemory;
  readonly runner: TurnRunner;
  readonly admission: AdmissionGate;
  readonly metrics: Metrics;
  readonly clock: Clock;
  readonly logger: Logger;
  readonly context: () => StepContext;
  /** The state now; throws where the actor is dead. */
  readonly state: () => SessionState;
  /** Of an actor that is dead, too. */
  readonly runningTurn: () => string | undefined;
  /** Makes an outcome the state and puts it in the log. Resolves when it took effect. */
  readonly commit: (outcome: Outcome) => Promise<void>;
}

/** What memory says of a command. */
interface Asked {
  /** Taken once: a body may hold megabytes of images. */
  readonly bodyHash: string;
  /** The first answer, where the command is not new. */
  readonly answer: Promise<Accepted> | undefined;
}

interface Stepped {
  readonly outcome: Outcome;
  readonly fates: readonly Fate[];
}

export class CommandDesk {
  readonly #deps: DeskDeps;
  /** Opens when the commands before have been stepped. */
  #turnstile: Promise<unknown> = Promise.resolve();
  readonly #holds: FirstHolds;

  constructor(deps: DeskDeps) {
    this.#deps = deps;
    this.#holds = new FirstHolds(deps);
  }

  /** Rejects with `Refused`, or with what made the store or the machine fail. */
  async carryOut(commands: readonly SessionCommand[], caller: Caller): Promise<readonly Carried[]> {
    const notice = this.#holds.announce(commands);
    try {
      const entered = this.#inOrder(() => this.#enter(commands, caller));
      const { done } = await entered.finally(() => this.#holds.askAgain(notice));
      return await done;
    } catch (error) {
      const cause = error instanceof Refused ? error.cause : undefined;
      if (cause instanceof MidstreamError && isDenial(cause.code)) this.#deps.metrics.denied(cause.code);
      throw error;
    } finally {
      this.#holds.withdraw(notice);
    }
  }

  /** Tools are a connection's, so their commands may be sent again without harm; but they keep their place in the order. */
  async register(command: ToolsRegister | ToolsUnregister, caller: Caller): Promise<Accepted> {
    const { accepted, committed } = await this.#inOrder(async () => {
      const { state, context, commit } = this.#deps;
      const next = step(state(), { type: 'register', command, sender: toSender(caller) }, context());
      if (!next.reply?.ok) throw toRefusal(next.reply);
      return {
        accepted: toAccepted(next.reply),
        committed: commit({ ...next, answers: [], requestId: caller.requestId }),
      };
    });
    await committed;
    return accepted;
  }

  /** Lets `enter` step when everything before it has. */
  #inOrder<T>(enter: () => Promise<T>): Promise<T> {
    const entered = this.#turnstile.then(enter);
    this.#turnstile = entered.catch(() => undefined);
    return entered;
  }

  /** Resolves when the commands were stepped; `done`, when they took effect. */
  async #enter(commands: readonly SessionCommand[], caller: Caller): Promise<{ done: Promise<readonly Carried[]> }> {
    const known = await this.#findKnown(commands, caller);
    const isNew = known.some(({ answer }) => answer === undefined);
    const admission = isNew ? await this.#admit(commands, known, caller) : undefined;
    let wait: HoldWait | undefined;
    let stepped: Stepped;
    try {
      wait = admission?.begins ? await this.#holdFor(commands, known, caller) : undefined;
      const hold = wait?.hold;
      // From the step to the commit nothing may come between.
      stepped = this.#holds.spend(hold, () => this.#stepAll(commands, known, caller, hold ?? 'needed'));
    } catch (error) {
      admission?.giveBack();
      throw error;
    }
    const { outcome, fates } = stepped;
    const effects = wait?.isCut ? wait.withhold(outcome.effects) : outcome.effects;
    const committed = isNew
      ? this.#deps.commit({ ...outcome, effects, requestId: caller.requestId })
      : Promise.resolve();
    admission?.settle();
    const carried = fates.map(async (fate): Promise<Carried> => {
      if (fate instanceof Promise) return { accepted: await fate, echo: undefined };
      await committed;
      return fate;
    });
    fates.forEach((fate, at) => {
      const [command, asked] = [commands[at], known[at]];
      if (command && asked && !(fate instanceof Promise) && !fate.accepted.duplicate)
        this.#remember(command, asked.bodyHash, fate.accepted, committed, caller);
    });
    return { done: Promise.all(carried) };
  }

  /** Counts what may start a turn, and takes what the turn that begins at once needs. */
  #admit(commands: readonly SessionCommand[], known: readonly Asked[], caller: Caller): Promise<Admission> {
    const { admission, context, state } = this.#deps;
    const counted = [...commands.keys()].filter((at) => isCounted(commands, known, at));
    return admission.admit({
      caller,
      sessionId: state().sessionId,
      requests: counted.length,
      onRefused: (error, at) => new Refused(counted[at] ?? 0, error),
      beginsTurn: () => {
        const { turn, queue } = state();
        return (
          counted.some((at) => commands[at]?.type === 'user.message') &&
          !turn &&
          queue.length === 0 &&
          !context().draining
        );
      },
    });
  }

  async #findKnown(commands: readonly SessionCommand[], caller: Caller): Promise<Asked[]> {
    const known: Asked[] = [];
    for (const [at, command] of commands.entries()) {
      try {
        const bodyHash = toBodyHash(command);
        const twin = known[commands.findIndex((earlier) => earlier.id === command.id)];
        if (twin && twin.bodyHash !== bodyHash) throw new MidstreamError('idempotency_conflict');
        const found = await this.#deps.memory.find(caller.principal, command.id, bodyHash);
        known.push({ bodyHash, answer: found && Promise.resolve(found) });
      } catch (error) {
        throw new Refused(at, error);
      }
    }
    return known;
  }

  /** Steps on a state of its own, so that a refusal leaves nothing behind. */
  #stepAll(
    commands: readonly SessionCommand[],
    known: readonly Asked[],
    caller: Caller,
    firstHold: FirstHold,
  ): Stepped {
    const { context, clock } = this.#deps;
    let state = this.#deps.state();
    let hold = firstHold;
    const records: LogRecord[] = [];
    const effects: Effect[] = [];
    const answers: CommandAnswer[] = [];
    const fates: Fate[] = [];
    for (const [at, command] of commands.entries()) {
      const asked = known[at] as Asked;
      const before = asked.answer ?? toTwin(commands, fates, at);
      if (before) {
        fates.push(before);
        continue;
      }
      const sender = toSender(caller);
      const next = step(state, { type: 'command', command, sender, hold }, context());
      if (!next.reply?.ok) throw new Refused(at, toRefusal(next.reply));
      state = next.state;
      if (next.effects.some((effect) => effect.type === 'request_model')) hold = 'needed';
      records.push(...next.records);
      effects.push(...next.effects);
      const accepted = toAccepted(next.reply);
      answers.push(toAnswer(state.sessionId, command, asked.bodyHash, caller, accepted, clock.now()));
      fates.push({ accepted, echo: echoOf(next.records, accepted.applied_at_seq) });
    }
    return { outcome: { state, records, effects, answers }, fates };
  }

  #remember(
    command: SessionCommand,
    bodyHash: string,
    accepted: Accepted,
    committed: Promise<void>,
    caller: Caller,
  ): void {
    const { memory, logger } = this.#deps;
    const answer = committed.then(() => accepted);
    memory.remember(caller.principal, command.id, { bodyHash, answer });
    const { turn_id } = accepted.result;
    const { requestId: request_id, principal } = caller;
    logger.info('command accepted', { request_id, command: command.type, turn_id, user_id: principal.user_id });
  }

  /** Where a message would start a turn, its first request is paid for before it is accepted. */
  async #holdFor(
    commands: readonly SessionCommand[],
    known: readonly Asked[],
    caller: Caller,
  ): Promise<HoldWait | undefined> {
    const { state, context, clock } = this.#deps;
    const at = commands.findIndex(({ type }, index) => type === 'user.message' && !known[index]?.answer);
    const message = commands[at];
    const { turn, queue } = state();
    if (message?.type !== 'user.message' || turn || queue.length > 0 || context().draining) return undefined;
    const tryOut = () => this.#stepAll(commands, known, caller, { pricedAt: clock.now() }).outcome.effects;
    try {
      return await this.#holds.take({ message, caller, tryOut });
    } catch (error) {
      throw error instanceof MidstreamError ? new Refused(at, error) : error;
    }
  }
}

/** Each message counts, and each steer, for it may become a turn of its own; sent again, it doesn't count again. */
function isCounted(commands: readonly SessionCommand[], known: readonly Asked[], at: number): boolean {
  const command = commands[at];
  if (command?.type !== 'user.message' && command?.type !== 'user.steer') return false;
  return !known[at]?.answer && commands.findIndex(({ id }) => id === command.id) === at;
}
