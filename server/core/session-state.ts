/** The state of one session: what its log folds to. Plain data, never changed in place. */
import {
  type Agent,
  type Block,
  type ClientTool,
  type IdleReason,
  type Member,
  NO_USAGE,
  type ToolChoice,
  type Usage,
} from '../../protocol/index.js';

/** Who takes part in a turn. Roles are looked up when they are needed (TOOL-1). */
export interface Participant {
  readonly user_id: string;
  readonly org_id: string;
}

/** A tool call's block in its step, with its result once there is one. */
export interface CallBlock {
  readonly kind: 'call';
  readonly index: number;
  /** Id of the `agent.*tool_use` event. */
  readonly id: string;
  readonly modelToolUseId: string;
  readonly name: string;
  readonly input: Readonly<Record<string, unknown>>;
  readonly result?: { readonly content: readonly Block[]; readonly isError: boolean };
}

export type StepBlock =
  /** Text, and whatever else the provider made between thinking and tool calls. */
  | {
      readonly kind: 'message';
      readonly index: number;
      readonly id: string;
      readonly content: readonly Block[];
    }
  | {
      readonly kind: 'thinking';
      readonly index: number;
      readonly id: string;
      readonly block: Block;
      readonly model: string;
    }
  | CallBlock;

/** What enters the history, in order. */
export type HistoryItem =
  | { readonly kind: 'user'; readonly turnId: string; readonly id: string; readonly content: readonly Block[] }
  | { readonly kind: 'step'; readonly turnId: string; readonly step: number; readonly blocks: readonly StepBlock[] };

/** A block of the current step that is still being streamed. */
export type OpenBlock =
  | {
      readonly kind: 'message';
      readonly index: number;
      readonly id: string;
      readonly content: readonly Block[];
      /** Whether `event_start` is in the log: it waits for the first content. */
      readonly shown: boolean;
    }
  | {
      readonly kind: 'thinking';
      readonly index: number;
      readonly id: string;
      readonly thinking: string;
      readonly signature: string;
      readonly shown: boolean;
    }
  | {
      readonly kind: 'call';
      readonly index: number;
      readonly id: string;
      readonly type: CallType;
      readonly modelToolUseId: string;
      readonly name: string;
      readonly json: string;
    };

export type CallType = 'agent.tool_use' | 'agent.mcp_tool_use' | 'agent.custom_tool_use';

/** Where a call of the current step stands. */
export type CallState =
  /** Allowed; a server tool waits for its step to be complete (TOOL-4). */
  | { readonly name: 'planned' }
  | { readonly name: 'asking'; readonly expiresAt: number }
  /** A client tool that nobody has been asked to run, or not again before `offerAt`. */
  | { readonly name: 'unoffered'; readonly expiresAt: number; readonly offerAt: number }
  | { readonly name: 'offered'; readonly expiresAt: number; readonly connectionId: string }
  | { readonly name: 'started' }
  | { readonly name: 'resolved' };

export interface Call {
  readonly id: string;
  readonly type: CallType;
  readonly name: string;
  readonly label: string;
  /** As the model made it, or as the approver edited it. */
  readonly input: Readonly<Record<string, unknown>>;
  readonly edited: boolean;
  /** Whether an approver allowed it (TOOL-3). */
  readonly confirmed: boolean;
  /** Milliseconds since 1970. */
  readonly madeAt: number;
  /** Whether it was ever offered or started: then it may have had an effect. */
  readonly begun: boolean;
  readonly state: CallState;
}

export type Phase =
  /** Between requests: waiting for the budget's hold. */
  | {
      readonly name: 'admitting';
      readonly step: number;
      /** How many items the hold was asked for; undefined where it was not asked for yet. */
      readonly items?: number;
    }
  | {
      readonly name: 'streaming';
      readonly spanId: string;
      /** Whose prices its hold is in. */
      readonly pricedAt: number;
      readonly spanUsage: Usage;
      readonly stopReason: string | null;
    }
  | { readonly name: 'backing_off'; readonly until: number }
  /** The request is complete; its calls are not. */
  | { readonly name: 'executing_tools' }
  /** Nothing runs: clients or approvers are awaited, and the deadline's clock stands still. */
  | { readonly name: 'waiting'; readonly remainingMs: number };

export interface PendingSteer {
  readonly steerId: string;
  readonly content: readonly Block[];
  readonly from: Participant;
  readonly commandId: string;
}

/** What a message asked for, beyond the session's agent. */
export interface TurnRequest {
  readonly model: string;
  readonly maxTokens: number;
  readonly toolChoice: ToolChoice | undefined;
  readonly deadlineMs: number;
  readonly tags: readonly string[];
}

export interface QueuedTurn {
  readonly turnId: string;
  readonly messageId: string;
  readonly commandId: string;
  readonly content: readonly Block[];
  readonly from: Participant;
  readonly request: TurnRequest;
  /** Whether it interrupted the running turn: then it comes before steers that missed theirs. */
  readonly isAhead: boolean;
}

export interface Turn {
  readonly turnId: string;
  readonly messageId: string;
  readonly commandId: string;
  readonly payer: Participant;
  /** The prompter and everybody who steered. */
  readonly participants: readonly Participant[];
  readonly request: TurnRequest;
  readonly startedAt: number;
  readonly deadlineAt: number;
  /** Offered to the model, fixed for the turn. */
  readonly serverTools: readonly string[];
  readonly clientTools: readonly ClientTool[];
  /** The model request that runs or ran last; 0 before the first. */
  readonly step: number;
  readonly attempt: number;
  readonly phase: Phase;
  readonly items: readonly HistoryItem[];
  readonly open: readonly OpenBlock[];
  /** Calls of the current step, in call order. */
  readonly calls: readonly Call[];
  readonly steers: readonly PendingSteer[];
  /** Steers that are part of the turn by now; they name it, too. */
  readonly joined: readonly Named[];
  readonly usage: Usage;
  readonly estimated: boolean;
  readonly costNanoUsd: number;
  readonly recoveries: number;
  /** Whether tool results were already replaced once because the API refused them (TURN-5). */
  readonly resultsReplaced: boolean;
}

/** How a message, or a command, finds the turn it became or joined. */
export interface Named {
  readonly messageId: string;
  readonly commandId: string;
}

export interface EndedTurn extends Named {
  readonly turnId: string;
  readonly endedSeq: number;
  readonly joined: readonly Named[];
}

export interface ToolRegistration {
  readonly connectionId: string;
  readonly from: Participant;
  readonly tools: readonly ClientTool[];
}

export interface SessionState {
  readonly sessionId: string;
  readonly epoch: string;
  /** Who made it; its org is the session's. */
  readonly owner: Participant;
  /** Who may do what in it; the first is who made it, as long as they are one. */
  readonly members: readonly Member[];
  readonly title: string | null;
  readonly metadata: Readonly<Record<string, string>>;
  readonly agent: Agent;
  readonly createdAt: number;
  readonly updatedAt: number;
  /** Of the last event folded in. */
  readonly seq: number;
  readonly history: readonly HistoryItem[];
  /** How many items, of the history and of the running turn after it, the API has taken in a request. */
  readonly proven: number;
  /** Where in `history` a model request begins: what no longer fits the model's window stays readable, but isn't sent. */
  readonly replayFrom: number;
  readonly queue: readonly QueuedTurn[];
  readonly turn: Turn | undefined;
  readonly running: boolean;
  readonly idleReason: IdleReason | undefined;
  readonly ended: readonly EndedTurn[];
  readonly usage: Usage;
  readonly costNanoUsd: number;
  readonly deleted: boolean;
  /** Client tools by connection. Not in the log: connections don't outlive the process. */
  readonly registrations: readonly ToolRegistration[];
}

export interface NewSession {
  readonly sessionId: string;
  readonly epoch: string;
  readonly owner: Participant;
  readonly title: string | null;
  readonly metadata: Readonly<Record<string, string>>;
  readonly agent: Agent;
  readonly createdAt: number;
}

export function createSessionState(session: NewSession): SessionState {
  return {
    ...session,
    members: toFirstMembers(session.owner),
    updatedAt: session.createdAt,
    seq: 0,
    history: [],
    proven: 0,
    replayFrom: 0,
    queue: [],
    turn: undefined,
    running: false,
    idleReason: undefined,
    ended: [],
    usage: NO_USAGE,
    costNanoUsd: 0,
    deleted: false,
    registrations: [],
  };
}

/** Of a session that nobody has shared yet. */
export const toFirstMembers = (owner: Participant): readonly Member[] => [{ user_id: owner.user_id, role: 'owner' }];

export function addUsage(a: Usage, b: Usage): Usage {
  return {
    input_tokens: a.input_tokens + b.input_tokens,
    output_tokens: a.output_tokens + b.output_tokens,
    cache_creation_input_tokens: a.cache_creation_input_tokens + b.cache_creation_input_tokens,
    cache_read_input_tokens: a.cache_read_input_tokens + b.cache_read_input_tokens,
  };
}

export const toUsd = (nanoUsd: number): number => nanoUsd / 1e9;
export const isSame = (a: Participant, b: Participant): boolean => a.user_id === b.user_id && a.org_id === b.org_id;
