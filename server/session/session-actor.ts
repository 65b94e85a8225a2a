/**
 * The only writer of one session's log. It steps the machine, appends what came of it, and when that is in the log
 * shows it, acts on it and replies.
 */
import { MidstreamError, type ToolsRegister, type ToolsUnregister, type TurnCommand } from '../../protocol/index.js';
import { nextWakeAt } from '../core/clock-input.js';
import type { LogRecord } from '../core/log-record.js';
import type { SessionState } from '../core/session-state.js';
import { toSession } from '../core/snapshot.js';
import type { Effect, Reply, Sender, StepContext } from '../core/transition.js';
import { type Input, type Step, step } from '../core/turn-machine.js';
import type { Clock, Timer } from '../ports/clock.js';
import type { CommandAnswer, EventLog, RowChange } from '../ports/event-log.js';
import type { Hold } from '../ports/ledger.js';
import type { Logger } from '../ports/logger.js';
import { type CommandMemory, toBodyHash } from './command-memory.js';
import type { Accepted, Caller } from './session-api.js';
import type { SessionFeed } from './session-feed.js';
import type { TurnRunner } from './turn-runner.js';

export interface ActorDeps {
  readonly log: EventLog;
  readonly clock: Clock;
  readonly logger: Logger;
  readonly memory: CommandMemory;
  readonly feed: SessionFeed;
  /** The lease's fencing token. */
  readonly token: string;
  readonly createRunner: (send: (input: Input) => Step | undefined) => TurnRunner;
  readonly context: () => StepContext;
  /** The log refused an append: the actor is dead, and the next one starts from the log. */
  readonly onFail: () => void;
}

/** What one or more steps came to. */
interface Outcome {
  readonly records: readonly LogRecord[];
  readonly effects: readonly Effect[];
  readonly answers: readonly CommandAnswer[];
}

export interface Carried {
  readonly accepted: Accepted;
  /** The logged echo, where this call logged it. */
  readonly echo: string | undefined;
}

export class SessionActor {
  readonly feed: SessionFeed;
  readonly #deps: ActorDeps;
  readonly #runner: TurnRunner;
  #state: SessionState;
  #timer: Timer | undefined;
  #wakeAt: number | undefined;
  /** The seq before the blocks that are still open; their deltas are kept (LOG-5). */
  #openSince: number | undefined;
  #flushed: Promise<unknown> = Promise.resolve();
  /** Opens when the commands before have been stepped (CMD-5). */
  #turnstile: Promise<unknown> = Promise.resolve();
  #isDead = false;

  constructor(deps: ActorDeps, state: SessionState) {
    this.#deps = deps;
    this.feed = deps.feed;
    this.#state = state;
    this.#runner = deps.createRunner((input) => this.send(input));
  }

  get state(): SessionState {
    return this.#state;
  }

  get isDead(): boolean {
    return this.#isDead;
  }

  /** Resolves when all that the state holds now is in the log. */
  async flushed(): Promise<void> {
    await this.#flushed;
  }

  /** Takes an input that is no user's command. Undefined where the actor is dead. */
  send(input: Input): Step | undefined {
    if (this.#isDead) return undefined;
    const before = this.#state;
    const next = step(before, input, this.#deps.context());
    this.#state = next.state;
    void this.#commit(before, { ...next, answers: [] }).catch(ignore);
    return next;
  }

  register(command: ToolsRegister | ToolsUnregister, caller: Caller): Accepted {
    const reply = this.send({ type: 'register', command, sender: toSender(caller) })?.reply;
    if (!reply) throw unavailable();
    return toAccepted(reply);
  }

  /** Carries out commands, in the order of the calls, all or none. Resolves when they took effect. */
  async command(commands: readonly TurnCommand[], caller: Caller): Promise<readonly Carried[]> {
    const entered = this.#turnstile.then(() => this.#enter(commands, caller));
    this.#turnstile = entered.catch(ignore);
    const { done } = await entered;
    return done;
  }

  /** Ends all work without touching the log. */
  async stop(): Promise<void> {
    this.#isDead = true;
    this.#timer?.cancel();
    await this.#runner.stop();
  }

  /** Resolves when the commands were stepped; `done`, when they took effect. */
  async #enter(commands: readonly TurnCommand[], caller: Caller): Promise<{ done: Promise<readonly Carried[]> }> {
    const { memory } = this.#deps;
    const known: (Promise<Accepted> | undefined)[] = [];
    for (const command of commands) {
      const found = await memory.find(caller.principal, command.id, toBodyHash(command));
      known.push(found && Promise.resolve(found));
    }
    const fresh = commands.filter((_, at) => known[at] === undefined);
    if (fresh.length === 0) return { done: toCarried(known as Promise<Accepted>[]) };
    const hold = await this.#holdFor(fresh, caller);
    if (this.#isDead) throw unavailable();
    const before = this.#state;
    const { outcome, fates } = this.#stepAll(commands, known, caller, hold);
    const committed = this.#commit(before, outcome);
    const answers = fates.map(async (fate): Promise<Carried> => {
      if (fate instanceof Promise) return { accepted: await fate, echo: undefined };
      await committed;
      return fate;
    });
    fates.forEach((fate, at) => {
      const command = commands[at];
      if (!command || fate instanceof Promise) return;
      const answer = committed.then(() => fate.accepted);
      memory.remember(caller.principal, command.id, { bodyHash: toBodyHash(command), answer });
    });
    return { done: Promise.all(answers) };
  }

  /** Steps on a state of its own, so that a refusal leaves nothing behind. */
  #stepAll(
    commands: readonly TurnCommand[],
    known: readonly (Promise<Accepted> | undefined)[],
    caller: Caller,
    hold: Hold | undefined,
  ): { outcome: Outcome; fates: (Carried | Promise<Accepted>)[] } {
    const { context, clock } = this.#deps;
    const sender = toSender(caller);
    let state = this.#state;
    const records: LogRecord[] = [];
    const effects: Effect[] = [];
    const answers: CommandAnswer[] = [];
    const fates = commands.map((command, at) => {
      const before = known[at];
      if (before) return before;
      const input = { type: 'command', command, sender, hold: hold ? 'held' : 'needed' } as const;
      const next = step(state, input, context());
      if (!next.reply?.ok) {
        if (hold) this.#runner.release(hold);
        throw toRefusal(next.reply, commands.length > 1 ? at : undefined);
      }
      state = next.state;
      records.push(...next.records);
      effects.push(...next.effects);
      const accepted = toAccepted(next.reply);
      answers.push(toAnswer(this.#state.sessionId, command, caller, accepted, clock.now()));
      return { accepted, echo: echoOf(next.records, accepted.applied_at_seq) };
    });
    this.#useHold(hold, effects);
    this.#state = state;
    return { outcome: { records, effects, answers }, fates };
  }

  /** Where a message would start a turn, its first request is paid for before it is accepted (BUD-3). */
  async #holdFor(commands: readonly TurnCommand[], caller: Caller): Promise<Hold | undefined> {
    const message = commands.find((command) => command.type === 'user.message');
    const { turn, queue, agent, sessionId } = this.#state;
    if (!message || turn || queue.length > 0 || this.#deps.context().draining) return undefined;
    const { user_id: userId, org_id: orgId, roles } = caller.principal;
    const reservation = await this.#runner.reserve({
      userId,
      orgId,
      roles,
      sessionId,
      turnId: '',
      step: 1,
      attempt: 1,
      model: message.model ?? agent.model,
      inputTokens: 0,
      outputTokens: message.max_tokens ?? agent.max_tokens,
      tags: message.tags ?? [],
    });
    if (reservation.granted) return reservation.hold;
    const { code, message: text, retry_after_ms: retryAfterMs, details } = reservation.error;
    throw new MidstreamError(code, text, { retryAfterMs, details });
  }

  #useHold(hold: Hold | undefined, effects: readonly Effect[]): void {
    if (!hold) return;
    const begun = effects.find((effect) => effect.type === 'request_model');
    if (begun) this.#runner.keepHold(begun.request.key, hold);
    else this.#runner.release(hold);
  }

  /** Append first; then show, then act. Resolves when the effects that a reply waits for are over. */
  #commit(before: SessionState, { records, effects, answers }: Outcome): Promise<void> {
    this.#armTimer(before);
    const openSince = this.#trackOpen(before);
    if (records.length === 0 && answers.length === 0) {
      if (effects.length === 0) return DONE;
      return this.#flushed.then(() => this.#act([], effects, undefined)).catch(ignore);
    }
    const { log, token } = this.#deps;
    const row = toRowChange(before, this.#state);
    const append = { sessionId: this.#state.sessionId, token, records, answers, ...(row && { row }) };
    const appended = log.append(append);
    this.#flushed = appended.catch(ignore);
    return appended.then(
      () => this.#act(records, effects, openSince),
      (error: unknown) => this.#fail(error),
    );
  }

  #act(
    records: readonly LogRecord[],
    effects: readonly Effect[],
    openSince: number | undefined,
  ): Promise<void> | undefined {
    if (this.#isDead) return undefined;
    if (records.length > 0) this.feed.publish(records, openSince);
    return effects.length > 0 ? this.#runner.perform(effects) : undefined;
  }

  #trackOpen(before: SessionState): number | undefined {
    const isOpen = (this.#state.turn?.open.length ?? 0) > 0;
    if (isOpen) this.#openSince ??= before.seq;
    else if (this.#openSince !== undefined) {
      this.#openSince = undefined;
      this.#deps.log.trimDeltas(this.#state.sessionId, this.#state.seq);
    }
    return this.#openSince;
  }

  #armTimer(before: SessionState): void {
    const { turn, registrations } = this.#state;
    const was = before.turn;
    const isSame =
      turn?.calls === was?.calls &&
      turn?.phase === was?.phase &&
      turn?.deadlineAt === was?.deadlineAt &&
      registrations === before.registrations;
    const wakeAt = isSame ? this.#wakeAt : nextWakeAt(this.#state);
    if (wakeAt === this.#wakeAt) return;
    this.#setTimer(wakeAt);
  }

  #setTimer(wakeAt: number | undefined): void {
    this.#timer?.cancel();
    this.#wakeAt = wakeAt;
    if (wakeAt === undefined) return;
    const { clock } = this.#deps;
    this.#timer = clock.schedule(Math.max(0, wakeAt - clock.now()), () => {
      this.#wakeAt = undefined;
      const next = this.send({ type: 'tick' });
      // A timer that fired early finds nothing to do yet.
      if (next && next.records.length === 0 && this.#wakeAt === undefined) this.#setTimer(nextWakeAt(this.#state));
    });
  }

  #fail(error: unknown): never {
    const { logger, onFail } = this.#deps;
    if (!this.#isDead) {
      logger.error('the log refused an append; the session starts again from its log', { error });
      void this.stop();
      this.feed.end('failed');
      onFail();
    }
    throw unavailable();
  }
}

const DONE = Promise.resolve();
const ignore = (): void => undefined;

const unavailable = (): MidstreamError =>
  new MidstreamError('store_unavailable', undefined, { details: { outcome: 'unknown' } });

const toSender = ({ principal, connectionId }: Caller): Sender => ({ principal, connectionId });

function toAccepted(reply: Reply): Accepted {
  if (!reply.ok) throw toRefusal(reply, undefined);
  return { applied_at_seq: reply.appliedAtSeq, result: reply.result };
}

function toRefusal(reply: Reply | undefined, index: number | undefined): MidstreamError {
  if (!reply || reply.ok) return unavailable();
  const { code, message, retry_after_ms: retryAfterMs, details } = reply.error;
  return new MidstreamError(code, message, {
    retryAfterMs,
    details: index === undefined ? details : { ...details, index },
  });
}

const toCarried = (answers: readonly Promise<Accepted>[]): Promise<readonly Carried[]> =>
  Promise.all(answers.map(async (answer) => ({ accepted: await answer, echo: undefined })));

function toAnswer(
  sessionId: string,
  command: TurnCommand,
  caller: Caller,
  accepted: Accepted,
  acceptedAt: number,
): CommandAnswer {
  const { user_id: userId, org_id: orgId } = caller.principal;
  return {
    sessionId,
    userId,
    orgId,
    commandId: command.id,
    bodyHash: toBodyHash(command),
    appliedAtSeq: accepted.applied_at_seq,
    result: accepted.result,
    acceptedAt,
  };
}

function echoOf(records: readonly LogRecord[], seq: number | undefined): string | undefined {
  const record = records.find((r) => r.seq === seq);
  return record?.kind === 'event' ? record.json : undefined;
}

const isUnfinished = (state: SessionState): boolean => state.turn !== undefined || state.queue.length > 0;

/** The row follows the log where somebody looks for it: status, what is unfinished, usage. */
function toRowChange(before: SessionState, after: SessionState): RowChange | undefined {
  const unfinished = isUnfinished(after);
  const isSame =
    before.running === after.running &&
    isUnfinished(before) === unfinished &&
    before.ended.length === after.ended.length;
  if (isSame) return undefined;
  const status = after.running ? 'running' : 'idle';
  return { status, unfinished, updatedAt: after.updatedAt, json: JSON.stringify(toSession(after)) };
}
