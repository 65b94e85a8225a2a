/**
 * Holds a request body against the rules of `POST /v1/messages`, as strictly as the real API, and where its rules are
 * soft, more strictly. Shared by the fake upstream and by suites that check histories directly.
 */
import {
  aBoolean,
  aList,
  anObject,
  aString,
  CACHED,
  type Check,
  checkBlock,
  checkShape,
  isBlank,
  isObject,
  type Json,
  matching,
  oneOf,
  orNull,
  saysSomething,
  SERVER_RESULT,
  TOOL_NAME,
} from './block-rules.js';
import { checkToolPairs } from './tool-pairs.js';

export interface ValidationOptions {
  /** Default `messages`. */
  readonly endpoint?: 'messages' | 'count_tokens';
  /** Whether the last message may be the assistant's though no server tool paused it. Default `refused`. */
  readonly prefill?: 'refused' | 'allowed';
}

const MAX_BREAKPOINTS = 4;
const REMOVED = ['temperature', 'top_p', 'top_k'];

const positive: Check = (v) =>
  Number.isInteger(v) && (v as number) > 0 ? undefined : 'must be a whole number above 0';

const TOP_LEVEL: Readonly<Record<string, Check>> = {
  model: saysSomething,
  max_tokens: positive,
  messages: (v) => (Array.isArray(v) && v.length > 0 ? undefined : 'at least one message is required'),
  system: (v) => (typeof v === 'string' ? saysSomething(v) : aList(v)),
  tools: aList,
  tool_choice: anObject,
  stream: aBoolean,
  stop_sequences: (v) =>
    Array.isArray(v) && v.every((s) => saysSomething(s) === undefined)
      ? undefined
      : 'must be strings that are not blank',
  metadata: anObject,
  thinking: anObject,
  service_tier: oneOf('auto', 'standard_only'),
  container: () => undefined,
  inference_geo: orNull(aString),
  output_config: anObject,
  speed: orNull(oneOf('standard', 'fast')),
  cache_control: CACHED.cache_control,
};

/** Every rule that the body breaks, as a sentence that begins with the path; empty where it is valid. */
export function validateRequest(body: unknown, options: ValidationOptions = {}): string[] {
  if (!isObject(body)) return ['the body must be a JSON object'];
  const problems: string[] = [];
  checkTopLevel(body, options.endpoint ?? 'messages', problems);
  const tools: readonly unknown[] = Array.isArray(body['tools']) ? body['tools'] : [];
  checkTools(tools, problems);
  checkToolChoice(body['tool_choice'], tools, problems);
  if (Array.isArray(body['system'])) checkSystem(body['system'], problems);
  if (isObject(body['thinking'])) checkThinking(body, body['thinking'], problems);
  if (Array.isArray(body['messages'])) checkMessages(body['messages'], options.prefill ?? 'refused', problems);
  const breakpoints = countBreakpoints(body);
  if (breakpoints > MAX_BREAKPOINTS) {
    problems.push(`a maximum of ${MAX_BREAKPOINTS} blocks with cache_control may be provided; found ${breakpoints}`);
  }
  return problems;
}

function checkTopLevel(body: Json, endpoint: 'messages' | 'count_tokens', problems: string[]): void {
  const required = endpoint === 'messages' ? ['model', 'max_tokens', 'messages'] : ['model', 'messages'];
  for (const field of required) if (!(field in body)) problems.push(`${field}: Field required`);
  for (const [field, value] of Object.entries(body)) {
    if (REMOVED.includes(field)) {
      problems.push(`${field}: no longer supported`);
      continue;
    }
    const unknown = !Object.hasOwn(TOP_LEVEL, field) || (endpoint === 'count_tokens' && field === 'stream');
    const problem = unknown ? 'Extra inputs are not permitted' : TOP_LEVEL[field]?.(value);
    if (problem !== undefined) problems.push(`${field}: ${problem}`);
  }
}

const CUSTOM_TOOL = {
  required: { name: matching(TOOL_NAME), input_schema: anObject },
  optional: {
    ...CACHED,
    type: orNull(oneOf('custom')),
    description: saysSomething,
    eager_input_streaming: orNull(aBoolean),
    strict: aBoolean,
    defer_loading: aBoolean,
    allowed_callers: aList,
    input_examples: aList,
  },
};

function checkTools(tools: readonly unknown[], problems: string[]): void {
  const names = new Set<string>();
  tools.forEach((tool, at) => {
    const path = `tools.${at}`;
    // Tools that run at Anthropic have fields of their own.
    const isServerTool = isObject(tool) && typeof tool['type'] === 'string' && /_\d{8}$/.test(tool['type']);
    if (!isServerTool && checkShape(tool, CUSTOM_TOOL, path, problems)) checkInputSchema(tool, path, problems);
    if (!isObject(tool)) return;
    const name = String(tool['name']);
    if (names.has(name)) problems.push(`${path}: Tool names must be unique; ${name} is there twice`);
    names.add(name);
  });
}

function checkInputSchema(tool: Json, path: string, problems: string[]): void {
  const schema = tool['input_schema'];
  if (!isObject(schema)) return;
  if (schema['type'] !== 'object') problems.push(`${path}.input_schema.type: Input should be 'object'`);
  for (const keyword of ['oneOf', 'allOf', 'anyOf']) {
    if (keyword in schema) problems.push(`${path}.input_schema: does not support ${keyword} at the top level`);
  }
}

function checkToolChoice(choice: unknown, tools: readonly unknown[], problems: string[]): void {
  if (!isObject(choice)) return;
  const type = choice['type'];
  const named: Readonly<Record<string, Check>> = type === 'tool' ? { name: matching(TOOL_NAME) } : {};
  checkShape(
    choice,
    {
      required: { type: oneOf('auto', 'any', 'tool', 'none'), ...named },
      optional: type === 'none' ? {} : { disable_parallel_tool_use: aBoolean },
    },
    'tool_choice',
    problems,
  );
  if (tools.length === 0) problems.push('tool_choice: may only be specified while providing tools');
  else if (type === 'tool' && !tools.some((t) => isObject(t) && t['name'] === choice['name'])) {
    problems.push(`tool_choice: Tool '${String(choice['name'])}' not found in provided tools`);
  }
}

function checkSystem(blocks: readonly unknown[], problems: string[]): void {
  if (blocks.length === 0) problems.push('system: must not be empty');
  blocks.forEach((block, at) => {
    const shape = {
      required: { type: oneOf('text'), text: saysSomething },
      optional: { ...CACHED, citations: orNull(aList) },
    };
    checkShape(block, shape, `system.${at}`, problems);
  });
}

function checkThinking(body: Json, thinking: Json, problems: string[]): void {
  const { type, budget_tokens: budget } = thinking;
  const problem = oneOf('enabled', 'adaptive', 'disabled')(type);
  if (problem !== undefined) problems.push(`thinking.type: ${problem}`);
  if (type !== 'enabled') return;
  const limit = body['max_tokens'];
  if (typeof budget !== 'number' || budget < 1_024 || (typeof limit === 'number' && budget >= limit)) {
    problems.push('thinking.budget_tokens: must be at least 1024 and below max_tokens');
  }
  const choice = body['tool_choice'];
  if (isObject(choice) && (choice['type'] === 'any' || choice['type'] === 'tool')) {
    problems.push('tool_choice: thinking may not be enabled when tool use is forced');
  }
}

function checkMessages(messages: readonly unknown[], prefill: 'refused' | 'allowed', problems: string[]): void {
  messages.forEach((message, at) => {
    checkMessage(message, at, problems);
    const expected = at % 2 === 0 ? 'user' : 'assistant';
    if (isObject(message) && message['role'] !== expected) {
      problems.push(`messages.${at}.role: roles must alternate, beginning with user; expected ${expected}`);
    }
  });
  checkToolPairs(messages, problems);
  const last = messages.at(-1);
  if (isObject(last) && last['role'] === 'assistant' && prefill === 'refused' && !isPaused(last)) {
    problems.push('messages: the conversation must end with a user message');
  }
}

function checkMessage(message: unknown, at: number, problems: string[]): void {
  const path = `messages.${at}`;
  const shape = { required: { role: oneOf('user', 'assistant'), content: () => undefined } };
  if (!checkShape(message, shape, path, problems)) return;
  const { role, content } = message;
  if (typeof content === 'string') {
    if (isBlank(content)) problems.push(`${path}.content: must not be empty or whitespace`);
    return;
  }
  if (!Array.isArray(content) || content.length === 0) {
    problems.push(`${path}.content: must be a string or a list of at least one block`);
    return;
  }
  const place = role === 'assistant' ? 'assistant' : 'user';
  content.forEach((block: unknown, i) => {
    checkBlock(block, place, `${path}.content.${i}`, problems);
  });
  const final: unknown = content.at(-1);
  if (place === 'assistant' && isObject(final) && /^(redacted_)?thinking$/.test(String(final['type']))) {
    problems.push(`${path}: the final block in an assistant message cannot be \`thinking\``);
  }
}

/** After `pause_turn` the assistant's content is sent back as the last message. */
function isPaused(message: Json): boolean {
  const content = message['content'];
  const final: unknown = Array.isArray(content) ? content.at(-1) : undefined;
  return isObject(final) && (final['type'] === 'server_tool_use' || SERVER_RESULT.test(String(final['type'])));
}

/** Where the API looks for breakpoints; a field of that name in a tool's input or schema is none. */
function countBreakpoints(body: Json): number {
  const listed = (value: unknown): Json[] => (Array.isArray(value) ? value.filter(isObject) : []);
  const blocks = listed(body['messages']).flatMap((m) => listed(m['content']));
  const inResults = blocks.filter((b) => b['type'] === 'tool_result').flatMap((b) => listed(b['content']));
  const places = [body, ...listed(body['tools']), ...listed(body['system']), ...blocks, ...inResults];
  return places.filter((place) => place['cache_control'] != null).length;
}
