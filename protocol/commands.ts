/** What clients may ask for. Closed objects: a typo is refused, not ignored. */
import { z } from 'zod';
import {
  clientToolSchema,
  resultContentSchema,
  toolChoiceSchema,
  toolNameSchema,
  userContentSchema,
} from './content.js';
import { BOUNDS } from './limits.js';

export const commandIdSchema = z
  .string()
  .regex(new RegExp(`^[A-Za-z0-9_-]{1,${BOUNDS.commandIdChars}}$`), 'must be 1–64 of A-Z a-z 0-9 _ -');

/** An id that a client repeats. Its form is not checked here: one of the wrong form is simply not found. */
const someId = z.string().max(200);

const jsonObject = z.record(z.string(), z.unknown());
const model = z.string().min(1).max(200);
const maxTokens = z.int().min(1).max(1_000_000);
export const tagsSchema = z.array(z.string().min(1).max(100)).max(10);
export const metadataSchema = z
  .record(z.string().max(64), z.string().max(512))
  .refine((m) => Object.keys(m).length <= 16, 'at most 16 keys');

/** An agent given in the command itself. What it leaves out comes from the agent named `default`. */
export const inlineAgentSchema = z.strictObject({
  model: model.optional(),
  system: z.string().max(1_000_000).optional(),
  tools: z.array(z.string().min(1).max(64)).max(200).optional(),
  max_tokens: maxTokens.optional(),
  max_steps: z.int().min(1).max(1_000).optional(),
  deadline_ms: z.int().min(1).max(86_400_000).optional(),
});

export const sessionCreateFields = {
  agent: z.union([z.string().min(1).max(100), inlineAgentSchema]).optional(),
  title: z.string().max(500).nullish(),
  metadata: metadataSchema.optional(),
};

const fields = {
  'user.message': {
    content: userContentSchema,
    on_busy: z.enum(['queue', 'interrupt', 'steer', 'reject']).optional(),
    max_tokens: maxTokens.optional(),
    model: model.optional(),
    tool_choice: toolChoiceSchema.optional(),
    deadline_ms: z.int().min(1).max(86_400_000).optional(),
    tags: tagsSchema.optional(),
  },
  'user.steer': {
    content: userContentSchema,
    turn_id: someId.optional(),
    apply: z.enum(['next_step', 'now']).default('next_step'),
  },
  'user.interrupt': {
    turn_id: someId.optional(),
    message_id: someId.optional(),
    command_id: someId.optional(),
    scope: z.enum(['turn', 'turn_and_queue']).optional(),
    reason: z.string().max(500).optional(),
    // Sent by the official SDK; this server's sessions have one thread.
    session_thread_id: z.string().nullish(),
  },
  'user.tool_confirmation': {
    tool_use_id: someId,
    result: z.enum(['allow', 'deny']),
    deny_message: z.string().max(10_000).nullish(),
    updated_input: jsonObject.optional(),
  },
  'user.custom_tool_result': {
    custom_tool_use_id: someId,
    content: resultContentSchema.optional(),
    is_error: z.boolean().nullish(),
  },
  'user.tool_progress': {
    custom_tool_use_id: someId,
    message: z.string().max(2_000).optional(),
    percent: z.number().min(0).max(100).optional(),
  },
  'tools.register': { tools: z.array(clientToolSchema).min(1).max(128) },
  'tools.unregister': { names: z.array(toolNameSchema).min(1).max(128) },
  'session.attach': {
    after_seq: z.int().min(0).optional(),
    epoch: z.string().max(64).optional(),
    deltas: z.boolean().default(false),
  },
  'session.detach': {},
  'presence.update': {
    state: jsonObject.refine(
      (s) => new TextEncoder().encode(JSON.stringify(s)).length <= BOUNDS.presenceBytes,
      'must be at most 2 KiB as JSON',
    ),
  },
} as const;

const id = { id: commandIdSchema };
const inSession = { ...id, session_id: someId };

const userMessage = z.strictObject({ type: z.literal('user.message'), ...inSession, ...fields['user.message'] });
const userSteer = z.strictObject({ type: z.literal('user.steer'), ...inSession, ...fields['user.steer'] });
const userInterrupt = z.strictObject({ type: z.literal('user.interrupt'), ...inSession, ...fields['user.interrupt'] });
const toolConfirmation = z.strictObject({
  type: z.literal('user.tool_confirmation'),
  ...inSession,
  ...fields['user.tool_confirmation'],
});
const customToolResult = z.strictObject({
  type: z.literal('user.custom_tool_result'),
  ...inSession,
  ...fields['user.custom_tool_result'],
});
const toolProgress = z.strictObject({
  type: z.literal('user.tool_progress'),
  ...inSession,
  ...fields['user.tool_progress'],
});
const toolsRegister = z.strictObject({ type: z.literal('tools.register'), ...inSession, ...fields['tools.register'] });
const toolsUnregister = z.strictObject({
  type: z.literal('tools.unregister'),
  ...inSession,
  ...fields['tools.unregister'],
});
const attach = z.strictObject({ type: z.literal('session.attach'), ...inSession, ...fields['session.attach'] });
const detach = z.strictObject({ type: z.literal('session.detach'), ...inSession });
const presenceUpdate = z.strictObject({
  type: z.literal('presence.update'),
  ...inSession,
  ...fields['presence.update'],
});
const sessionCreate = z.strictObject({ type: z.literal('session.create'), ...id, ...sessionCreateFields });
const authenticate = z.strictObject({
  type: z.literal('connection.authenticate'),
  ...id,
  token: z.string().min(1).max(16_384),
});
const ping = z.strictObject({ type: z.literal('ping'), ...id });

/** Commands that the session's one writer handles, over any wire. */
export const turnCommandSchema = z.discriminatedUnion('type', [
  userMessage,
  userSteer,
  userInterrupt,
  toolConfirmation,
  customToolResult,
  toolProgress,
]);

/** Every frame a client may send over the WebSocket. */
export const clientFrameSchema = z.discriminatedUnion('type', [
  ...turnCommandSchema.options,
  toolsRegister,
  toolsUnregister,
  attach,
  detach,
  presenceUpdate,
  sessionCreate,
  authenticate,
  ping,
]);

/** The body of `POST /v1/sessions/:id/events`: the session comes from the path, and ids may be left out. */
export const sendEventsSchema = z.strictObject({
  events: z
    .array(
      z.discriminatedUnion('type', [
        userMessage.omit({ session_id: true }).extend({ id: commandIdSchema.optional() }),
        userSteer.omit({ session_id: true }).extend({ id: commandIdSchema.optional() }),
        userInterrupt.omit({ session_id: true }).extend({ id: commandIdSchema.optional() }),
        toolConfirmation.omit({ session_id: true }).extend({ id: commandIdSchema.optional() }),
        customToolResult.omit({ session_id: true }).extend({ id: commandIdSchema.optional() }),
        toolProgress.omit({ session_id: true }).extend({ id: commandIdSchema.optional() }),
      ]),
    )
    .min(1)
    .max(100),
});

export const sessionCreateBodySchema = z.strictObject(sessionCreateFields);

export type TurnCommand = z.infer<typeof turnCommandSchema>;
export type ClientFrame = z.infer<typeof clientFrameSchema>;
/** What a client writes, before defaults are filled in. */
export type ClientFrameInput = z.input<typeof clientFrameSchema>;
export type UserMessage = z.infer<typeof userMessage>;
export type UserSteer = z.infer<typeof userSteer>;
export type UserInterrupt = z.infer<typeof userInterrupt>;
export type ToolConfirmation = z.infer<typeof toolConfirmation>;
export type CustomToolResult = z.infer<typeof customToolResult>;
export type ToolProgress = z.infer<typeof toolProgress>;
export type ToolsRegister = z.infer<typeof toolsRegister>;
export type ToolsUnregister = z.infer<typeof toolsUnregister>;
export type SessionAttach = z.infer<typeof attach>;
export type SessionCreate = z.infer<typeof sessionCreate>;
export type PresenceUpdate = z.infer<typeof presenceUpdate>;
export type InlineAgent = z.infer<typeof inlineAgentSchema>;
