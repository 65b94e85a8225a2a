/** The logged events: what happened, in order. Open objects: clients ignore what they do not know. */
import { z } from 'zod';
import { memberRoleSchema } from './members.js';

export const usageSchema = z.object({
  input_tokens: z.int().min(0),
  output_tokens: z.int().min(0),
  cache_creation_input_tokens: z.int().min(0),
  cache_read_input_tokens: z.int().min(0),
});
export type Usage = z.infer<typeof usageSchema>;

export const NO_USAGE: Usage = {
  input_tokens: 0,
  output_tokens: 0,
  cache_creation_input_tokens: 0,
  cache_read_input_tokens: 0,
};

export const stopReasonSchema = z.enum([
  'end_turn',
  'max_tokens',
  'stop_sequence',
  'refusal',
  'max_steps',
  'deadline',
  'cancelled',
  'interrupted_by_message',
  'budget_exhausted',
  'tool_timeout',
  'context_window_exceeded',
  'error',
  'node_lost',
]);
export type StopReason = z.infer<typeof stopReasonSchema>;

export const idleReasonSchema = z.enum([
  'end_turn',
  'interrupted',
  'budget_reached',
  'retries_exhausted',
  'requires_action',
]);
export type IdleReason = z.infer<typeof idleReasonSchema>;

export const errorBodySchema = z.object({
  type: z.string(),
  code: z.string(),
  message: z.string(),
  retryable: z.boolean(),
  retry_after_ms: z.number().optional(),
  details: z.record(z.string(), z.unknown()).optional(),
});

/** A block as the model made it; kept as it came, for it goes back unchanged. */
export const blockSchema = z.looseObject({ type: z.string() });
export type Block = z.infer<typeof blockSchema>;

const time = z.iso.datetime();
const permission = z.enum(['allow', 'ask', 'deny']);
const outcome = z.enum(['ok', 'error', 'denied', 'timeout', 'cancelled', 'unknown']);
export type ToolOutcome = z.infer<typeof outcome>;

const pendingSchema = z.object({
  kind: z.enum(['confirmation', 'tool_result']),
  tool_use_id: z.string(),
  expires_at: time,
});
export type Pending = z.infer<typeof pendingSchema>;

const envelope = {
  id: z.string(),
  session_id: z.string(),
  seq: z.int().min(1),
  prev_seq: z.int().min(0).optional(),
  processed_at: time,
  turn_id: z.string().optional(),
  step: z.int().min(1).optional(),
  attempt: z.int().min(1).optional(),
  index: z.int().min(0).optional(),
  actor: z.object({ user_id: z.string() }).optional(),
};

const event = <T extends string, S extends z.core.$ZodLooseShape>(type: T, shape: S) =>
  z.object({ type: z.literal(type), ...envelope, ...shape });

const echo = { command_id: z.string() };
const toolUse = {
  name: z.string(),
  input: z.record(z.string(), z.unknown()),
  label: z.string(),
  evaluated_permission: permission,
  expires_at: time.optional(),
  /** The id that the model gave the call; it goes back in the history. */
  model_tool_use_id: z.string(),
};

const offeredTool = z.object({
  name: z.string(),
  description: z.string(),
  input_schema: z.looseObject({ type: z.literal('object') }),
  timeout_ms: z.int().optional(),
  label: z.string().optional(),
});

const schemas = [
  event('user.message', {
    ...echo,
    content: z.array(blockSchema),
    message_id: z.string(),
    position: z.int().min(0),
    steer_id: z.string().optional(),
    on_busy: z.string().optional(),
    max_tokens: z.int().optional(),
    model: z.string().optional(),
    tool_choice: blockSchema.optional(),
    deadline_ms: z.int().optional(),
    tags: z.array(z.string()).optional(),
  }),
  event('user.steer', {
    ...echo,
    content: z.array(blockSchema),
    apply: z.enum(['next_step', 'now']),
    steer_id: z.string(),
    outcome: z.enum(['joined', 'pending']),
  }),
  event('user.interrupt', {
    ...echo,
    outcome: z.enum(['cancelled', 'already_ended']),
    scope: z.enum(['turn', 'turn_and_queue']).optional(),
    reason: z.string().optional(),
  }),
  event('user.tool_confirmation', {
    ...echo,
    tool_use_id: z.string(),
    result: z.enum(['allow', 'deny']),
    deny_message: z.string().nullish(),
    updated_input: z.record(z.string(), z.unknown()).optional(),
  }),
  event('user.custom_tool_result', {
    ...echo,
    custom_tool_use_id: z.string(),
    content: z.array(blockSchema),
    is_error: z.boolean(),
  }),
  event('turn.queued', { position: z.int().min(0), steer_id: z.string().optional() }),
  event('turn.started', {
    model: z.string(),
    payer: z.object({ user_id: z.string(), org_id: z.string() }),
    deadline_at: time,
    /** The tools offered to the model, fixed for the turn: server tools by name, client tools whole. */
    tools: z.array(z.string()),
    client_tools: z.array(offeredTool),
  }),
  event('steer.joined', { steer_id: z.string() }),
  event('span.model_request_start', {
    model: z.string(),
    /** When its budget was held, where prices have changed since. */
    priced_at: time.optional(),
  }),
  event('span.model_request_end', {
    model_request_start_id: z.string(),
    is_error: z.boolean(),
    stop_reason: z.string().nullable(),
    model_usage: usageSchema,
    estimated: z.boolean(),
    cost_usd: z.number(),
    error: errorBodySchema.optional(),
    /** What the model's API refused in this request; the history holds an error text in its place (TURN-5). */
    refused_tool_use_ids: z.array(z.string()).optional(),
  }),
  event('event_start', { event: z.object({ type: z.string(), id: z.string() }) }),
  event('agent.message', { content: z.array(blockSchema), status: z.enum(['complete', 'incomplete']) }),
  event('agent.thinking', {
    thinking: z.string().optional(),
    signature: z.string().optional(),
    data: z.string().optional(),
    model: z.string(),
  }),
  event('agent.tool_use', toolUse),
  event('agent.mcp_tool_use', toolUse),
  event('agent.custom_tool_use', toolUse),
  event('tool.offered', { tool_use_id: z.string(), connection_id: z.string(), expires_at: time }),
  event('tool.denied', { tool_use_id: z.string(), rule: z.string() }),
  event('tool.started', { tool_use_id: z.string(), name: z.string(), label: z.string() }),
  event('tool.progress', {
    tool_use_id: z.string(),
    message: z.string().optional(),
    percent: z.number().min(0).max(100).optional(),
  }),
  event('agent.tool_result', {
    tool_use_id: z.string(),
    content: z.array(blockSchema),
    is_error: z.boolean(),
    outcome,
    duration_ms: z.number().min(0),
  }),
  event('turn.waiting', { pending: z.array(pendingSchema) }),
  event('turn.resumed', {
    deadline_at: time,
    /** How often the turn has been taken over after a crash, this time included. */
    recovery: z.int().min(1).optional(),
  }),
  event('step.superseded', { discard_event_ids: z.array(z.string()) }),
  event('budget.warning', {
    scope: z.enum(['user', 'org']),
    window: z.enum(['day', 'month']),
    unit: z.enum(['tokens', 'usd']),
    limit: z.number(),
    used: z.number(),
    held: z.number(),
    resets_at: time,
  }),
  event('turn.ended', {
    stop_reason: stopReasonSchema,
    partial: z.boolean(),
    usage: usageSchema,
    estimated: z.boolean(),
    cost_usd: z.number(),
    duration_ms: z.number().min(0),
    error: errorBodySchema.optional(),
  }),
  event('session.status_running', {}),
  event('session.status_idle', {
    stop_reason: z.object({ type: idleReasonSchema, event_ids: z.array(z.string()).optional() }),
  }),
  event('session.error', {
    error: z.object({
      type: z.string(),
      code: z.string(),
      message: z.string(),
      retry_status: z.object({ type: z.enum(['retrying', 'exhausted', 'terminal']) }),
    }),
  }),
  /** `role` null: the membership ended. */
  event('session.member_updated', { ...echo, user_id: z.string(), role: memberRoleSchema.nullable() }),
  event('session.deleted', {}),
] as const;

const deltaBody = z.discriminatedUnion('type', [
  z.object({
    type: z.literal('content_delta'),
    /** Position in the message's `content`. */
    index: z.int().min(0),
    content: z.object({ type: z.literal('text'), text: z.string() }),
  }),
  z.object({ type: z.literal('thinking_delta'), thinking: z.string() }),
  z.object({ type: z.literal('input_json_delta'), partial_json: z.string() }),
]);

/** The one event without `id` and time: it is many, small, and merged for those behind. */
export const deltaEventSchema = z.object({
  type: z.literal('event_delta'),
  session_id: z.string(),
  turn_id: z.string(),
  seq: z.int().min(1),
  prev_seq: z.int().min(0).optional(),
  event_id: z.string(),
  delta: deltaBody,
});

type Schemas = (typeof schemas)[number];
const loose = schemas.map((s) => s.loose()) as unknown as [Schemas, ...Schemas[]];

/** Any event of the log, open for fields to come. */
export const sessionEventSchema = z.discriminatedUnion('type', [...loose, deltaEventSchema.loose() as never]);

export type LoggedEvent = z.infer<Schemas>;
export type DeltaEvent = z.infer<typeof deltaEventSchema>;
export type SessionEvent = LoggedEvent | DeltaEvent;
export type EventType = SessionEvent['type'];
export type EventOf<T extends EventType> = Extract<SessionEvent, { type: T }>;

export const EVENT_TYPES: readonly string[] = [...schemas.map((s) => s.shape.type.value), 'event_delta'];

/** `turn.ended.stop_reason` → the reason with which the session goes idle. */
export const IDLE_REASON: Readonly<Record<StopReason, IdleReason>> = {
  end_turn: 'end_turn',
  max_tokens: 'end_turn',
  stop_sequence: 'end_turn',
  refusal: 'end_turn',
  max_steps: 'end_turn',
  deadline: 'end_turn',
  cancelled: 'interrupted',
  interrupted_by_message: 'interrupted',
  budget_exhausted: 'budget_reached',
  tool_timeout: 'retries_exhausted',
  context_window_exceeded: 'retries_exhausted',
  error: 'retries_exhausted',
  node_lost: 'retries_exhausted',
};

const WHOLE: readonly StopReason[] = ['end_turn', 'stop_sequence', 'max_tokens', 'refusal'];

/** Whether a turn that ended so left its answer unfinished. */
export const isPartial = (reason: StopReason): boolean => !WHOLE.includes(reason);
