/** Turns what a tool's function returned, or threw, into the result that goes to the model. */
import type { InputBlock } from '../protocol/content.js';

export interface ToolResult {
  readonly content?: string | InputBlock[];
  readonly is_error?: boolean;
}

/** A string, content blocks, `{ content, is_error }`, any JSON value, or nothing. */
export type ToolOutput = unknown;

const BLOCK_TYPES = ['text', 'image', 'document'];

const isRecord = (value: unknown): value is Record<string, unknown> => typeof value === 'object' && value !== null;

const isBlocks = (value: unknown): value is InputBlock[] =>
  Array.isArray(value) &&
  value.length > 0 &&
  value.every((b) => isRecord(b) && BLOCK_TYPES.includes(String(b['type'])));

const isToolResult = (value: unknown): value is ToolResult =>
  isRecord(value) &&
  'content' in value &&
  (typeof value['content'] === 'string' || isBlocks(value['content'])) &&
  Object.keys(value).every((key) => key === 'content' || key === 'is_error');

export function toToolResult(output: ToolOutput): ToolResult {
  if (output === undefined) return {};
  if (typeof output === 'string' || isBlocks(output)) return { content: output };
  if (isToolResult(output)) return output;
  return { content: JSON.stringify(output) ?? String(output) };
}

export function toFailure(error: unknown): ToolResult {
  return { content: error instanceof Error ? error.message : String(error), is_error: true };
}
