import { validateRequest } from '../support/upstream/index.js';

type Json = Record<string, unknown>;

const text = (said = 'x'): Json => ({ type: 'text', text: said });
const user = (...content: unknown[]): Json => ({ role: 'user', content });
const assistant = (...content: unknown[]): Json => ({ role: 'assistant', content });
const call = (id: string, more: Json = {}): Json => ({ type: 'tool_use', id, name: 'search', input: {}, ...more });
const result = (id: string, more: Json = {}): Json => ({
  type: 'tool_result',
  tool_use_id: id,
  content: 'ok',
  ...more,
});
const thinking = { type: 'thinking', thinking: 'hm', signature: 'c2ln' };
const serverCall = (id = 'srvtoolu_1'): Json => ({ type: 'server_tool_use', id, name: 'web_search', input: {} });
const serverResult = (id = 'srvtoolu_1'): Json => ({ type: 'web_search_tool_result', tool_use_id: id, content: [] });
const image = (source: Json): Json => ({ type: 'image', source });
const png = { type: 'base64', media_type: 'image/png', data: 'iVBORw0KGgo=' };
const tool = (name = 'search', more: Json = {}): Json => ({ name, input_schema: { type: 'object' }, ...more });
const mark = { cache_control: { type: 'ephemeral' } };

const body = (over: Json = {}): Json => ({ model: 'm', max_tokens: 10, messages: [user(text())], ...over });
const history = (...messages: unknown[]): Json => body({ messages });
const without = (field: string): Json => {
  const { [field]: _, ...rest } = body();
  return rest;
};

describe('a valid request', () => {
  it.each<[string, Json]>([
    ['one message', body()],
    ['plain strings', body({ system: 'be brief', messages: [{ role: 'user', content: 'hi' }] })],
    [
      'all that an agent sends',
      body({
        stream: true,
        system: [{ ...text(), ...mark }],
        tools: [tool(), tool('edit', { description: 'Edits.', eager_input_streaming: true, ...mark })],
        tool_choice: { type: 'tool', name: 'edit' },
        messages: [
          user(text(), image(png), image({ type: 'url', url: 'https://example.com/a.png' })),
          assistant(thinking, text(), call('a'), call('b')),
          user(result('b', { is_error: true }), result('a', { content: [text(), image(png)] }), text('and?')),
          assistant({ type: 'redacted_thinking', data: 'x' }, serverCall(), serverResult(), text()),
          user({ type: 'document', source: { type: 'text', media_type: 'text/plain', data: 'x' }, title: null }),
        ],
      }),
    ],
    [
      'a result without content',
      history(user(text()), assistant(call('a')), user({ type: 'tool_result', tool_use_id: 'a' })),
    ],
    [
      'calls of tools that are no longer offered',
      history(user(text()), assistant(call('a', { name: 'gone' })), user(result('a'))),
    ],
    ['a paused server tool', history(user(text()), assistant(text(), serverCall()))],
    ['a server tool’s result at the end', history(user(text()), assistant(serverCall(), serverResult()))],
    [
      'a server tool that ended after a pause',
      history(
        user(text()),
        assistant(serverCall(), call('a')),
        user(result('a')),
        assistant(serverResult(), text()),
        user(text()),
      ),
    ],
    ['a tool of Anthropic’s', body({ tools: [{ type: 'web_search_20250305', name: 'web_search', max_uses: 3 }] })],
    [
      'four breakpoints',
      body({ system: [{ ...text(), ...mark }], messages: [user(...[1, 2, 3].map(() => ({ ...text(), ...mark })))] }),
    ],
    [
      'a field called cache_control in a tool’s input',
      history(
        user(text()),
        assistant(...'abcde'.split('').map((id) => call(id, { input: mark }))),
        user(...'abcde'.split('').map((id) => result(id))),
      ),
    ],
    ['null citations of the model', history(user(text()), assistant({ ...text(), citations: null }), user(text()))],
    ['thinking', body({ max_tokens: 4_096, thinking: { type: 'enabled', budget_tokens: 1_024 } })],
  ])('%s', (_name, valid) => {
    expect(validateRequest(valid)).toEqual([]);
  });

  it('may end with the assistant where the test says so', () => {
    expect(validateRequest(history(user(text()), assistant(text())), { prefill: 'allowed' })).toEqual([]);
  });

  it('to count_tokens needs no max_tokens, and knows no stream', () => {
    expect(validateRequest(without('max_tokens'), { endpoint: 'count_tokens' })).toEqual([]);
    expect(validateRequest(body({ stream: true }), { endpoint: 'count_tokens' })).toEqual([
      'stream: Extra inputs are not permitted',
    ]);
  });
});

describe('a request is refused for', () => {
  it.each<[string, unknown, RegExp]>([
    ['a body that is no object', [], /must be a JSON object/],
    ['no model', without('model'), /^model: Field required/],
    ['a blank model', body({ model: ' ' }), /^model: must not be empty/],
    ['no max_tokens', without('max_tokens'), /^max_tokens: Field required/],
    ['max_tokens 0', body({ max_tokens: 0 }), /^max_tokens: must be a whole number/],
    ['max_tokens as text', body({ max_tokens: '10' }), /^max_tokens: must be a whole number/],
    ['no messages', without('messages'), /^messages: Field required/],
    ['empty messages', body({ messages: [] }), /^messages: at least one/],
    ['temperature', body({ temperature: 1 }), /^temperature: no longer/],
    ['top_p', body({ top_p: 1 }), /^top_p: no longer/],
    ['top_k', body({ top_k: 1 }), /^top_k: no longer/],
    ['an unknown field', body({ max_token: 1 }), /^max_token: Extra inputs/],
    ['a field of Object.prototype', body({ toString: 1 }), /^toString: Extra inputs/],
    ['stream as text', body({ stream: 'yes' }), /^stream: must be a boolean/],
    ['a blank system prompt', body({ system: ' ' }), /^system: must not be empty/],
    ['a blank system block', body({ system: [text('')] }), /^system.0.text: must not be empty/],
    ['an empty list of system blocks', body({ system: [] }), /^system: must not be empty/],
    ['an image in the system prompt', body({ system: [image(png)] }), /^system.0.type: must be one of/],
    ['a blank stop sequence', body({ stop_sequences: [' '] }), /^stop_sequences: /],

    [
      'a first message of the assistant',
      history(assistant(text()), user(text())),
      /^messages.0.role: roles must alternate/,
    ],
    ['two user messages in a row', history(user(text()), user(text())), /^messages.1.role: roles must alternate/],
    ['an unknown role', history({ role: 'system', content: 'x' }), /^messages.0.role: must be one of/],
    ['an unknown field of a message', history({ ...user(text()), id: 1 }), /^messages.0.id: Extra inputs/],
    ['a message without content', history({ role: 'user' }), /^messages.0.content: Field required/],
    ['an empty content', history(user()), /^messages.0.content: must be a string or a list/],
    ['a blank string', history({ role: 'user', content: '\n' }), /^messages.0.content: must not be empty/],
    ['a prefill', history(user(text()), assistant(text())), /must end with a user message/],

    ['an empty text', history(user(text(''))), /^messages.0.content.0.text: must not be empty/],
    ['a text of whitespace', history(user(text(' \n\t'))), /^messages.0.content.0.text: must not be empty/],
    [
      'an empty text of the assistant',
      history(user(text()), assistant(text('')), user(text())),
      /^messages.1.content.0.text/,
    ],
    ['an unknown block', history(user({ type: 'video' })), /^messages.0.content.0: Input tag 'video'/],
    ['a block that is none', history(user('x')), /^messages.0.content.0: must be an object/],
    ['an unknown field of a block', history(user({ ...text(), id: 1 })), /^messages.0.content.0.id: Extra inputs/],
    ['citations in a user’s text', history(user({ ...text(), citations: [] })), /citations: not allowed/],
    [
      'an image by the assistant',
      history(user(text()), assistant(image(png)), user(text())),
      /`image` block can't stand in an assistant/,
    ],
    [
      'a document by the assistant',
      history(user(text()), assistant({ type: 'document', source: { type: 'url', url: 'https://x.y' } }), user(text())),
      /`document` block can't stand in an assistant/,
    ],
    [
      'a tool_result by the assistant',
      history(user(text()), assistant(result('a')), user(text())),
      /`tool_result` block can't stand in an assistant/,
    ],
    ['a tool_use by the user', history(user(call('a'))), /`tool_use` block can't stand in a user/],
    ['thinking by the user', history(user(thinking)), /`thinking` block can't stand in a user/],
    [
      'another type of image',
      history(user(image({ ...png, media_type: 'image/bmp' }))),
      /source.media_type: must be one of/,
    ],
    ['an image that is not base64', history(user(image({ ...png, data: 'not base64!' }))), /source.data: must match/],
    ['an unknown source', history(user(image({ type: 'ftp' }))), /source.type: Input tag 'ftp'/],
    [
      'a document of another type',
      history(user({ type: 'document', source: png })),
      /source.media_type: must be one of/,
    ],

    [
      'thinking without a signature',
      history(user(text()), assistant({ type: 'thinking', thinking: 'x' }, text()), user(text())),
      /signature: Field required/,
    ],
    [
      'thinking with an empty signature',
      history(user(text()), assistant({ ...thinking, signature: '' }, text()), user(text())),
      /signature: must not be empty/,
    ],
    [
      'redacted thinking without data',
      history(user(text()), assistant({ type: 'redacted_thinking' }, text()), user(text())),
      /data: Field required/,
    ],
    [
      'thinking at the end',
      history(user(text()), assistant(text(), thinking), user(text())),
      /final block in an assistant message cannot be/,
    ],
    [
      'a breakpoint on thinking',
      history(user(text()), assistant({ ...thinking, ...mark }, text()), user(text())),
      /cache_control: Extra inputs/,
    ],

    [
      'a call without a result',
      history(user(text()), assistant(call('a')), user(text())),
      /ids were found without `tool_result`.*: a$/,
    ],
    [
      'one call of two without a result',
      history(user(text()), assistant(call('a'), call('b')), user(result('a'))),
      /without `tool_result`.*: b$/,
    ],
    ['a call at the end', history(user(text()), assistant(call('a'))), /ids were found without `tool_result`/],
    [
      'a result one message late',
      history(user(text()), assistant(call('a')), user(text()), assistant(text()), user(result('a'))),
      /unexpected `tool_use_id`: a/,
    ],
    ['a result without a call', history(user(result('a'))), /unexpected `tool_use_id`: a/],
    [
      'two results for one call',
      history(user(text()), assistant(call('a')), user(result('a'), result('a'))),
      /must have a single result/,
    ],
    [
      'a text before the results',
      history(user(text()), assistant(call('a')), user(text(), result('a'))),
      /must come before any other/,
    ],
    [
      'a text between the results',
      history(user(text()), assistant(call('a'), call('b')), user(result('a'), text(), result('b'))),
      /must come before any other/,
    ],
    [
      'the same id twice in one message',
      history(user(text()), assistant(call('a'), call('a')), user(result('a'))),
      /ids must be unique; a/,
    ],
    [
      'the same id twice in the history',
      history(user(text()), assistant(call('a')), user(result('a')), assistant(call('a')), user(result('a'))),
      /ids must be unique; a/,
    ],
    [
      'an id of another form',
      history(user(text()), assistant(call('a b')), user(result('a b'))),
      /content.0.id: must match/,
    ],
    [
      'an input that is no object',
      history(user(text()), assistant(call('a', { input: '{}' })), user(result('a'))),
      /input: must be an object/,
    ],
    [
      'an input that is a list',
      history(user(text()), assistant(call('a', { input: [] })), user(result('a'))),
      /input: must be an object/,
    ],
    [
      'a call without input',
      history(user(text()), assistant({ type: 'tool_use', id: 'a', name: 'x' }), user(result('a'))),
      /input: Field required/,
    ],
    [
      'a tool name of another form',
      history(user(text()), assistant(call('a', { name: 'a b' })), user(result('a'))),
      /name: must match/,
    ],
    [
      'an empty text in a result',
      history(user(text()), assistant(call('a')), user(result('a', { content: [text('')] }))),
      /content.0.content.0.text: must not be empty/,
    ],
    [
      'an empty error',
      history(user(text()), assistant(call('a')), user(result('a', { is_error: true, content: '' }))),
      /cannot be empty if `is_error`/,
    ],
    [
      'an image in an error',
      history(user(text()), assistant(call('a')), user(result('a', { is_error: true, content: [image(png)] }))),
      /must be type "text" if `is_error`/,
    ],
    [
      'a result in a result',
      history(user(text()), assistant(call('a')), user(result('a', { content: [result('b')] }))),
      /can't stand in a tool result/,
    ],

    [
      'a server tool’s id of another form',
      history(user(text()), assistant(serverCall('toolu_1'))),
      /content.0.id: must match \^srvtoolu_/,
    ],
    [
      'a server tool’s result without its call',
      history(user(text()), assistant(serverResult(), text()), user(text())),
      /without its `server_tool_use`/,
    ],
    [
      'an older server tool without a result',
      history(user(text()), assistant(serverCall(), text()), user(text()), assistant(text()), user(text())),
      /srvtoolu_1 has no result/,
    ],

    ['a tool without a schema', body({ tools: [{ name: 'a' }] }), /^tools.0.input_schema: Field required/],
    [
      'a schema of another type',
      body({ tools: [tool('a', { input_schema: { type: 'string' } })] }),
      /input_schema.type: Input should be 'object'/,
    ],
    [
      'a schema with oneOf at the top',
      body({ tools: [tool('a', { input_schema: { type: 'object', oneOf: [] } })] }),
      /does not support oneOf/,
    ],
    ['a tool’s name of another form', body({ tools: [tool('a.b')] }), /^tools.0.name: must match/],
    ['a tool’s name of 65 characters', body({ tools: [tool('a'.repeat(65))] }), /^tools.0.name: must match/],
    ['two tools of one name', body({ tools: [tool('a'), tool('a')] }), /Tool names must be unique; a/],
    ['an unknown field of a tool', body({ tools: [tool('a', { label: 'x' })] }), /^tools.0.label: Extra inputs/],
    [
      'a blank description',
      body({ tools: [tool('a', { description: '' })] }),
      /^tools.0.description: must not be empty/,
    ],
    [
      'tool_choice without tools',
      body({ tool_choice: { type: 'auto' } }),
      /^tool_choice: may only be specified while providing tools/,
    ],
    [
      'tool_choice of an unknown tool',
      body({ tools: [tool()], tool_choice: { type: 'tool', name: 'b' } }),
      /^tool_choice: Tool 'b' not found/,
    ],
    [
      'an unknown tool_choice',
      body({ tools: [tool()], tool_choice: { type: 'some' } }),
      /^tool_choice.type: must be one of/,
    ],
    [
      'a forced tool with thinking',
      body({
        max_tokens: 4_096,
        thinking: { type: 'enabled', budget_tokens: 1_024 },
        tools: [tool()],
        tool_choice: { type: 'any' },
      }),
      /thinking may not be enabled/,
    ],
    [
      'a thinking budget above max_tokens',
      body({ max_tokens: 1_024, thinking: { type: 'enabled', budget_tokens: 1_024 } }),
      /^thinking.budget_tokens/,
    ],

    [
      'five breakpoints',
      body({ messages: [user(...Array.from({ length: 5 }, () => ({ ...text(), ...mark })))] }),
      /maximum of 4 blocks.*found 5/,
    ],
    [
      'a fifth breakpoint in a result',
      body({
        system: [{ ...text(), ...mark }],
        tools: [tool('a', mark)],
        messages: [
          user(text()),
          assistant({ ...call('a'), ...mark }),
          user(result('a', { ...mark, content: [{ ...text(), ...mark }] })),
        ],
      }),
      /found 5/,
    ],
    [
      'an unknown breakpoint',
      history(user({ ...text(), cache_control: { type: 'forever' } })),
      /cache_control: is not a valid breakpoint/,
    ],
  ])('%s', (_name, invalid, expected) => {
    const problems = validateRequest(invalid);
    expect(problems).toContainEqual(expect.stringMatching(expected));
  });
});
