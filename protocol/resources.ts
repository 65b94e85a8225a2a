/** Resources: sessions, snapshots, principals, pages. */
import { z } from 'zod';
import { clientToolSchema } from './content.js';
import { blockSchema, idleReasonSchema, usageSchema } from './events.js';
import { memberSchema } from './members.js';

const time = z.iso.datetime();

export const principalSchema = z.object({
  user_id: z.string(),
  org_id: z.string(),
  roles: z.array(z.string()),
  key_id: z.string().optional(),
});
export type Principal = z.infer<typeof principalSchema>;

/** A session's agent: the configuration as it was when the session was made. */
export const agentSchema = z.object({
  type: z.literal('agent'),
  name: z.string(),
  model: z.string(),
  system: z.string().nullable(),
  /** Names and patterns of the server tools it may use. */
  tools: z.array(z.string()),
  max_tokens: z.int(),
  max_steps: z.int(),
  deadline_ms: z.int(),
});
export type Agent = z.infer<typeof agentSchema>;

export const sessionSchema = z.object({
  type: z.literal('session'),
  id: z.string(),
  status: z.enum(['idle', 'running']),
  title: z.string().nullable(),
  metadata: z.record(z.string(), z.string()),
  agent: agentSchema,
  members: z.array(memberSchema),
  created_at: time,
  updated_at: time,
  epoch: z.string(),
  head_seq: z.int().min(0),
  usage: usageSchema,
  cost_usd: z.number(),
});
export type Session = z.infer<typeof sessionSchema>;

/** A message of the history, as the Messages API takes it. */
export const messageSchema = z.object({ role: z.enum(['user', 'assistant']), content: z.array(blockSchema) });
export type Message = z.infer<typeof messageSchema>;

/** A tool call that waits for somebody. */
export const openCallSchema = z.object({
  kind: z.enum(['confirmation', 'tool_result']),
  tool_use_id: z.string(),
  type: z.enum(['agent.tool_use', 'agent.mcp_tool_use', 'agent.custom_tool_use']),
  name: z.string(),
  label: z.string(),
  input: z.record(z.string(), z.unknown()),
  expires_at: time,
  connection_id: z.string().optional(),
});
export type OpenCall = z.infer<typeof openCallSchema>;

export const turnSchema = z.object({
  turn_id: z.string(),
  message_id: z.string(),
  status: z.enum(['admitting', 'streaming', 'executing_tools', 'waiting', 'backing_off']),
  step: z.int().min(0),
  model: z.string(),
  started_at: time,
  deadline_at: time,
});
export type TurnResource = z.infer<typeof turnSchema>;

export const queuedSchema = z.object({
  turn_id: z.string(),
  message_id: z.string(),
  position: z.int().min(0),
  content: z.array(blockSchema),
  user_id: z.string(),
});

/** The state of a session at `seq`: enough to draw the screen without any earlier event. */
export const snapshotSchema = z.object({
  session: sessionSchema,
  seq: z.int().min(0),
  messages: z.array(messageSchema),
  turn: turnSchema.optional(),
  queue: z.array(queuedSchema),
  partial: z.object({ event_id: z.string(), content: z.array(blockSchema) }).optional(),
  pending: z.array(openCallSchema),
  tools: z.array(clientToolSchema),
  idle_reason: idleReasonSchema.optional(),
  usage: usageSchema,
});
export type Snapshot = z.infer<typeof snapshotSchema>;

export const presenceMemberSchema = z.object({
  user_id: z.string(),
  connection_id: z.string(),
  state: z.record(z.string(), z.unknown()),
});
export type PresenceMember = z.infer<typeof presenceMemberSchema>;
