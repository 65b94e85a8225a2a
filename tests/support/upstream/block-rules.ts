/** What the Messages API asks of each kind of content block, where it may stand, and which fields it may have. */

export type Json = Readonly<Record<string, unknown>>;
/** What is wrong with a value, as the end of a sentence that its path begins; undefined where it fits. */
export type Check = (value: unknown) => string | undefined;

export const isObject = (value: unknown): value is Json =>
  typeof value === 'object' && value !== null && !Array.isArray(value);
export const isBlank = (text: string): boolean => text.trim() === '';

export const aString: Check = (v) => (typeof v === 'string' ? undefined : 'must be a string');
export const saysSomething: Check = (v) =>
  typeof v !== 'string' ? 'must be a string' : isBlank(v) ? 'must not be empty or whitespace' : undefined;
export const aBoolean: Check = (v) => (typeof v === 'boolean' ? undefined : 'must be a boolean');
export const anObject: Check = (v) => (isObject(v) ? undefined : 'must be an object');
export const aList: Check = (v) => (Array.isArray(v) ? undefined : 'must be a list');
export const matching =
  (pattern: RegExp): Check =>
  (v) =>
    typeof v === 'string' && pattern.test(v) ? undefined : `must match ${pattern.source}`;
export const oneOf =
  (...values: readonly unknown[]): Check =>
  (v) =>
    values.includes(v) ? undefined : `must be one of ${values.map((x) => JSON.stringify(x)).join(', ')}`;
export const orNull =
  (check: Check): Check =>
  (v) =>
    v === null ? undefined : check(v);
const anything: Check = () => undefined;

export interface Shape {
  readonly required: Readonly<Record<string, Check>>;
  readonly optional?: Readonly<Record<string, Check>>;
}

/** Checks an object's fields: all required ones are there, none is unknown, each fits. */
export function checkShape(value: unknown, shape: Shape, path: string, problems: string[]): value is Json {
  if (!isObject(value)) {
    problems.push(`${path}: must be an object`);
    return false;
  }
  const optional = shape.optional ?? {};
  for (const field of Object.keys(shape.required)) {
    if (!(field in value)) problems.push(`${path}.${field}: Field required`);
  }
  for (const [field, inner] of Object.entries(value)) {
    const check = shape.required[field] ?? optional[field];
    const problem = check === undefined ? 'Extra inputs are not permitted' : check(inner);
    if (problem !== undefined) problems.push(`${path}.${field}: ${problem}`);
  }
  return true;
}

const cacheControl: Check = (v) => {
  const problems: string[] = [];
  checkShape(v, { required: { type: oneOf('ephemeral') }, optional: { ttl: oneOf('5m', '1h') } }, '', problems);
  return problems.length === 0 ? undefined : `is not a valid breakpoint (${problems.join('; ')})`;
};
export const CACHED = { cache_control: orNull(cacheControl) };

const base64 = matching(/^[A-Za-z0-9+/]+={0,2}$/);
const httpUrl = matching(/^https?:\/\/\S+$/);
export const TOOL_USE_ID = /^[a-zA-Z0-9_-]+$/;
export const TOOL_NAME = /^[a-zA-Z0-9_-]{1,64}$/;
const serverToolUseId = matching(/^srvtoolu_[a-zA-Z0-9_]+$/);

const SOURCES: Readonly<Record<string, Readonly<Record<string, Shape>>>> = {
  image: {
    base64: {
      required: {
        type: anything,
        media_type: oneOf('image/jpeg', 'image/png', 'image/gif', 'image/webp'),
        data: base64,
      },
    },
    url: { required: { type: anything, url: httpUrl } },
    file: { required: { type: anything, file_id: saysSomething } },
  },
  document: {
    base64: { required: { type: anything, media_type: oneOf('application/pdf'), data: base64 } },
    text: { required: { type: anything, media_type: oneOf('text/plain'), data: saysSomething } },
    url: { required: { type: anything, url: httpUrl } },
    file: { required: { type: anything, file_id: saysSomething } },
    content: { required: { type: anything, content: anything } },
  },
};

export type Place = 'user' | 'assistant' | 'tool_result';

export interface BlockRule extends Shape {
  readonly places: readonly Place[];
}

const serverResult = (): BlockRule => ({
  required: { type: anything, tool_use_id: serverToolUseId, content: anything },
  optional: { ...CACHED, caller: anObject },
  places: ['assistant'],
});

export const BLOCK_RULES: Readonly<Record<string, BlockRule>> = {
  text: {
    required: { type: anything, text: saysSomething },
    optional: { ...CACHED, citations: orNull(aList) },
    places: ['user', 'assistant', 'tool_result'],
  },
  image: { required: { type: anything, source: anObject }, optional: CACHED, places: ['user', 'tool_result'] },
  document: {
    required: { type: anything, source: anObject },
    optional: { ...CACHED, title: orNull(saysSomething), context: orNull(saysSomething), citations: orNull(anObject) },
    places: ['user', 'tool_result'],
  },
  search_result: {
    required: { type: anything, source: saysSomething, title: saysSomething, content: aList },
    optional: { ...CACHED, citations: anObject },
    places: ['user', 'tool_result'],
  },
  tool_use: {
    required: { type: anything, id: matching(TOOL_USE_ID), name: matching(TOOL_NAME), input: anObject },
    optional: { ...CACHED, caller: anObject },
    places: ['assistant'],
  },
  tool_result: {
    required: { type: anything, tool_use_id: matching(TOOL_USE_ID) },
    optional: {
      ...CACHED,
      content: (v) => (typeof v === 'string' || Array.isArray(v) ? undefined : 'must be a string or a list of blocks'),
      is_error: aBoolean,
    },
    places: ['user'],
  },
  thinking: {
    required: { type: anything, thinking: aString, signature: saysSomething },
    places: ['assistant'],
  },
  redacted_thinking: { required: { type: anything, data: saysSomething }, places: ['assistant'] },
  server_tool_use: {
    required: { type: anything, id: serverToolUseId, name: saysSomething, input: anObject },
    optional: { ...CACHED, caller: anObject },
    places: ['assistant'],
  },
  web_search_tool_result: serverResult(),
  web_fetch_tool_result: serverResult(),
  code_execution_tool_result: serverResult(),
  bash_code_execution_tool_result: serverResult(),
  text_editor_code_execution_tool_result: serverResult(),
  tool_search_tool_result: serverResult(),
};

export const SERVER_RESULT = /^(?!tool_result$).+_tool_result$/;

/** Checks one block by itself. */
export function checkBlock(block: unknown, place: Place, path: string, problems: string[]): void {
  if (!isObject(block)) {
    problems.push(`${path}: must be an object`);
    return;
  }
  const type = String(block['type']);
  const rule = Object.hasOwn(BLOCK_RULES, type) ? BLOCK_RULES[type] : undefined;
  if (rule === undefined) {
    problems.push(`${path}: Input tag '${type}' does not match any of the expected tags`);
    return;
  }
  if (!rule.places.includes(place)) problems.push(`${path}: a \`${type}\` block can't stand in ${PLACE_WORDS[place]}`);
  checkShape(block, rule, path, problems);
  if (type === 'image' || type === 'document') checkSource(block['source'], type, `${path}.source`, problems);
  if (type === 'tool_result') checkResult(block, path, problems);
  if (type === 'text' && place === 'user' && block['citations'] != null) {
    problems.push(`${path}.citations: not allowed in the text of a user`);
  }
}

const PLACE_WORDS: Readonly<Record<Place, string>> = {
  user: 'a user message',
  assistant: 'an assistant message',
  tool_result: 'a tool result',
};

function checkSource(source: unknown, owner: string, path: string, problems: string[]): void {
  if (!isObject(source)) return;
  const shape = SOURCES[owner]?.[String(source['type'])];
  if (shape === undefined) problems.push(`${path}.type: Input tag '${String(source['type'])}' is not expected`);
  else checkShape(source, shape, path, problems);
}

function checkResult(block: Json, path: string, problems: string[]): void {
  const { content, is_error: isError } = block;
  const blocks = Array.isArray(content) ? content : [];
  blocks.forEach((inner: unknown, at) => {
    checkBlock(inner, 'tool_result', `${path}.content.${at}`, problems);
    if (isError === true && isObject(inner) && inner['type'] !== 'text') {
      problems.push(`${path}: all content must be type "text" if \`is_error\` is true`);
    }
  });
  const said = typeof content === 'string' ? !isBlank(content) : blocks.length > 0;
  if (isError === true && !said) problems.push(`${path}: content cannot be empty if \`is_error\` is true`);
}
