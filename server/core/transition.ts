/** One step of the machine in the making: the state as it changes, the records to append, the effects to have after. */
import type {
  Block,
  CommandResult,
  ErrorBody,
  ErrorCode,
  ErrorExtras,
  LoggedEvent,
  Message,
  Principal,
  ToolChoice,
  Usage,
} from '../../protocol/index.js';
import { type Limits, toErrorBody } from '../../protocol/index.js';
import { applyDelta } from './delta-fold.js';
import { type DeltaChannel, type LogRecord, toDeltaRecord, toEventRecord } from './log-record.js';
import type { Policy } from './permissions.js';
import type { FactsOf } from './prices.js';
import type { Participant, SessionState, Turn } from './session-state.js';
import { applyEvent } from './session-view.js';
import type { InputBound } from './token-estimate.js';

/** A server tool, as far as the machine must know it. */
export interface ServerTool {
  readonly name: string;
  readonly description: string;
  readonly input_schema: Readonly<Record<string, unknown>>;
  readonly label: string;
  readonly idempotent: boolean;
}

/** Everything a step may ask that isn't in the state. Time and randomness come from here, so that a step can be replayed. */
export interface StepContext {
  /** Milliseconds since 1970. */
  readonly now: number;
  readonly newId: (prefix: 'sevt' | 'turn') => string;
  /** 0 ≤ random() < 1. */
  readonly random: () => number;
  readonly limits: Limits;
  readonly approvalTimeoutMs: number;
  readonly serverTools: ReadonlyMap<string, ServerTool>;
  readonly policy: Policy;
  readonly rolesOf: (who: Participant) => readonly string[];
  /** Why no tool may begin now, whoever takes part; undefined where the policy alone decides. */
  readonly heldBack?: string | undefined;
  /** Undefined where `input` fits `schema`, else what is wrong. */
  readonly fitsSchema: (schema: Readonly<Record<string, unknown>>, input: unknown) => string | undefined;
  /** Why `schema` can't be checked against; undefined where it can. */
  readonly refuseSchema: (schema: Readonly<Record<string, unknown>>) => string | undefined;
  readonly mayRegister: (toolName: string) => boolean;
  readonly factsOf: FactsOf;
  readonly draining: boolean;
  /** Whether this node may begin a turn of the session now, its running one aside. */
  readonly hasPlace: (sessionId: string) => boolean;
  /** Whether as many sessions wait for a place on this node as may. */
  readonly isOverloaded: () => boolean;
}

/** Names one model request. */
export interface RequestKey {
  readonly turnId: string;
  readonly step: number;
  readonly attempt: number;
}

export interface PlannedRequest {
  readonly key: RequestKey;
  readonly model: string;
  readonly maxTokens: number;
  readonly system: string | undefined;
  readonly tools: readonly Pick<ServerTool, 'name' | 'description' | 'input_schema'>[];
  readonly toolChoice: ToolChoice | undefined;
  readonly messages: readonly Message[];
}

/** What is to be done once the records are in the log; in order. */
export type Effect =
  | {
      readonly type: 'reserve';
      readonly key: RequestKey;
      readonly payer: Participant;
      readonly model: string;
      readonly input: InputBound;
      readonly outputTokens: number;
      readonly tags: readonly string[];
      /** What will be sent once it is granted; made where its tokens must be counted. */
      readonly toRequest: () => PlannedRequest;
    }
  | { readonly type: 'request_model'; readonly request: PlannedRequest }
  | { readonly type: 'abort_model'; readonly turnId: string }
  | {
      readonly type: 'settle';
      readonly key: RequestKey;
      readonly usage: Usage;
      readonly estimated: boolean;
      readonly costNanoUsd: number;
    }
  | {
      readonly type: 'run_tool';
      readonly toolUseId: string;
      readonly name: string;
      readonly input: Readonly<Record<string, unknown>>;
      readonly turnId: string;
      readonly userId: string;
    }
  | { readonly type: 'abort_tool'; readonly toolUseId: string };

export type Reply =
  | { readonly ok: true; readonly appliedAtSeq: number; readonly result: CommandResult }
  | { readonly ok: false; readonly error: ErrorBody };

/** Who sent a command, and by which connection. */
export interface Sender {
  readonly principal: Principal;
  readonly connectionId: string | undefined;
}

type Omitted = 'id' | 'session_id' | 'seq' | 'processed_at' | 'prev_seq';
type Draft<E> = E extends LoggedEvent ? Omit<E, Omitted> & { id?: string } : never;
export type EventDraft = Draft<LoggedEvent>;

export class Transition {
  readonly records: LogRecord[] = [];
  readonly effects: Effect[] = [];

  constructor(
    public state: SessionState,
    readonly ctx: StepContext,
  ) {}

  /** Puts an event at the end of the log and folds it in. Returns it as logged. */
  emit(draft: EventDraft): LoggedEvent {
    const { type, id, ...rest } = draft;
    const event = {
      type,
      id: id ?? this.ctx.newId('sevt'),
      session_id: this.state.sessionId,
      seq: this.state.seq + 1,
      ...rest,
      processed_at: new Date(this.ctx.now).toISOString(),
    } as LoggedEvent;
    this.records.push(toEventRecord(event));
    this.state = applyEvent(this.state, event);
    return event;
  }

  emitDelta(turnId: string, eventId: string, channel: DeltaChannel, index: number, text: string): void {
    const record = toDeltaRecord(this.state.seq + 1, turnId, eventId, channel, index, text);
    this.records.push(record);
    this.state = applyDelta(this.state, record);
  }

  effect(effect: Effect): void {
    this.effects.push(effect);
  }

  /** The running turn; a defect where there is none. */
  get turn(): Turn {
    if (!this.state.turn) throw new Error('no turn is running');
    return this.state.turn;
  }

  /** Changes what the log doesn't know: phases between requests, blocks in the making. */
  patchTurn(patch: Partial<Turn>): void {
    this.state = { ...this.state, turn: { ...this.turn, ...patch } };
  }

  rolesOf(participants: readonly Participant[]): readonly (readonly string[])[] {
    return participants.map((who) => this.ctx.rolesOf(who));
  }
}

/** A refusal: nothing changed. */
export const refuse = (code: ErrorCode, message?: string, extras?: ErrorExtras): Reply => ({
  ok: false,
  error: toErrorBody(code, message, extras),
});

export const time = (ms: number): string => new Date(ms).toISOString();

export const toText = (text: string): Block[] => [{ type: 'text', text }];
