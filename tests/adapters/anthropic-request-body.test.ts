import { toRequestBody } from '../../server/adapters/anthropic/request-body.js';
import type { ModelTool } from '../../server/ports/model.js';
import { validateRequest } from '../support/upstream/index.js';
import { request } from './anthropic-fixture.js';

const tool = (name: string): ModelTool => ({ name, description: `Does ${name}.`, input_schema: { type: 'object' } });
const text = (said: string) => ({ type: 'text', text: said });
const EPHEMERAL = { type: 'ephemeral' };

/** The paths of all breakpoints. */
function breakpoints(value: unknown, path = ''): string[] {
  if (typeof value !== 'object' || value === null) return [];
  return Object.entries(value).flatMap(([key, inner]) =>
    key === 'cache_control' ? [path] : breakpoints(inner, path === '' ? key : `${path}.${key}`),
  );
}

/** Freezes all of it, so that a write throws. */
function frozen<T>(value: T): T {
  if (typeof value === 'object' && value !== null) {
    Object.values(value).forEach(frozen);
    Object.freeze(value);
  }
  return value;
}

describe('the request body', () => {
  it('holds what the request says, and nothing else', () => {
    const body = toRequestBody(request({ system: undefined, toolChoice: undefined }));
    expect(body).toEqual({
      model: 'claude-sonnet-5-5',
      max_tokens: 1_000,
      stream: true,
      messages: [{ role: 'user', content: [{ ...text('Hi'), cache_control: EPHEMERAL }] }],
    });
  });

  it('holds tool_choice only where the request does', () => {
    const tools = [tool('a')];
    expect(toRequestBody(request({ tools }))).not.toHaveProperty('tool_choice');
    const body = toRequestBody(request({ tools, toolChoice: { type: 'tool', name: 'a' } }));
    expect(body['tool_choice']).toEqual({ type: 'tool', name: 'a' });
    expect(validateRequest(body)).toEqual([]);
  });

  it('leaves out a blank system prompt and a blank description', () => {
    const body = toRequestBody(request({ system: ' \n', tools: [{ ...tool('a'), description: '' }] }));
    expect(body).not.toHaveProperty('system');
    expect(validateRequest(body)).toEqual([]);
  });

  it('marks the stable prefix and the moving one, with four breakpoints at most, and changes nothing it was given', () => {
    const messages = frozen([
      { role: 'user' as const, content: [text('one')] },
      { role: 'assistant' as const, content: [text('two')] },
      { role: 'user' as const, content: [text('three'), text('four')] },
      {
        role: 'assistant' as const,
        content: [{ type: 'tool_use', id: 'toolu_1', name: 'a', input: { cache: 1 } }],
      },
      { role: 'user' as const, content: [{ type: 'tool_result', tool_use_id: 'toolu_1', content: [text('ok')] }] },
    ]);
    const body = toRequestBody(request({ tools: frozen([tool('a'), tool('b')]), messages }));
    expect(breakpoints(body)).toEqual(['tools.1', 'system.0', 'messages.2.content.1', 'messages.4.content.0']);
    expect(validateRequest(body)).toEqual([]);
    const without = JSON.parse(
      JSON.stringify(body['messages']).replaceAll(`,"cache_control":${JSON.stringify(EPHEMERAL)}`, ''),
    );
    expect(without).toEqual(messages);
  });

  it('never marks a block that may not carry a breakpoint', () => {
    const thinking = { type: 'thinking', thinking: 'hm', signature: 'c2ln' };
    const paused = toRequestBody(
      request({
        tools: [tool('a')],
        messages: [
          { role: 'user', content: [text('one')] },
          { role: 'assistant', content: [text('two'), thinking, { type: 'server_tool_use', id: 'srvtoolu_1' }] },
        ],
      }),
    );
    expect(breakpoints(paused)).toEqual(['tools.0', 'system.0', 'messages.0.content.0', 'messages.1.content.0']);
    const bare = toRequestBody(request({ messages: [{ role: 'user', content: [text(' ')] }] }));
    expect(breakpoints(bare)).toEqual(['system.0']);
  });

  it('does not let breakpoints of the history count towards the four', () => {
    const marked = { ...text('x'), cache_control: { type: 'ephemeral', ttl: '1h' } };
    const body = toRequestBody(
      request({ tools: [tool('a')], messages: [{ role: 'user', content: [marked, marked, marked, marked, marked] }] }),
    );
    expect(breakpoints(body)).toEqual(['tools.0', 'system.0', 'messages.0.content.4']);
  });

  it('passes images and documents through', () => {
    const image = { type: 'image', source: { type: 'base64', media_type: 'image/png', data: 'iVBORw0KGgo=' } };
    const document = { type: 'document', title: 'T', source: { type: 'url', url: 'https://example.com/a.pdf' } };
    const body = toRequestBody(request({ messages: [{ role: 'user', content: [image, document, text('?')] }] }));
    expect(body['messages']).toMatchObject([{ content: [image, document, text('?')] }]);
    expect(validateRequest(body)).toEqual([]);
  });
});
