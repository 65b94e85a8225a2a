/** Content blocks, as the Messages API has them, and tool definitions. */
import { z } from 'zod';

const text = z.strictObject({ type: z.literal('text'), text: z.string().min(1) });
const base64 = z.string().regex(/^[A-Za-z0-9+/]+={0,2}$/, 'must be base64');
const httpUrl = z.url({ protocol: /^https?$/ });

const image = z.strictObject({
  type: z.literal('image'),
  source: z.discriminatedUnion('type', [
    z.strictObject({
      type: z.literal('base64'),
      media_type: z.enum(['image/jpeg', 'image/png', 'image/gif', 'image/webp']),
      data: base64,
    }),
    z.strictObject({ type: z.literal('url'), url: httpUrl }),
  ]),
});

const document = z.strictObject({
  type: z.literal('document'),
  title: z.string().max(500).nullish(),
  context: z.string().nullish(),
  source: z.discriminatedUnion('type', [
    z.strictObject({ type: z.literal('base64'), media_type: z.literal('application/pdf'), data: base64 }),
    z.strictObject({ type: z.literal('text'), media_type: z.literal('text/plain'), data: z.string().min(1) }),
    z.strictObject({ type: z.literal('url'), url: httpUrl }),
  ]),
});

export const inputBlockSchema = z.discriminatedUnion('type', [text, image, document]);
export type InputBlock = z.infer<typeof inputBlockSchema>;
export type TextBlock = z.infer<typeof text>;

const isSaid = (blocks: InputBlock[]): boolean => blocks.some((b) => b.type !== 'text' || b.text.trim() !== '');

/** What a user says: text or blocks, never blank; always blocks once parsed. Blank text blocks beside others are left out. */
export const userContentSchema = z
  .union([z.string(), z.array(inputBlockSchema).max(200)])
  .transform((content): InputBlock[] =>
    typeof content === 'string'
      ? [{ type: 'text', text: content }]
      : content.filter((b) => b.type !== 'text' || b.text.trim() !== ''),
  )
  .refine(isSaid, 'must hold at least one block that is not blank');

/** What a tool answers: text or blocks; may be empty. */
export const resultContentSchema = z
  .union([z.string(), z.array(inputBlockSchema).max(200)])
  .transform((content): InputBlock[] =>
    (typeof content === 'string' ? [{ type: 'text' as const, text: content }] : content).filter(
      (b) => b.type !== 'text' || b.text.trim() !== '',
    ),
  );

export const toolNameSchema = z.string().regex(/^[a-zA-Z0-9_-]{1,64}$/, 'must be 1–64 of A-Z a-z 0-9 _ -');

/** A JSON Schema of an object; its keywords are checked by the server's validator. */
export const inputSchemaSchema = z.looseObject({ type: z.literal('object') });

export const clientToolSchema = z.strictObject({
  name: toolNameSchema,
  description: z.string().max(10_000),
  input_schema: inputSchemaSchema,
  timeout_ms: z.int().min(1_000).max(3_600_000).optional(),
  label: z.string().max(200).optional(),
});
export type ClientTool = z.infer<typeof clientToolSchema>;

export const toolChoiceSchema = z.discriminatedUnion('type', [
  z.strictObject({ type: z.literal('auto') }),
  z.strictObject({ type: z.literal('any') }),
  z.strictObject({ type: z.literal('none') }),
  z.strictObject({ type: z.literal('tool'), name: toolNameSchema }),
]);
export type ToolChoice = z.infer<typeof toolChoiceSchema>;
