/** What the server sends beside the log: replies, and what concerns one connection. */
import { z } from 'zod';
import { errorBodySchema, sessionEventSchema } from './events.js';
import { SUBPROTOCOL } from './limits.js';
import { memberRoleSchema } from './members.js';
import { presenceMemberSchema, principalSchema, sessionSchema, snapshotSchema } from './resources.js';

const time = z.iso.datetime();

export const attachResultSchema = z.object({
  mode: z.enum(['replay', 'snapshot']),
  epoch: z.string(),
  head_seq: z.int().min(0),
  snapshot: snapshotSchema.optional(),
});
export type AttachResult = z.infer<typeof attachResultSchema>;

/** The `result` of each command, all fields of all commands; which one has which stands in the protocol's table. */
export const commandResultSchema = z.looseObject({
  session: sessionSchema.optional(),
  turn_id: z.string().optional(),
  message_id: z.string().optional(),
  position: z.int().min(0).optional(),
  steer_id: z.string().optional(),
  outcome: z.enum(['joined', 'pending', 'cancelled', 'already_ended']).optional(),
  expires_at: time.nullish(),
  user_id: z.string().optional(),
  role: memberRoleSchema.nullish(),
});

const accepted = z.object({
  type: z.literal('command.accepted'),
  id: z.string(),
  session_id: z.string().optional(),
  applied_at_seq: z.int().min(0).optional(),
  duplicate: z.boolean().optional(),
  result: commandResultSchema,
});

const rejected = z.object({
  type: z.literal('command.rejected'),
  id: z.string(),
  session_id: z.string().optional(),
  error: errorBodySchema,
});

export const controlFrameSchema = z.discriminatedUnion('type', [
  z.object({
    type: z.literal('connection.ready'),
    protocol: z.literal(SUBPROTOCOL),
    connection_id: z.string(),
    principal: principalSchema,
    token_expires_at: time.nullable(),
    ping_interval_ms: z.int(),
    limits: z.record(z.string(), z.number()),
  }),
  accepted,
  rejected,
  z.object({ type: z.literal('connection.token_expiring'), expires_at: time }),
  z.object({ type: z.literal('connection.draining'), reconnect_after_ms: z.int() }),
  z.object({ type: z.literal('connection.reset'), session_id: z.string(), epoch: z.string() }),
  z.object({ type: z.literal('connection.detached'), session_id: z.string(), code: z.string() }),
  z.object({ type: z.literal('connection.closing'), code: z.int(), reason: z.string(), reconnect: z.boolean() }),
  z.object({ type: z.literal('presence.changed'), session_id: z.string(), members: z.array(presenceMemberSchema) }),
  z.object({ type: z.literal('pong'), id: z.string() }),
]);

/** Every frame that a server may send. */
export const serverFrameSchema = z.union([controlFrameSchema, sessionEventSchema]);

export type ControlFrame = z.infer<typeof controlFrameSchema>;
export type CommandAccepted = z.infer<typeof accepted>;
export type CommandRejected = z.infer<typeof rejected>;
export type CommandResult = z.infer<typeof commandResultSchema>;
