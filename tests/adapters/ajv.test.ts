import { createInputValidator } from '../../server/adapters/ajv/input-validator.js';
import { createTimeBound, OutOfTime } from '../../server/adapters/ajv/time-bound.js';

type Schema = Readonly<Record<string, unknown>>;
const validator = createInputValidator();
const { refuse, check } = validator;
const object = (properties: Record<string, unknown>, more: Schema = {}): Schema => ({
  type: 'object',
  properties,
  ...more,
});

describe('check', () => {
  it('says nothing about an input that fits', () => {
    expect(check(object({ a: { type: 'string' } }, { required: ['a'] }), { a: 'x' })).toBeUndefined();
  });

  it.each<[string, Schema, unknown, string]>([
    ['a missing property', object({}, { required: ['q'] }), {}, "input must have required property 'q'"],
    [
      'a wrong type deep down',
      object({ f: { type: 'array', items: object({ 'a/b': { type: 'integer' } }) } }),
      { f: [{}, { 'a/b': 'x' }] },
      'input.f[1].a/b must be integer',
    ],
    [
      'an unknown property',
      object({}, { additionalProperties: false }),
      { regoin: 1 },
      'input must not have the property "regoin"',
    ],
    [
      'a value not on the list',
      object({ r: { enum: ['EU', 'US'] } }),
      { r: 'UK' },
      'input.r must be one of ["EU","US"]',
    ],
    ['a value that is not the one', object({ r: { const: 'EU' } }), { r: 'US' }, 'input.r must be "EU"'],
    ['a format', object({ d: { type: 'string', format: 'date' } }), { d: 'today' }, 'input.d must match format "date"'],
    ['no object at all', object({}), 'text', 'input must be object'],
    [
      'an inherited property',
      object({}, { required: ['constructor'] }),
      {},
      "input must have required property 'constructor'",
    ],
  ])('names the place and the problem: %s', (_, schema, input, problem) => {
    expect(check(schema, input)).toBe(problem);
  });

  it('lists five problems and counts the rest', () => {
    const names = ['a', 'b', 'c', 'd', 'e', 'f', 'g'];
    const text = check(object({}, { required: names }), {});
    expect(text).toContain("property 'e'; and 2 more");
    expect(text).not.toContain("'f'");
  });

  it('shows a bounded part of long lists of values', () => {
    const values = Array.from({ length: 500 }, (_, n) => `value ${n}`);
    expect(check(object({ v: { enum: values } }), { v: 'x' })?.length).toBeLessThan(300);
  });

  it('changes no input', () => {
    const input = Object.freeze({ n: '1' });
    expect(check(object({ n: { type: 'number' }, d: { default: 1 } }), input)).toBe('input.n must be number');
    expect(input).toEqual({ n: '1' });
  });

  it('closes the gate when the schema can’t be used', () => {
    expect(check({ type: 'objekt' }, {})).toContain("the tool's schema is not a JSON Schema");
  });
});

describe('dialects', () => {
  it.each<[string, Schema]>([
    [
      '2020-12',
      {
        $schema: 'https://json-schema.org/draft/2020-12/schema',
        ...object({ t: { prefixItems: [{ type: 'string' }] } }),
      },
    ],
    [
      'draft 7',
      { $schema: 'http://json-schema.org/draft-07/schema#', ...object({ t: { items: [{ type: 'string' }] } }) },
    ],
    [
      'draft 6',
      { $schema: 'http://json-schema.org/draft-06/schema#', ...object({ t: { items: [{ type: 'string' }] } }) },
    ],
    ['none named, as of 2020-12', object({ t: { prefixItems: [{ type: 'string' }] } })],
    ['none named, as of draft 7', object({ t: { items: [{ type: 'string' }] } })],
    ['references within', object({ t: { items: { $ref: '#/$defs/s' } } }, { $defs: { s: { type: 'string' } } })],
    [
      'definitions of draft 7',
      object({ t: { items: { $ref: '#/definitions/s' } } }, { definitions: { s: { type: 'string' } } }),
    ],
    [
      'an $id',
      object(
        { t: { items: { $ref: '#/$defs/s' } } },
        { $id: 'https://example.com/s', $defs: { s: { type: 'string' } } },
      ),
    ],
    [
      'words of other vocabularies',
      object({ t: { items: { type: 'string', example: 'x', 'x-order': 1, format: 'emoji' } } }),
    ],
  ])('are taken: %s', (_, schema) => {
    expect(refuse(schema)).toBeUndefined();
    expect(check(schema, { t: ['x'] })).toBeUndefined();
    expect(check(schema, { t: [1] })).toBe('input.t[0] must be string');
  });

  it('lets two schemas have the same $id', () => {
    const twin = (type: string): Schema => object({ v: { type } }, { $id: 'https://example.com/twin' });
    expect(check(twin('string'), { v: 1 })).toBe('input.v must be string');
    expect(check(twin('number'), { v: 'x' })).toBe('input.v must be number');
  });
});

describe('hostile schemas', () => {
  const nest = (levels: number): Schema => (levels === 0 ? {} : object({ a: nest(levels - 1) }));
  const doubling = Object.fromEntries(
    Array.from({ length: 40 }, (_, n) => [
      `d${n}`,
      { anyOf: [{ $ref: `#/$defs/d${n + 1}` }, { $ref: `#/$defs/d${n + 1}` }] },
    ]),
  );

  it.each<[string, Schema, RegExp]>([
    ['no schema', { type: 'object', properties: 1 }, /^is not a JSON Schema: schema.properties must be object/],
    ['an unknown type', { type: 'objekt' }, /^is not a JSON Schema/],
    ['a broken pattern', object({ a: { type: 'string', pattern: '(' } }), /^(is not a JSON Schema|can't be used)/],
    [
      'a remote reference',
      object({ a: { $ref: 'https://example.com/x.json' } }),
      /refers to "https:\/\/example.com\/x.json", which is not in it/,
    ],
    ['a reference to a file', object({ a: { $ref: 'file:///etc/passwd' } }), /which is not in it/],
    ['a reference to nothing', object({ a: { $ref: '#/$defs/no' } }), /can't be used|which is not in it/],
    ['too many characters', object({ a: { description: 'x'.repeat(70_000) } }), /at most 65536 characters/],
    ['too many levels', nest(40), /at most 64 levels deep/],
  ])('are refused: %s', (_, schema, reason) => {
    expect(refuse(schema)).toMatch(reason);
  });

  it('can’t see the $ids of others', () => {
    expect(refuse(object({ a: { $id: 'https://example.com/mine', type: 'string' } }))).toBeUndefined();
    expect(refuse(object({ b: { $ref: 'https://example.com/mine' } }))).toContain('which is not in it');
  });

  it.each<[string, Schema, unknown]>([
    ['a pattern that backtracks', object({ a: { type: 'string', pattern: '^(a+)+$' } }), { a: `${'a'.repeat(60)}!` }],
    [
      'references that double',
      object({ a: { $ref: '#/$defs/d0' } }, { $defs: { ...doubling, d40: { type: 'string' } } }),
      { a: 1 },
    ],
    ['a reference to itself', { type: 'object', allOf: [{ $ref: '#' }] }, {}],
  ])('hold up nothing, and let nothing through: %s', (_, schema, input) => {
    const started = performance.now();
    expect(check(schema, input)).toMatch(/could not be checked|schema can't be used/);
    expect(performance.now() - started).toBeLessThan(3_000);
    expect(check(object({ a: { type: 'string' } }), { a: 'x' })).toBeUndefined();
  });
});

describe('time', () => {
  const pause = (ms: number): void => void Atomics.wait(new Int32Array(new SharedArrayBuffer(4)), 0, 0, ms);
  const BOUND_MS = 60;

  it('does not count while the machine gives none', () => {
    let runs = 0;
    const run = (): string => {
      if (++runs === 1) pause(3 * BOUND_MS);
      return 'done';
    };
    expect(createTimeBound()(BOUND_MS, run)).toBe('done');
    expect(runs).toBe(2);
  });

  it('is over for what works on and on, and for what never gets the processor', () => {
    let runs = 0;
    const work = (): void => {
      runs++;
      for (;;);
    };
    expect(() => createTimeBound()(BOUND_MS, work)).toThrow(OutOfTime);
    expect(runs).toBeLessThanOrEqual(2);
    expect(() => createTimeBound()(BOUND_MS, () => pause(3 * BOUND_MS))).toThrow(OutOfTime);
  });

  it('that a schema once did not have is not held against it', () => {
    let isLate = true;
    const runBounded = createTimeBound();
    const { refuse: refuseNow, check: checkNow } = createInputValidator((timeoutMs, job) => {
      if (isLate) throw new OutOfTime('took longer');
      return runBounded(timeoutMs, job);
    });
    const schema = object({ a: { type: 'string' } });
    expect(refuseNow(schema)).toBe("can't be used: took longer");
    expect(checkNow(schema, { a: 'x' })).toContain('took longer');
    isLate = false;
    expect(refuseNow(schema)).toBeUndefined();
    expect(checkNow(schema, { a: 1 })).toBe('input.a must be string');
  });
});

describe('compiling', () => {
  const timed = (job: () => void): number => {
    const started = performance.now();
    job();
    return performance.now() - started;
  };

  it('happens once for the same object, and once for the same text', () => {
    const big = (): Schema =>
      object(Object.fromEntries(Array.from({ length: 300 }, (_, n) => [`p${n}`, { type: 'string', maxLength: n }])));
    const schema = big();
    const first = timed(() => check(schema, {}));
    const again = timed(() => check(schema, {}));
    const equal = timed(() => check(big(), {}));
    expect(again).toBeLessThan(first / 3);
    expect(equal).toBeLessThan(first / 3);
  });

  it('keeps the results of different schemas apart', () => {
    for (let n = 0; n < 600; n++) expect(check(object({ v: { const: n } }), { v: n })).toBeUndefined();
    for (let n = 0; n < 600; n += 50)
      expect(check(object({ v: { const: n } }), { v: -1 })).toBe(`input.v must be ${n}`);
  });
});
