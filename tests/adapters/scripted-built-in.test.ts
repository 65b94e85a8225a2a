import { createInputValidator } from '../../server/adapters/ajv/input-validator.js';
import { sampleInput } from '../../server/adapters/scripted/sample-input.js';
import { calls, play, results, toCalls, toolOf, toRequest, user } from './scripted-fixture.js';

describe('the scripted model without a script', () => {
  const ask = (prompt: string, ...names: string[]) =>
    play(undefined, toRequest([user(prompt)], { tools: names.map((name) => toolOf(name)) }));

  it('introduces itself, slowly enough to press Stop, and says how to talk to Claude', async () => {
    const { text, clock, events } = await ask('Hi!');
    expect(text).toContain('I am the scripted model of Midstream');
    expect(text).toContain('ANTHROPIC_API_KEY');
    expect(text).toContain('Stop');
    expect(clock.nowMs).toBeGreaterThan(3_000);
    const words = events.filter((event) => event.type === 'text').length;
    expect(clock.nowMs / words).toBeCloseTo(25, 0);
  });

  it('says hello in exactly as many words', async () => {
    expect((await ask('Say hello in exactly 3 words.')).text).toBe('Hello there, friend!');
    for (const count of [1, 2, 3, 4, 10]) {
      expect((await ask(`Say hello in exactly ${count} words`)).text.split(' ')).toHaveLength(count);
    }
  });

  it.each([
    ['What time is it?', ['edit_document', 'get_time'], 'get_time'],
    ["What's the time?", ['get_time'], 'get_time'],
    ['Please edit the text', ['get_time', 'edit_document'], 'edit_document'],
    ['Use a tool', ['get_time', 'edit_document'], 'get_time'],
    ['Try edit_document now', ['get_time', 'edit_document'], 'edit_document'],
  ])('calls a tool where the prompt asks for one: %s', async (prompt, names, expected) => {
    const { events } = await ask(prompt, ...names);
    expect(toCalls(events)).toMatchObject([{ name: expected }]);
    expect(events.at(-1)).toMatchObject({ stopReason: 'tool_use' });
  });

  it('calls none that it was not given', async () => {
    expect(toCalls((await ask('What time is it?', 'edit_document')).events)).toEqual([]);
    expect((await ask('Use a tool')).text).toContain('none was offered');
    expect(toCalls((await ask('Hello', 'get_time')).events)).toEqual([]);
  });

  it('says which tools it has', async () => {
    expect((await ask('Which tools do you have?', 'a', 'b')).text).toContain('a, b');
    expect((await ask('What tools do you have?')).text).toContain('None');
  });

  it('says what a tool answered, and what was said meanwhile', async () => {
    const answer = (said?: string) =>
      play(undefined, toRequest([user('use a tool'), calls('t0'), results(['12:30'], said)], { step: 2 }));
    expect((await answer()).text).toBe('The tool answered: 12:30');
    expect((await answer('in German, please')).text).toBe(
      'The tool answered: 12:30\n\nMeanwhile you said: in German, please',
    );
  });

  it('tells a story that is long', async () => {
    expect((await ask('Tell me a long story')).clock.nowMs).toBeGreaterThan(10_000);
  });

  it('takes templates in a prompt for text', async () => {
    const messages = [user('use a tool'), calls('t0'), results(['{{last_user_text}}'])];
    expect((await play(undefined, toRequest(messages, { step: 2 }))).text).toBe(
      'The tool answered: {{last_user_text}}',
    );
  });
});

describe('sampleInput', () => {
  const { check } = createInputValidator();
  const object = (properties: Record<string, unknown>, more = {}) => ({ type: 'object', properties, ...more });

  it.each<[string, Record<string, unknown>]>([
    ['nothing asked', { type: 'object' }],
    [
      'required strings',
      object({ a: { type: 'string' }, b: { type: 'string' } }, { required: ['a'], additionalProperties: false }),
    ],
    ['lengths', object({ a: { type: 'string', maxLength: 3 }, b: { type: 'string', minLength: 50 } })],
    ['lists of values', object({ a: { enum: ['x', 'y'] }, b: { const: 7 } })],
    [
      'numbers',
      object({
        a: { type: 'integer', minimum: 5 },
        b: { type: 'number', exclusiveMinimum: 0 },
        c: { type: 'number', maximum: -2 },
        d: { type: 'integer', minimum: 7, multipleOf: 5 },
      }),
    ],
    ['lists', object({ a: { type: 'array', items: { type: 'boolean' }, minItems: 2 } })],
    ['objects in objects', object({ a: object({ b: object({ c: { type: 'null' } }) }) })],
    [
      'formats',
      object({
        a: { type: 'string', format: 'date-time' },
        b: { type: 'string', format: 'email' },
        c: { type: 'string', format: 'uri' },
        d: { type: 'string', format: 'uuid' },
        e: { type: 'string', format: 'date' },
        f: { type: 'string', format: 'time' },
      }),
    ],
    [
      'references',
      object({ a: { $ref: '#/$defs/x' } }, { $defs: { x: { $ref: '#/$defs/y' }, y: { type: 'integer' } } }),
    ],
    ['choices', object({ a: { anyOf: [{ type: 'integer' }, { type: 'string' }] }, b: { type: ['null', 'string'] } })],
    [
      'parts',
      {
        type: 'object',
        allOf: [
          object({ a: { type: 'integer' } }, { required: ['a'] }),
          object({ b: { type: 'string' } }, { required: ['b'] }),
        ],
      },
    ],
    ['defaults and examples', object({ a: { type: 'string', default: 'd' }, b: { type: 'integer', examples: [3] } })],
    [
      'a tree without an end',
      object({ v: { type: 'string' }, kids: { type: 'array', items: { $ref: '#' } } }, { required: ['v'] }),
    ],
  ])('fits a schema with %s', (_, schema) => {
    expect(check(schema, sampleInput(schema, 'the prompt'))).toBeUndefined();
  });

  it('comes to an end where the schema does not', () => {
    const schema = object({ kid: { $ref: '#' } }, { required: ['kid'] });
    expect(JSON.stringify(sampleInput(schema, 'x')).length).toBeLessThan(500);
    expect(sampleInput({ type: 'object', properties: { a: { $ref: '#/$defs/no' } } }, 'x')).toEqual({ a: 'x' });
  });
});
