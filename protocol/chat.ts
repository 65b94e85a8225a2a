/** The one-shot chat: its request, its SSE events and its JSON answer; and feedback. */
import { z } from 'zod';
import { tagsSchema } from './commands.js';
import { toolChoiceSchema } from './content.js';
import { blockSchema, stopReasonSchema, usageSchema } from './events.js';

export const chatRequestSchema = z.strictObject({
  message: z.string().refine((m) => m.trim() !== '', 'must not be blank'),
  conversation_id: z.string().max(200).optional(),
  system_prompt: z.string().max(1_000_000).optional(),
  model: z.string().min(1).max(200).optional(),
  max_tokens: z.int().min(1).max(1_000_000).optional(),
  tool_choice: toolChoiceSchema.optional(),
  tags: tagsSchema.optional(),
  stream: z.boolean().optional(),
  on_disconnect: z.enum(['cancel', 'continue']).optional(),
});
export type ChatRequest = z.infer<typeof chatRequestSchema>;

export const chatEventSchemas = {
  start: z.object({ conversation_id: z.string(), turn_id: z.string() }),
  token: z.object({ text: z.string() }),
  tool_call: z.object({
    id: z.string(),
    name: z.string(),
    input: z.record(z.string(), z.unknown()),
    label: z.string(),
  }),
  tool_start: z.object({ id: z.string(), name: z.string(), label: z.string() }),
  tool_result: z.object({ id: z.string(), name: z.string(), content: z.array(blockSchema), is_error: z.boolean() }),
  step_complete: z.object({ step: z.int(), usage: usageSchema }),
  partial: z.object({
    text: z.string(),
    tool_results: z.array(
      z.object({ id: z.string(), name: z.string(), content: z.array(blockSchema), is_error: z.boolean() }),
    ),
    truncated: z.literal(true),
    reason: stopReasonSchema,
  }),
  error: z.object({ error: z.string(), message: z.string(), retry_after: z.number().optional() }),
  done: z.object({
    status: z.enum(['completed', 'cancelled', 'truncated', 'failed']),
    stop_reason: stopReasonSchema,
    usage: usageSchema,
    cost_usd: z.number(),
    conversation_id: z.string(),
  }),
} as const;
export type ChatEventType = keyof typeof chatEventSchemas;
export type ChatEvent = {
  [T in ChatEventType]: { event: T; data: z.infer<(typeof chatEventSchemas)[T]> };
}[ChatEventType];

export const chatResponseSchema = z.object({
  response: z.string(),
  conversation_id: z.string(),
  turn_id: z.string(),
  stop_reason: stopReasonSchema,
  tokens_used: z.int(),
  usage: usageSchema,
  cost_usd: z.number(),
  timestamp: z.iso.datetime(),
});

export const feedbackSchema = z.strictObject({
  conversation_id: z.string().min(1).max(200),
  rating: z.enum(['thumbs_up', 'thumbs_down']),
  comment: z.string().max(10_000).nullish(),
  turn_id: z.string().max(200).nullish(),
});
export type Feedback = z.infer<typeof feedbackSchema>;
