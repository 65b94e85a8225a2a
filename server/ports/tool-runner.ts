/** Server tools: what they are, and how one call is run. */
import type { InputBlock } from '../../protocol/index.js';

export interface ToolDefinition {
  readonly name: string;
  readonly description: string;
  readonly input_schema: Readonly<Record<string, unknown>>;
  /** For people: "Searching filings…". */
  readonly label: string;
  /** Whether a call that may have run can be run again (NODE-2). */
  readonly idempotent: boolean;
}

export interface ToolCall {
  readonly tool_use_id: string;
  readonly name: string;
  readonly input: Readonly<Record<string, unknown>>;
  readonly session_id: string;
  readonly turn_id: string;
  readonly user_id: string;
}

export interface ToolAnswer {
  readonly content: readonly InputBlock[];
  readonly is_error: boolean;
  readonly outcome: 'ok' | 'error' | 'timeout' | 'cancelled';
}

export interface ToolContext {
  /** Aborted when the call is cancelled (CAN-5). */
  readonly signal: AbortSignal;
  progress(update: { message?: string; percent?: number }): void;
}

export interface ToolRunner {
  readonly definitions: readonly ToolDefinition[];
  /** Runs one call. Never rejects: a failure is an answer that the model can read. Not capped; the caller caps. */
  run(call: ToolCall, context: ToolContext): Promise<ToolAnswer>;
}

export interface InputValidator {
  /** Whether `schema` is a JSON Schema that can be checked against; the reason where it isn't. */
  refuse(schema: Readonly<Record<string, unknown>>): string | undefined;
  /** What is wrong with `input`, as a sentence for the model; undefined where it fits. Compiled once per schema. */
  check(schema: Readonly<Record<string, unknown>>, input: unknown): string | undefined;
}
