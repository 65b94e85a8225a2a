/** The configuration file: every key with its default, its bound and a sentence. Keys that are not here are refused. */
import { z } from 'zod';
import { DEFAULT_LIMITS, type Limits, toolNameSchema } from '../../protocol/index.js';

const HOUR_MS = 3_600_000;

const pattern = z.string().regex(/^[A-Za-z0-9_*-]{1,64}$/, 'must be a tool name, or a pattern with *');
const modelPattern = z.string().min(1).max(200);
const jsonSchema = z.record(z.string(), z.unknown());

const objectSchema = z.looseObject({
  type: z.literal('object', 'must be "object": the input of a tool is a JSON object'),
  properties: z.record(z.string(), z.union([jsonSchema, z.boolean()], 'must be a JSON Schema')).optional(),
  required: z.array(z.string()).optional(),
});

export const agentSchema = z.strictObject({
  model: z.string().min(1).max(200).optional().describe('Its model; without one MIDSTREAM_MODEL.'),
  system: z.string().max(1_000_000).optional().describe('Its system prompt.'),
  tools: z.array(pattern).max(200).default(['*']).describe('Names and patterns of the tools that it may use.'),
  max_tokens: z.int().min(1).max(1_000_000).default(4_096).describe('Output tokens of one model request.'),
  max_steps: z.int().min(1).max(1_000).default(20).describe('Model requests of one turn.'),
  deadline_ms: z
    .int()
    .min(1)
    .max(24 * HOUR_MS)
    .default(300_000)
    .describe('Running time of one turn.'),
});

const OWN_HEADERS = ['connection', 'content-length', 'content-type', 'host', 'idempotency-key', 'transfer-encoding'];

const headersSchema = z.record(
  z
    .string()
    .regex(/^[!#$%&'*+.^_`|~0-9A-Za-z-]+$/, 'is not the name of a header')
    .refine((name) => !OWN_HEADERS.includes(name.toLowerCase()), 'is a header that the server sets itself'),
  z.string().regex(/^[\t\x20-\x7e\x80-\xff]*$/, 'must be text that fits into a header'),
);

export const toolSchema = z.strictObject({
  name: toolNameSchema.describe('Its name, as the model calls it; unique.'),
  description: z.string().min(1).max(10_000).describe('What it does and when to use it; the model reads it.'),
  label: z.string().min(1).max(200).optional().describe('What people see while it runs; without one its name.'),
  input_schema: objectSchema.describe('The JSON Schema of its input.'),
  http: z
    .strictObject({
      url: z
        .url({
          protocol: /^https?$/,
          error: (issue) => (issue.input === undefined ? undefined : 'must be an http or https URL'),
        })
        .refine((url) => !hasCredentials(url), 'must not hold a user or password; use headers')
        .describe('Where calls are POSTed to.'),
      headers: headersSchema.default({}).describe(`Headers of each call; \${env:NAME} is read from the environment.`),
      timeout_ms: z.int().min(1).max(HOUR_MS).default(10_000).describe('Time for one call.'),
    })
    .describe('Where it runs.'),
  idempotent: z.boolean().default(false).describe('Whether a call that may have run can be run again.'),
});

const amount = (max: number, unit: string) => z.number().min(0).max(max).optional().describe(unit);
/** Counted in nano-dollars, which are whole numbers up to here. */
const MAX_USD = 9_000_000;
const budgetWindow = z.strictObject({
  tokens: amount(Number.MAX_SAFE_INTEGER, 'Tokens.'),
  usd: amount(MAX_USD, 'US dollars.'),
});
export const budgetSchema = z.strictObject({
  day: budgetWindow.optional().describe('From midnight to midnight, UTC.'),
  month: budgetWindow.optional().describe('From the first of a month, UTC.'),
});

const patterns = (sentence: string) => z.array(pattern).max(1_000).default([]).describe(sentence);

export const roleSchema = z.strictObject({
  tools: z
    .strictObject({
      allow: patterns('Tools that run.'),
      ask: patterns('Tools that run once somebody approved the call; beats allow.'),
      deny: patterns('Tools that never run; beats ask.'),
      input: z
        .record(toolNameSchema, jsonSchema)
        .default({})
        .describe('JSON Schemas that the input of a tool must fit.'),
    })
    .prefault({})
    .describe('What it may call. What no role names is denied.'),
  models: z.array(modelPattern).max(1_000).default([]).describe('Models that it may use, by name or pattern.'),
  approve: patterns('Tools whose calls it may approve.'),
  inspect: z
    .boolean()
    .default(false)
    .describe('Whether it may read the audit log and what others spend, and revoke credentials.'),
  max_tokens: z.int().min(1).max(1_000_000).optional().describe('The most output tokens that it may ask for.'),
  requests_per_minute: z.int().min(1).max(1_000_000).optional().describe('Turns and direct tool calls in a minute.'),
  concurrent_turns: z.int().min(1).max(1_000_000).optional().describe('Turns at a time.'),
  budget: budgetSchema.optional().describe('What one user may spend.'),
});

/** Names of people stand in keys of the store and in logs: whole characters, none of control. */
const nameOf = (maxChars: number) =>
  z
    .string()
    .min(1)
    .max(maxChars)
    .regex(/^[^\p{Cc}\p{Cs}]*$/u, 'must not hold control characters, or half a character (a lone surrogate)');

const apiKeySchema = z.strictObject({
  id: nameOf(100).describe('Its name in logs and the audit.'),
  sha256: z
    .string()
    .regex(/^[0-9a-f]{64}$/, 'must be a SHA-256 in lower-case hex')
    .describe('The hash of the key.'),
  user_id: nameOf(200).describe('Who acts by it.'),
  org_id: nameOf(200).describe('For which organisation.'),
  roles: z.array(z.string().min(1).max(100)).max(100).describe('With which roles.'),
  created_at: z.iso
    .datetime({ offset: true })
    .optional()
    .describe('When it was made; revocations until then leave it alone. Without it, any revocation ends it.'),
});

const LIMITS: Readonly<Record<keyof Limits, readonly [min: number, max: number, sentence: string]>> = {
  frame_bytes: [1_024, 67_108_864, 'Bytes of one WebSocket frame or request body.'],
  frame_bytes_with_images: [1_024, 67_108_864, 'The same, where it holds images or documents.'],
  commands_per_second: [1, 1_000_000, 'Commands of one connection in a second.'],
  sessions_per_socket: [1, 100_000, 'Sessions that one socket watches.'],
  sockets_per_user: [1, 100_000, 'Sockets of one user.'],
  queued_turns: [0, 100_000, 'Turns that wait in one session.'],
  json_depth: [8, 1_000, 'Levels of nesting of one frame or body.'],
  running_turns: [1, 1_000_000, 'Turns that run at a time on this node, over all sessions.'],
  waiting_turns: [0, 1_000_000, 'Sessions whose next turn waits for a place among them; beyond it `overloaded`.'],
  tool_result_bytes: [256, 67_108_864, 'Bytes of one tool result; the rest is cut off.'],
  upstream_attempts: [1, 20, 'Tries of one model request.'],
  headers_timeout_ms: [1, HOUR_MS, 'Time for the model to begin its answer.'],
  first_content_timeout_ms: [1, HOUR_MS, 'Time for the model to send the first content.'],
  silence_timeout_ms: [1, HOUR_MS, 'The longest silence of a model that streams.'],
};

const limitSchemas = Object.fromEntries(
  Object.entries(LIMITS).map(([key, [min, max, sentence]]) => [
    key,
    z
      .int()
      .min(min)
      .max(max)
      .default(DEFAULT_LIMITS[key as keyof Limits])
      .describe(sentence),
  ]),
) as { [K in keyof Limits]: z.ZodDefault<z.ZodInt> };

const usdPerMillion = (what: string) => z.number().min(0).max(1_000_000).describe(`US dollars per million ${what}.`);
const tierShape = {
  input: usdPerMillion('input tokens'),
  output: usdPerMillion('output tokens'),
  cache_write: usdPerMillion('tokens written to the prompt cache; without it 1.25 × `input`').optional(),
  cache_read: usdPerMillion('tokens read from the prompt cache; without it `input`').optional(),
};
const priceSchema = z.strictObject({
  from: z
    .union([z.iso.date(), z.iso.datetime({ offset: true })], 'must be a date as 2026-01-31, or a moment of RFC 3339')
    .optional()
    .describe('Since when it applies: a date (UTC) or a moment, RFC 3339. Without it: always.'),
  ...tierShape,
  long_context: z
    .strictObject({
      over_tokens: z
        .int()
        .min(1)
        .max(100_000_000)
        .describe('The longest prompt that is not long, cached tokens included.'),
      ...tierShape,
    })
    .optional()
    .describe('The prices of every token of a request whose prompt is longer.'),
});
/** Of a moment it must be clear which price applies. */
const pricesSchema = z
  .array(priceSchema)
  .min(1)
  .max(100)
  .superRefine((entries, { addIssue }) => {
    entries.forEach(({ from }, index) => {
      const earlier = entries[index - 1]?.from;
      const path = [index, 'from'];
      if (index === 0) return;
      if (from === undefined)
        addIssue({ code: 'custom', path, message: 'is missing: only the first price may be without' });
      else if (earlier !== undefined && Date.parse(from) <= Date.parse(earlier))
        addIssue({ code: 'custom', path, message: 'must be later than that of the price before' });
    });
  });

const days = (what: string) => z.number().gt(0).max(36_500).optional().describe(what);
const name = z.string().min(1).max(100);

export const fileSchema = z.strictObject({
  agents: z.record(name, agentSchema).default({}).describe('What sessions can be made with, by name.'),
  tools: z.array(toolSchema).max(1_000).default([]).describe('Tools behind HTTP.'),
  client_tools: z
    .array(pattern)
    .max(1_000)
    .optional()
    .describe('Names and patterns that clients may register; without it any in dev, none otherwise.'),
  roles: z
    .record(name, roleSchema)
    .optional()
    .describe('What users may do; without it one role `admin` may everything.'),
  org_budget: budgetSchema.optional().describe('What each organisation may spend.'),
  api_keys: z.array(apiKeySchema).max(100_000).default([]).describe('Keys that programs authenticate with.'),
  limits: z.strictObject(limitSchemas).prefault({}).describe('Bounds that keep the server responsive.'),
  retention: z
    .strictObject({
      session_days: days('Days after its last change until a session is removed; without it never.'),
      event_days: days('Days until events are removed; the conversation stays. Without it never.'),
      audit_days: days('Days until records of the audit log are removed; without it never.'),
    })
    .prefault({})
    .describe('How long data is kept.'),
  prices: z
    .record(
      modelPattern,
      z
        .union([priceSchema, pricesSchema], 'must be a price, or a list of prices')
        .describe('Its price, or a list of prices that replace each other, each with its `from`.'),
    )
    .default({})
    .describe('Prices by model, in place of the built-in ones.'),
});

export type FileConfig = z.infer<typeof fileSchema>;
/** The file as it may be written, before defaults. */
export type FileConfigInput = z.input<typeof fileSchema>;
export type RoleConfig = z.infer<typeof roleSchema>;
export type PriceConfig = z.infer<typeof priceSchema>;
export type RetentionConfig = FileConfig['retention'];

function hasCredentials(url: string): boolean {
  if (!URL.canParse(url)) return false;
  const { username, password } = new URL(url);
  return username !== '' || password !== '';
}
