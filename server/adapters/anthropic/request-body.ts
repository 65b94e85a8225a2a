/** A request of the port → the body of `POST /v1/messages`, with the breakpoints of the prompt cache. */
import type { Block } from '../../../protocol/index.js';
import type { ModelRequest } from '../../ports/model.js';

const EPHEMERAL = { type: 'ephemeral' } as const;

/** Blocks that the API lets carry a breakpoint; what is not here may refuse it. */
const CACHEABLE: ReadonlySet<string> = new Set(['text', 'image', 'document', 'tool_use', 'tool_result']);

/**
 * Breakpoints, four at most: the tools, the system prompt, the last message, and the user message before it, where the
 * step before wrote its own: the cache looks back 20 blocks only, and one step may add more.
 */
export function toRequestBody(request: ModelRequest): Record<string, unknown> {
  const { model, maxTokens, system, tools, toolChoice, messages } = request;
  const body: Record<string, unknown> = { model, max_tokens: maxTokens, stream: true };
  if (tools.length > 0) {
    body['tools'] = tools.map(({ name, description, input_schema }, at) => ({
      name,
      ...(description.trim() === '' ? {} : { description }),
      input_schema,
      ...(at === tools.length - 1 ? { cache_control: EPHEMERAL } : {}),
    }));
  }
  if (toolChoice !== undefined) body['tool_choice'] = toolChoice;
  if (system !== undefined && system.trim() !== '') {
    body['system'] = [{ type: 'text', text: system, cache_control: EPHEMERAL }];
  }
  const last = messages.length - 1;
  const before = messages.findLastIndex((message, at) => at < last && message.role === 'user');
  body['messages'] = messages.map((message, at) => {
    const content = message.content.map(withoutBreakpoint);
    return { role: message.role, content: at === last || at === before ? withBreakpoint(content) : content };
  });
  return body;
}

/** Breakpoints in a history would count towards the four. */
function withoutBreakpoint(block: Block): Block {
  if (!('cache_control' in block)) return block;
  const { cache_control: _, ...rest } = block;
  return rest as Block;
}

/** Marks the last block that may carry a breakpoint, in a copy. */
function withBreakpoint(content: readonly Block[]): readonly Block[] {
  const at = content.findLastIndex(isCacheable);
  return at === -1 ? content : content.map((block, i) => (i === at ? { ...block, cache_control: EPHEMERAL } : block));
}

function isCacheable(block: Block): boolean {
  if (!CACHEABLE.has(block.type)) return false;
  return block.type !== 'text' || (typeof block['text'] === 'string' && block['text'].trim() !== '');
}

/** The body of `POST /v1/messages/count_tokens` for the very same request; it takes no bound and no stream. */
export function toCountBody(request: ModelRequest): Record<string, unknown> {
  const { max_tokens: _, stream: __, ...counted } = toRequestBody(request);
  return counted;
}
