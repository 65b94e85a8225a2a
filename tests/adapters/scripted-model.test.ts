import type { ToolChoice } from '../../protocol/index.js';
import { createScriptedModel, parseScript, type ScriptInput } from '../../server/adapters/scripted/index.js';
import type { ModelEnd, ModelEvent } from '../../server/ports/model.js';
import {
  assistant,
  calls,
  HandClock,
  play,
  results,
  toCalls,
  toolOf,
  toRequest,
  toText,
  user,
} from './scripted-fixture.js';

const saying = (text: string, more: Record<string, unknown> = {}): ScriptInput => ({
  turns: [{ steps: [{ blocks: [{ type: 'text', text }], ...more }] }],
});
const HI = toRequest([user('hi')]);

describe('a stream', () => {
  it('has the events of the Messages API in their order', async () => {
    const { events, end } = await play(
      {
        turns: [
          {
            steps: [
              {
                blocks: [
                  { type: 'thinking', thinking: 'hm hm', signature: 'sig' },
                  { type: 'text', text: 'Hello there' },
                  { type: 'tool_use', name: 'look', input: { q: 'x' }, id: 'toolu_1' },
                ],
              },
            ],
          },
        ],
      },
      HI,
    );
    expect(events).toEqual([
      {
        type: 'message_start',
        usage: { input_tokens: 8, output_tokens: 0, cache_creation_input_tokens: 0, cache_read_input_tokens: 0 },
      },
      { type: 'block_start', index: 0, block: { type: 'thinking', thinking: '', signature: '' } },
      { type: 'thinking', index: 0, text: 'hm' },
      { type: 'thinking', index: 0, text: ' hm' },
      { type: 'signature', index: 0, signature: 'sig' },
      { type: 'block_stop', index: 0 },
      { type: 'block_start', index: 1, block: { type: 'text', text: '' } },
      { type: 'text', index: 1, text: 'Hello' },
      { type: 'text', index: 1, text: ' there' },
      { type: 'block_stop', index: 1 },
      { type: 'block_start', index: 2, block: { type: 'tool_use', id: 'toolu_1', name: 'look', input: {} } },
      { type: 'input_json', index: 2, json: '{"q":"x"}' },
      { type: 'block_stop', index: 2 },
      { type: 'message_delta', stopReason: 'tool_use', usage: { output_tokens: 7 } },
    ]);
    expect(end).toEqual({ type: 'complete' });
  });

  it('is the same whenever it is asked for', async () => {
    const script = saying('one two three', { usage: { input_tokens: 5, cache_read_input_tokens: 2 } });
    expect((await play(script, HI)).batches).toEqual((await play(script, HI)).batches);
  });

  it('keeps every character, whatever the text is made of', async () => {
    const text = ` \n lead ${'x'.repeat(100)} ${'😀'.repeat(50)}漢字${'漢'.repeat(60)}\ttab  two spaces \n`;
    const { events, text: got } = await play(saying(text), HI);
    expect(got).toBe(text);
    for (const event of events) {
      if (event.type === 'text') expect(event.text).toBe(Buffer.from(event.text).toString());
    }
  });

  it('comes at the rate of its block, one delta at a time, by one timer', async () => {
    const script: ScriptInput = {
      turns: [{ steps: [{ delay_ms: 500, blocks: [{ type: 'text', text: 'a b c d', tokens_per_second: 40 }] }] }],
    };
    const { times, batches, clock } = await play(script, HI);
    expect(times).toEqual([500, 525, 550, 575, 600]);
    expect(batches.map(toText)).toEqual(['', 'a', ' b', ' c', ' d']);
    expect(clock.mostWaiting).toBe(1);
    expect(clock.waiting).toBe(0);
  });

  it('comes at once without a rate, in batches of a bounded size, still word by word', async () => {
    const { batches, times, events } = await play(saying('word '.repeat(500)), HI);
    expect(Math.max(...batches.map((batch) => batch.length))).toBe(64);
    expect(batches.length).toBeLessThan(12);
    expect(events.filter((event) => event.type === 'text')).toHaveLength(501);
    expect(new Set(times)).toEqual(new Set([0]));
  });

  it('never begins before the call has returned', () => {
    const onEvents = jest.fn();
    void createScriptedModel().stream(HI, onEvents, AbortSignal.timeout(1));
    expect(onEvents).not.toHaveBeenCalled();
  });

  it('counts usage from what was said, unless the script says it', async () => {
    const long = toRequest([user('x'.repeat(4_000))], { system: 's'.repeat(400), tools: [toolOf('t')] });
    const [start, ...rest] = (await play(saying('x'.repeat(40)), long)).events;
    expect(start).toMatchObject({ usage: { input_tokens: 1_125 } });
    expect(rest.at(-1)).toMatchObject({ usage: { output_tokens: 10 } });
    const told = await play(saying('x', { usage: { input_tokens: 7, output_tokens: 99 }, stop_reason: 'refusal' }), HI);
    expect(told.events[0]).toMatchObject({ usage: { input_tokens: 7 } });
    expect(told.events.at(-1)).toMatchObject({ stopReason: 'refusal', usage: { output_tokens: 99 } });
  });

  it('stops at max_tokens, in the middle of a text or of a tool’s input', async () => {
    const { text, events, end } = await play(saying('word '.repeat(100)), toRequest([user('hi')], { maxTokens: 3 }));
    expect(text).toBe('word word wo');
    expect(events.slice(-2)).toEqual([
      { type: 'block_stop', index: 0 },
      { type: 'message_delta', stopReason: 'max_tokens', usage: { output_tokens: 3 } },
    ]);
    expect(end).toEqual({ type: 'complete' });
    const script: ScriptInput = {
      turns: [{ steps: [{ blocks: [{ type: 'tool_use', name: 't', input: { q: 'long enough' } }] }] }],
    };
    const call = await play(script, toRequest([user('hi')], { maxTokens: 2 }));
    expect(call.events.at(-3)).toEqual({ type: 'input_json', index: 0, json: '{"q":"lo' });
    expect(call.events.at(-1)).toMatchObject({ stopReason: 'max_tokens' });
  });
});

describe('an abort', () => {
  const slow: ScriptInput = {
    turns: [{ steps: [{ blocks: [{ type: 'text', text: 'one two three', tokens_per_second: 1 }] }] }],
  };
  const begin = (script: ScriptInput = slow) => {
    const clock = new HandClock();
    const aborting = new AbortController();
    const events: ModelEvent[] = [];
    const removed = jest.spyOn(aborting.signal, 'removeEventListener');
    const end = createScriptedModel({ script: parseScript(script), clock }).stream(
      HI,
      (batch) => events.push(...batch),
      aborting.signal,
    );
    return { clock, aborting, events, end, removed };
  };

  it('[CAN-2] ends the stream at once, and nothing comes after it', async () => {
    const { clock, aborting, events, end } = begin();
    clock.tick();
    clock.tick();
    const before = events.length;
    aborting.abort();
    expect(await end).toEqual({ type: 'aborted' });
    expect(clock.waiting).toBe(0);
    expect(clock.tick()).toBe(false);
    expect(events).toHaveLength(before);
    expect(toText(events)).toBe('one');
  });

  it('before the first event leaves nothing waiting', async () => {
    const { clock, aborting, end } = begin();
    aborting.abort();
    expect(await end).toEqual({ type: 'aborted' });
    expect(clock.waiting).toBe(0);
  });

  it('that came before the request starts nothing', async () => {
    const clock = new HandClock();
    const onEvents = jest.fn();
    expect(await createScriptedModel({ clock }).stream(HI, onEvents, AbortSignal.abort())).toEqual({ type: 'aborted' });
    expect(clock.waiting).toBe(0);
    expect(onEvents).not.toHaveBeenCalled();
  });

  it('by the receiver, between two batches, is obeyed', async () => {
    const clock = new HandClock();
    const aborting = new AbortController();
    let batches = 0;
    const end = createScriptedModel({ script: parseScript(slow), clock }).stream(
      HI,
      () => {
        batches += 1;
        aborting.abort();
      },
      aborting.signal,
    );
    while (clock.tick());
    expect(await end).toEqual({ type: 'aborted' });
    expect(batches).toBe(1);
  });

  it('ends a stall, which nothing else does', async () => {
    const { clock, aborting, events, end } = begin(saying('one two', { error: { kind: 'stall', after_chars: 3 } }));
    while (clock.tick());
    expect(toText(events)).toBe('one');
    aborting.abort();
    expect(await end).toEqual({ type: 'aborted' });
  });

  it('leaves no listener, nor does a stream that came to its end', async () => {
    const { clock, end, removed } = begin();
    while (clock.tick());
    expect(await end).toEqual({ type: 'complete' });
    expect(removed).toHaveBeenCalledTimes(1);
  });
});

describe('a failure', () => {
  const codeOf = (end: ModelEnd | undefined) => (end?.type === 'failed' ? end.failure.code : end?.type);

  it.each([
    ['overloaded', 'upstream_overloaded', true],
    ['rate_limited', 'upstream_rate_limited', true],
    ['timeout', 'upstream_timeout', true],
    ['cut', 'upstream_truncated', true],
    ['reset', 'upstream_error', true],
    ['refused', 'upstream_refused', false],
    ['auth', 'upstream_auth', false],
    ['context_window', 'context_window_exceeded', false],
  ] as const)('%s is %s', async (kind, code, retryable) => {
    const { end, events } = await play(saying('never said', { error: { kind } }), HI);
    expect(end).toMatchObject({ type: 'failed', failure: { code, retryable } });
    expect(events).toEqual([]);
  });

  it('after some characters comes in the middle of a word, and leaves the block open', async () => {
    const { end, events, text } = await play(saying('one two three', { error: { kind: 'cut', after_chars: 5 } }), HI);
    expect(text).toBe('one t');
    expect(events.at(-1)).toEqual({ type: 'text', index: 0, text: ' t' });
    expect(codeOf(end)).toBe('upstream_truncated');
  });

  it('after more characters than there are comes at their end, before the stream is complete', async () => {
    const { end, events, text } = await play(saying('one', { error: { kind: 'reset', after_chars: 100 } }), HI);
    expect(text).toBe('one');
    expect(events.at(-1)).toEqual({ type: 'block_stop', index: 0 });
    expect(codeOf(end)).toBe('upstream_error');
  });

  it('of some attempts lets the next one succeed', async () => {
    const script = saying('at last', {
      error: { kind: 'overloaded', attempts: 2, retry_after_ms: 70, message: 'busy' },
    });
    const second = await play(script, toRequest([user('hi')], { attempt: 2 }));
    expect(second.end).toMatchObject({ failure: { retryAfterMs: 70, message: 'busy' } });
    expect((await play(script, toRequest([user('hi')], { attempt: 3 }))).text).toBe('at last');
  });

  it('waits for the delay of its step', async () => {
    const { clock } = await play(saying('x', { delay_ms: 300, error: { kind: 'overloaded' } }), HI);
    expect(clock.nowMs).toBe(300);
  });
});

describe('the choice of a step', () => {
  const steps = (text: string) => [{ blocks: [{ type: 'text' as const, text }] }];
  const tool = {
    type: 'tool_use' as const,
    name: 'tool',
    input: { q: '{{last_user_text}}', n: [1, '{{tool_result}}'] },
  };
  const script: ScriptInput = {
    turns: [
      { match: { text: '^hello', flags: 'i' }, steps: steps('by text') },
      { match: { turn: 2 }, steps: steps('second') },
      { match: { turn: 3, text: 'both' }, steps: steps('third and both') },
      {
        match: { text: 'call' },
        steps: [{ blocks: [tool] }, { blocks: [{ type: 'text', text: 'got {{tool_result}}' }] }],
      },
      { match: { text: 'loop' }, steps: [{ blocks: [tool] }] },
      { match: { text: 'echo' }, steps: steps('you said: {{last_user_text}}') },
    ],
    fallback: { steps: steps('fallback') },
  };
  const say = async (messages: Parameters<typeof toRequest>[0], step = 1): Promise<string> =>
    (await play(script, toRequest(messages, { step }))).text;

  it('goes by the text of the prompt, or its number, or both, and the first match wins', async () => {
    expect(await say([user('Hello you')])).toBe('by text');
    expect(await say([user('x'), assistant('y'), user('Hello')])).toBe('by text');
    expect(await say([user('x'), assistant('y'), user('z')])).toBe('second');
    expect(await say([user('x'), assistant('y'), user('x'), assistant('y'), user('both')])).toBe('third and both');
    expect(await say([user('both')])).toBe('fallback');
  });

  it('counts prompts that no answer came between, which the history merges', async () => {
    const merged = { role: 'user' as const, content: [...user('cancelled').content, ...user('again').content] };
    expect(await say([merged])).toBe('second');
  });

  it('goes on by the rounds since the prompt', async () => {
    const first = await play(script, toRequest([user('call it')]));
    expect(toCalls(first.events)).toEqual([{ id: 'toolu_abc_1_0', name: 'tool', input: { q: 'call it', n: [1, ''] } }]);
    expect(await say([user('call it'), calls('t0'), results(['42'])], 2)).toBe('got 42');
    expect(await say([user('call it'), calls('t0', 't1'), results(['a', 'b'])], 2)).toBe('got a\nb');
  });

  it('is not led astray by a steer beside the results', async () => {
    expect(await say([user('call it'), calls('t0'), results(['42'], 'hello, hurry')], 2)).toBe('got 42');
  });

  it('sees a new prompt behind the results of a cancelled turn', async () => {
    expect(await say([user('call it'), calls('t0'), results(['cancelled'], 'hello again')], 1)).toBe('by text');
    expect(await say([user('call it'), calls('t0'), results(['cancelled'], 'next')], 1)).toBe('second');
    const messages = [
      user('x'),
      assistant('y'),
      user('call it'),
      calls('t0'),
      results(['cancelled'], 'call more'),
      calls('t0'),
      results(['43']),
    ];
    expect(await say(messages, 2)).toBe('got 43');
  });

  it('takes what was said after a broken-off answer for a prompt', async () => {
    expect(await say([user('x'), assistant('brok'), user('hello instead')], 2)).toBe('by text');
  });

  it('repeats the last step beyond the end, but calls no tools for ever', async () => {
    expect(await say([user('hello'), assistant('by text')], 2)).toBe('by text');
    expect(await say([user('loop'), calls('t0'), results(['1'])], 2)).toBe('Done.');
  });

  it('fills in what the user said, and does not read templates in it', async () => {
    expect(await say([user('echo $& {{tool_result}}')])).toBe('you said: echo $& {{tool_result}}');
  });

  it('without a match says so', async () => {
    expect((await play({ turns: [] }, HI)).text).toBe('The script has no turn for prompt 1: "hi".');
  });

  it('takes a user message without any text', async () => {
    const image = { role: 'user' as const, content: [{ type: 'image', source: {} }] };
    expect(await say([image])).toBe('fallback');
  });
});

describe('tool_choice', () => {
  const schema = {
    type: 'object',
    properties: { path: { type: 'string' }, mode: { enum: ['append', 'replace'] }, n: { type: 'integer', minimum: 3 } },
    required: ['path', 'mode', 'n'],
  };
  const tools = [toolOf('read'), toolOf('edit', schema)];
  const asked = (toolChoice: ToolChoice) =>
    play(saying('just text'), toRequest([user('the prompt')], { tools, toolChoice }));

  it('forces a tool, with an input that fits its schema', async () => {
    const { events, text } = await asked({ type: 'tool', name: 'edit' });
    expect(toCalls(events)).toMatchObject([{ name: 'edit', input: { path: 'the prompt', mode: 'append', n: 3 } }]);
    expect(text).toBe('');
    expect(events.at(-1)).toMatchObject({ stopReason: 'tool_use' });
  });

  it('forces any tool', async () => {
    expect(toCalls((await asked({ type: 'any' })).events)).toMatchObject([{ name: 'read', input: {} }]);
  });

  it('leaves a script alone that calls the tool by itself', async () => {
    const script: ScriptInput = {
      turns: [
        {
          steps: [
            {
              blocks: [
                { type: 'text', text: 'ok' },
                { type: 'tool_use', name: 'edit', input: { own: 1 } },
              ],
            },
          ],
        },
      ],
    };
    const request = toRequest([user('x')], { tools, toolChoice: { type: 'tool', name: 'edit' } });
    expect(toCalls((await play(script, request)).events)).toMatchObject([{ name: 'edit', input: { own: 1 } }]);
  });

  it('none calls no tool', async () => {
    const script: ScriptInput = { turns: [{ steps: [{ blocks: [{ type: 'tool_use', name: 'edit' }] }] }] };
    const { events } = await play(script, toRequest([user('x')], { tools, toolChoice: { type: 'none' } }));
    expect(toCalls(events)).toEqual([]);
    expect(events.at(-1)).toMatchObject({ stopReason: 'end_turn' });
  });

  it('auto changes nothing', async () => {
    expect((await asked({ type: 'auto' })).text).toBe('just text');
  });
});
