/** Turns what a tool gave back, of whatever form, into an answer for the model. */
import { type InputBlock, inputBlockSchema, resultContentSchema } from '../../protocol/index.js';
import type { ToolAnswer } from '../ports/tool-runner.js';

const text = (sentence: string): InputBlock[] => [{ type: 'text', text: sentence }];

export const toErrorAnswer = (sentence: string): ToolAnswer => ({
  content: text(sentence),
  is_error: true,
  outcome: 'error',
});

export const toTimeoutAnswer = (timeoutMs: number): ToolAnswer => ({
  content: text(`The tool did not answer within ${timeoutMs} ms.`),
  is_error: true,
  outcome: 'timeout',
});

/** CAN-5: what a call that had started is reported as. */
export const CANCELLED_ANSWER: ToolAnswer = {
  content: text('The call was cancelled while it ran; it may have had effects.'),
  is_error: true,
  outcome: 'cancelled',
};

/**
 * Text, a list of content blocks, `{ content, is_error? }`, or any other JSON value, which becomes its JSON text. An
 * object with more keys than those two is data, whatever it calls them.
 */
export function toToolAnswer(value: unknown): ToolAnswer {
  if (value === undefined) return { content: [], is_error: false, outcome: 'ok' };
  if (isEnvelope(value)) {
    const isError = value.is_error === true;
    const isEmpty = Array.isArray(value.content) && value.content.length === 0;
    const content = toContent(isEmpty ? undefined : (value.content ?? undefined));
    if (typeof content === 'string') return toErrorAnswer(content);
    return { content, is_error: isError, outcome: isError ? 'error' : 'ok' };
  }
  const content = toContent(value);
  return typeof content === 'string' ? toErrorAnswer(content) : { content, is_error: false, outcome: 'ok' };
}

/** The blocks; or, where blocks were meant and are malformed, what is wrong with them. */
function toContent(value: unknown): InputBlock[] | string {
  const isBlocks = Array.isArray(value) && value.length > 0 && value.every(isBlockLike);
  if (!isBlocks) return resultContentSchema.parse(toText(value));
  const blocks = value.filter((block) => !isBlank(block));
  for (const [index, block] of blocks.entries()) {
    const issue = inputBlockSchema.safeParse(block).error?.issues[0];
    if (issue) {
      const place = ['content', index, ...issue.path].join('.');
      return `The tool answered with content that is not valid: ${place}: ${issue.message}`;
    }
  }
  const parsed = resultContentSchema.safeParse(blocks);
  return parsed.success ? parsed.data : 'The tool answered with too many content blocks.';
}

function toText(value: unknown): string {
  if (value === undefined) return '';
  return typeof value === 'string' ? value : (JSON.stringify(value) ?? '');
}

interface Envelope {
  readonly content: unknown;
  readonly is_error?: boolean | null;
}

function isEnvelope(value: unknown): value is Envelope {
  if (typeof value !== 'object' || value === null || Array.isArray(value) || !('content' in value)) return false;
  const isError = (value as { is_error?: unknown }).is_error;
  return (
    Object.keys(value).every((key) => key === 'content' || key === 'is_error') &&
    (isError === undefined || isError === null || typeof isError === 'boolean')
  );
}

const BLOCK_TYPES = ['text', 'image', 'document'];

const isBlockLike = (value: unknown): boolean =>
  typeof value === 'object' && value !== null && BLOCK_TYPES.includes((value as { type?: string }).type ?? '');

const isBlank = (block: { type?: unknown; text?: unknown }): boolean => block.type === 'text' && block.text === '';
