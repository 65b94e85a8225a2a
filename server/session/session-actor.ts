/**
 * The only writer of one session's log. It steps the machine, appends what came of it, and when that is in the log
 * shows it, acts on it and replies.
 */
import type {
  EventOf,
  Principal,
  SessionCommand,
  ToolsRegister,
  ToolsUnregister,
  TurnCommand,
} from '../../protocol/index.js';
import type { LogRecord } from '../core/log-record.js';
import type { SessionState } from '../core/session-state.js';
import { toSession } from '../core/snapshot.js';
import type { Effect, StepContext } from '../core/transition.js';
import { type Input, type Step, step } from '../core/turn-machine.js';
import type { AuditSink } from '../ports/audit-log.js';
import type { Clock } from '../ports/clock.js';
import type { EventLog, RowChange } from '../ports/event-log.js';
import type { Logger } from '../ports/logger.js';
import type { Metrics } from '../ports/metrics.js';
import type { AdmissionGate } from './admission-gate.js';
import { toAuditRecords } from './audit-trail.js';
import { CommandDesk, type Outcome } from './command-desk.js';
import type { Carried } from './command-fates.js';
import type { CommandMemory } from './command-memory.js';
import { isDenial } from './denials.js';
import { ActorGone, Refused, unavailable } from './replies.js';
import type { Accepted, Caller } from './session-api.js';
import type { SessionDoor } from './session-door.js';
import type { SessionFeed } from './session-feed.js';
import type { TurnRunner } from './turn-runner.js';
import { WakeTimer } from './wake-timer.js';

export interface ActorDeps {
  readonly log: EventLog;
  readonly audit: AuditSink;
  readonly clock: Clock;
  readonly logger: Logger;
  readonly memory: CommandMemory;
  readonly admission: AdmissionGate;
  readonly metrics: Metrics;
  readonly feed: SessionFeed;
  /** The lease's fencing token. */
  readonly token: string;
  readonly createRunner: (send: (input: Input) => Step | undefined) => TurnRunner;
  readonly context: () => StepContext;
  /** The log refused an append: the actor is dead, and the next one starts from the log. */
  readonly onFail: () => void;
}

/** Which deltas must be kept, and up to where they have just been completed (LOG-5). */
interface OpenMarks {
  readonly openSince: number | undefined;
  readonly closedAt: number | undefined;
}

export class SessionActor implements SessionDoor {
  readonly feed: SessionFeed;
  readonly #deps: ActorDeps;
  readonly #runner: TurnRunner;
  readonly #desk: CommandDesk;
  readonly #wakeTimer: WakeTimer;
  #state: SessionState;
  /** The seq before the blocks that are still open; their deltas are kept (LOG-5). */
  #openSince: number | undefined;
  #flushed: Promise<unknown> = Promise.resolve();
  #isDead = false;
  /** Resolves when all work is over; undefined before it was to end. */
  #stopped: Promise<void> | undefined;

  constructor(deps: ActorDeps, state: SessionState) {
    this.#deps = deps;
    this.feed = deps.feed;
    this.#state = state;
    const { clock, context, logger, memory, admission, metrics } = deps;
    const runner = deps.createRunner((input) => this.send(input));
    this.#runner = runner;
    this.#wakeTimer = new WakeTimer(clock, () => this.send({ type: 'tick' })?.state);
    this.#desk = new CommandDesk({
      memory,
      runner,
      admission,
      metrics,
      clock,
      logger,
      context,
      state: () => {
        if (this.#isDead) throw new ActorGone();
        return this.#state;
      },
      runningTurn: () => this.#state.turn?.turnId,
      commit: (outcome) => this.#commit(outcome),
    });
  }

  get state(): SessionState {
    return this.#state;
  }

  get isDead(): boolean {
    return this.#isDead;
  }

  /** Of the lease that it writes under. */
  get token(): string {
    return this.#deps.token;
  }

  /** Resolves with the state of now, when all of it is in the log; rejects where the log refused it. */
  async flushed(): Promise<SessionState> {
    const state = this.#state;
    await this.#flushed;
    if (this.#isDead) throw new ActorGone();
    return state;
  }

  /** Takes an input that is no user's command. Undefined where the actor is dead. */
  send(input: Input): Step | undefined {
    if (this.#isDead) return undefined;
    const next = step(this.#state, input, this.#deps.context());
    this.#commit({ ...next, answers: [] }).catch(ignore);
    return next;
  }

  /** Registers or unregisters client tools, in order with the commands. */
  register(command: ToolsRegister | ToolsUnregister, caller: Caller): Promise<Accepted> {
    return this.#desk.register(command, caller);
  }

  /** Carries out a command, in the order of the calls. Resolves when it took effect. */
  async command(command: SessionCommand, caller: Caller): Promise<Accepted> {
    try {
      const [carried] = await this.#desk.carryOut([command], caller);
      return (carried as Carried).accepted;
    } catch (error) {
      throw error instanceof Refused ? error.cause : error;
    }
  }

  /** Carries out commands, in order, all or none. A refusal names its place as `details.index`. */
  async batch(commands: readonly TurnCommand[], caller: Caller): Promise<readonly Carried[]> {
    try {
      return await this.#desk.carryOut(commands, caller);
    } catch (error) {
      throw error instanceof Refused ? error.withIndex() : error;
    }
  }

  leave(connectionId: string): void {
    this.send({ type: 'connection_gone', connectionId });
  }

  async delete(by: Principal): Promise<void> {
    this.send({ type: 'delete', by });
    await this.flushed();
  }

  /** Ends all work without touching the log. */
  stop(): Promise<void> {
    this.#isDead = true;
    this.#wakeTimer.cancel();
    this.#stopped ??= this.#runner.stop();
    return this.#stopped;
  }

  /** Append first; then show, then act. Resolves when the effects that a reply waits for are over. */
  #commit({ state, records, effects, answers, requestId }: Outcome): Promise<void> {
    const before = this.#state;
    this.#state = state;
    this.#wakeTimer.follow(state);
    this.#deps.admission.changed(before, state);
    const marks = this.#trackOpen(before);
    if (records.length === 0 && answers.length === 0) {
      if (effects.length === 0) return DONE;
      return this.#flushed.then(() => this.#act(records, effects, marks));
    }
    const { log, token } = this.#deps;
    const row = toRowChange(before, state);
    const appended = log.append({ sessionId: state.sessionId, token, records, answers, ...(row && { row }) });
    this.#flushed = appended.catch(ignore);
    const left = toLeft(before, state);
    const audited = toAuditRecords({ records, before, after: state, requestId });
    return appended.then(
      () => {
        // It is in the log, so it has happened, whatever became of the actor.
        for (const record of audited) void this.#deps.audit.record(record);
        // Before what follows is shown.
        for (const userId of left) this.feed.endFor(userId);
        return this.#act(records, effects, marks);
      },
      (error: unknown) => this.#fail(error),
    );
  }

  #act(
    records: readonly LogRecord[],
    effects: readonly Effect[],
    { openSince, closedAt }: OpenMarks,
  ): Promise<void> | undefined {
    // Its work is being ended, and whoever is told that a turn was stopped waits for that (CAN-2).
    if (this.#isDead) return this.#stopped;
    if (records.length > 0) this.feed.publish(records, openSince);
    if (closedAt !== undefined) this.#deps.log.trimDeltas(this.feed.sessionId, closedAt);
    for (const record of records)
      if (record.kind !== 'event') continue;
      else if (record.type === 'turn.ended') this.#logEnd(record.json);
      else if (record.type === 'tool.denied') this.#deps.metrics.denied('forbidden_tool');
    this.#runner.perform(effects);
    return this.#runner.closing;
  }

  #logEnd(json: string): void {
    const { turn_id, stop_reason, usage, cost_usd, duration_ms, error } = JSON.parse(json) as EventOf<'turn.ended'>;
    const fields = { turn_id, stop_reason, usage, cost_usd, duration_ms };
    const { logger, metrics } = this.#deps;
    metrics.turnEnded(stop_reason, duration_ms);
    if (error && isDenial(error.code)) metrics.denied(error.code);
    logger.info('turn ended', { ...fields, ...(error && { code: error.code }) });
  }

  #trackOpen(before: SessionState): OpenMarks {
    const isOpen = (this.#state.turn?.open.length ?? 0) > 0;
    if (isOpen) this.#openSince ??= before.seq;
    const wasOpen = this.#openSince !== undefined;
    if (isOpen || !wasOpen) return { openSince: this.#openSince, closedAt: undefined };
    this.#openSince = undefined;
    return { openSince: undefined, closedAt: this.#state.seq };
  }

  #fail(error: unknown): never {
    const { logger, onFail } = this.#deps;
    if (!this.#isDead) {
      logger.error('the log refused an append; the session starts again from its log', { error });
      void this.stop();
      onFail();
    }
    throw unavailable();
  }
}

const DONE = Promise.resolve();
const ignore = (): void => undefined;

const NOBODY: readonly string[] = [];

/** Who was a member before and is none now. */
function toLeft(before: SessionState, after: SessionState): readonly string[] {
  if (before.members === after.members) return NOBODY;
  return toIds(before).filter((id) => !toIds(after).includes(id));
}

const toIds = ({ members }: SessionState): string[] => members.map(({ user_id }) => user_id);

const isUnfinished = (state: SessionState): boolean => state.turn !== undefined || state.queue.length > 0;

/** The row follows the log where somebody looks for it: status, what is unfinished, usage, members. */
function toRowChange(before: SessionState, after: SessionState): RowChange | undefined {
  const unfinished = isUnfinished(after);
  const isSame =
    before.running === after.running &&
    before.members === after.members &&
    isUnfinished(before) === unfinished &&
    before.ended.length === after.ended.length;
  if (isSame) return undefined;
  const status = after.running ? 'running' : 'idle';
  const json = JSON.stringify(toSession(after));
  const memberIds = before.members === after.members ? undefined : toIds(after);
  return { status, unfinished, updatedAt: after.updatedAt, json, ...(memberIds && { memberIds }) };
}
