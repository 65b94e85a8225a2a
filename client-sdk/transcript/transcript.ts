/** What a screen shows of a session: plain data, never changed in place, so that what didn't change is the same object. */
import type { Block, EventOf, IdleReason, StopReason, ToolOutcome, Usage } from '../../protocol/events.js';

export interface UserItem {
  readonly kind: 'user';
  /** The message's id, or the steer's. */
  readonly id: string;
  readonly turnId: string | undefined;
  readonly content: readonly Block[];
  readonly userId: string | undefined;
  readonly isSteer: boolean;
}

/** Where a block of an answer stands: what is on the screen is sorted by it within a step. */
interface AgentPlace {
  /** The id of the event that completes it; deltas name it too. */
  readonly id: string;
  readonly turnId: string | undefined;
  readonly step: number | undefined;
  readonly index: number | undefined;
}

export interface AssistantItem extends AgentPlace {
  readonly kind: 'assistant';
  readonly content: readonly Block[];
  readonly status: 'streaming' | 'complete' | 'incomplete';
}

export interface ThinkingItem extends AgentPlace {
  readonly kind: 'thinking';
  readonly text: string;
  readonly status: 'streaming' | 'complete' | 'redacted';
}

export interface ToolItem extends AgentPlace {
  readonly kind: 'tool';
  readonly type: 'agent.tool_use' | 'agent.mcp_tool_use' | 'agent.custom_tool_use';
  readonly name: string;
  readonly label: string;
  readonly input: Readonly<Record<string, unknown>>;
  /** The input as far as it has been written, while `status` is `writing`. */
  readonly inputJson: string;
  readonly status: 'writing' | 'planned' | 'waiting_approval' | 'offered' | 'running' | 'denied' | 'done';
  readonly connectionId?: string;
  readonly expiresAt?: string;
  readonly progress?: { readonly message?: string; readonly percent?: number };
  readonly result?: ToolItemResult;
}

export interface ToolItemResult {
  readonly content: readonly Block[];
  readonly isError: boolean;
  /** Undefined where only the history is known. */
  readonly outcome: ToolOutcome | undefined;
  readonly durationMs: number | undefined;
}

/** Closes a turn on the screen. */
export interface EndItem {
  readonly kind: 'end';
  readonly id: string;
  readonly turnId: string | undefined;
  readonly stopReason: StopReason;
  readonly partial: boolean;
  readonly usage: Usage;
  readonly estimated: boolean;
  readonly costUsd: number;
  readonly durationMs: number;
  readonly error?: EventOf<'turn.ended'>['error'];
}

export interface ErrorItem {
  readonly kind: 'error';
  readonly id: string;
  readonly turnId: string | undefined;
  readonly code: string;
  readonly message: string;
}

export type TranscriptItem = UserItem | AssistantItem | ThinkingItem | ToolItem | EndItem | ErrorItem;

export interface TranscriptTurn {
  readonly turnId: string;
  readonly messageId: string | undefined;
  readonly status: 'running' | 'waiting';
  readonly step: number;
  readonly model: string;
  readonly startedAt: string;
  readonly deadlineAt: string;
  /** Of the steps that are complete. */
  readonly usage: Usage;
  readonly costUsd: number;
}

export interface QueuedItem {
  readonly turnId: string;
  readonly messageId: string;
  /** Turns ahead. */
  readonly position: number;
  readonly content: readonly Block[];
  readonly userId: string | undefined;
}

/** A steer that waits for the running turn's next step. */
export interface SteerItem {
  readonly steerId: string;
  readonly turnId: string | undefined;
  readonly content: readonly Block[];
  readonly userId: string | undefined;
}

export interface Transcript {
  readonly sessionId: string;
  readonly epoch: string;
  /** The last event folded in. */
  readonly seq: number;
  readonly title: string | null;
  readonly status: 'idle' | 'running' | 'requires_action';
  readonly idleReason: IdleReason | undefined;
  readonly items: readonly TranscriptItem[];
  readonly turn: TranscriptTurn | undefined;
  readonly queue: readonly QueuedItem[];
  readonly steers: readonly SteerItem[];
  /** Of the turns that ended. */
  readonly usage: Usage;
  readonly costUsd: number;
  readonly budgetWarning: EventOf<'budget.warning'> | undefined;
  readonly deleted: boolean;
}

export const ZERO_USAGE: Usage = {
  input_tokens: 0,
  output_tokens: 0,
  cache_creation_input_tokens: 0,
  cache_read_input_tokens: 0,
};

export function addUsage(a: Usage, b: Usage): Usage {
  return {
    input_tokens: a.input_tokens + b.input_tokens,
    output_tokens: a.output_tokens + b.output_tokens,
    cache_creation_input_tokens: a.cache_creation_input_tokens + b.cache_creation_input_tokens,
    cache_read_input_tokens: a.cache_read_input_tokens + b.cache_read_input_tokens,
  };
}

/** The calls that wait for `session.confirm()`. */
export const pendingApprovals = ({ items }: Transcript): ToolItem[] =>
  items.filter((item): item is ToolItem => item.kind === 'tool' && item.status === 'waiting_approval');

export function emptyTranscript(sessionId: string): Transcript {
  return {
    sessionId,
    epoch: '',
    seq: 0,
    title: null,
    status: 'idle',
    idleReason: undefined,
    items: [],
    turn: undefined,
    queue: [],
    steers: [],
    usage: ZERO_USAGE,
    costUsd: 0,
    budgetWarning: undefined,
    deleted: false,
  };
}
