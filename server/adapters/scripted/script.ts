/** Scripts for the scripted model: what it says to which prompt. Closed objects, so that a typo is refused. */
import { z } from 'zod';

const text = z.strictObject({
  type: z.literal('text'),
  text: z.string().min(1),
  /** Without it the text comes at once, still in many deltas. */
  tokens_per_second: z.number().gt(0).max(100_000).optional(),
});
const thinking = z.strictObject({
  type: z.literal('thinking'),
  thinking: z.string().min(1),
  signature: z.string().optional(),
});
const toolUse = z.strictObject({
  type: z.literal('tool_use'),
  name: z.string().regex(/^[a-zA-Z0-9_-]{1,64}$/, 'must be the name of a tool'),
  input: z.record(z.string(), z.unknown()).default({}),
  id: z
    .string()
    .regex(/^[a-zA-Z0-9_-]{1,64}$/, 'must be 1–64 of A-Z a-z 0-9 _ -')
    .optional(),
});

const count = z.int().min(0).max(1_000_000_000).optional();

const error = z.strictObject({
  /** `cut`: the stream ends early. `reset`: its connection breaks. `stall`: nothing comes until it is aborted. */
  kind: z.enum(['overloaded', 'rate_limited', 'timeout', 'cut', 'reset', 'stall', 'refused', 'auth', 'context_window']),
  /** Characters that come before it; without it nothing comes at all. */
  after_chars: count,
  /** Fails this many attempts, then succeeds; without it every one. */
  attempts: z.int().min(1).max(1_000).optional(),
  retry_after_ms: count,
  message: z.string().min(1).optional(),
});

const step = z.strictObject({
  blocks: z.array(z.discriminatedUnion('type', [text, thinking, toolUse])).default([]),
  stop_reason: z.string().min(1).max(100).optional(),
  usage: z
    .strictObject({
      input_tokens: count,
      output_tokens: count,
      cache_creation_input_tokens: count,
      cache_read_input_tokens: count,
    })
    .optional(),
  /** Before the first event. */
  delay_ms: z.number().min(0).max(3_600_000).optional(),
  error: error.optional(),
});

const match = z
  .strictObject({
    /** The number of the prompt in the conversation, from 1. */
    turn: z.int().min(1).optional(),
    /** A regular expression on the text of the prompt. */
    text: z.string().optional(),
    flags: z
      .string()
      .regex(/^[imsu]*$/, 'must be of i, m, s and u')
      .optional(),
  })
  .superRefine(({ text: source, flags }, context) => {
    try {
      if (source !== undefined) new RegExp(source, flags);
    } catch (reason) {
      context.addIssue({ code: 'custom', path: ['text'], message: (reason as Error).message });
    }
  });

const steps = z.array(step).min(1);

export const scriptSchema = z.strictObject({
  turns: z.array(z.strictObject({ match: match.optional(), steps })),
  /** For prompts that no turn matches. */
  fallback: z.strictObject({ steps }).optional(),
});

export type Script = z.infer<typeof scriptSchema>;
/** A script as it may be written, before defaults. */
export type ScriptInput = z.input<typeof scriptSchema>;
export type ScriptStep = z.infer<typeof step>;
export type ScriptBlock = ScriptStep['blocks'][number];
export type ScriptFailure = z.infer<typeof error>;

export interface ScriptMistake {
  /** `turns[0].steps[1].blocks[0].text` */
  readonly path: string;
  readonly message: string;
}

export class ScriptError extends Error {
  override readonly name = 'ScriptError';
  constructor(readonly mistakes: readonly ScriptMistake[]) {
    super(['The script has mistakes:', ...mistakes.map(({ path, message }) => `  ${path}: ${message}`)].join('\n'));
  }
}

/** Throws `ScriptError` with all mistakes at once. */
export function parseScript(json: unknown): Script {
  const result = scriptSchema.safeParse(json);
  if (result.success) return result.data;
  throw new ScriptError(
    result.error.issues.map(({ path, message }) => ({ path: z.core.toDotPath(path) || 'script', message })),
  );
}
