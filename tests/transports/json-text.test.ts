/** What is read off JSON text before it is parsed, against what parsing finds. */
import fc from 'fast-check';
import { hasMedia, isDeeperThan, readTopStrings } from '../../server/transports/json-text.js';

const depthOf = (value: unknown): number =>
  typeof value === 'object' && value !== null ? 1 + Math.max(0, ...Object.values(value).map(depthOf)) : 0;

it('finds the depth that the parsed value has, whatever its texts hold', () => {
  // A failure prints its seed.
  fc.assert(
    fc.property(fc.json({ maxDepth: 8 }), fc.integer({ min: 0, max: 9 }), (text, max) => {
      expect(isDeeperThan(text, max)).toBe(depthOf(JSON.parse(text)) > max);
    }),
    { numRuns: 2_000 },
  );
});

it('finds the top strings that the parsed object has', () => {
  const plain = fc.stringMatching(/^[A-Za-z0-9_-]{1,64}$/);
  const record = fc.record({
    x: fc.jsonValue(),
    id: plain,
    nested: fc.record({ id: plain }),
    y: fc.jsonValue(),
    session_id: plain,
  });
  fc.assert(
    fc.property(record, (value) => {
      const { id, session_id } = value;
      expect({ ...readTopStrings(JSON.stringify(value), ['id', 'session_id']) }).toEqual({ id, session_id });
    }),
  );
});

it.each([
  ['"a\\\\"', 0, false],
  ['["\\\\\\"[[["]', 1, false],
  ['[[', 1, true],
  ['"[[[[', 1, false],
  ['', 0, false],
])('%s: deeper than %i is %s', (text, max, deeper) => {
  expect(isDeeperThan(text, max)).toBe(deeper);
});

it.each([
  ['{"x":{"id":"inner"}}', {}],
  ['{"a":"id","b":"id"}', {}],
  ['{"a":["id","x"],"id":7}', {}],
  ['{"__proto__":"x","id":"a"}', { id: 'a' }],
  ['{"id" : "a"', { id: 'a' }],
])('%s has the top strings %j', (text, found) => {
  expect({ ...readTopStrings(text, ['id']) }).toEqual(found);
});

it('8 MiB of brackets, quotes or backslashes are read in one pass', () => {
  for (const unit of ['[', '"', '\\', '"\\', '\\"', '{"a":', '"":']) {
    const text = unit.repeat(8_388_608 / unit.length);
    const start = process.cpuUsage();
    isDeeperThan(text, 1e9);
    readTopStrings(text, ['id']);
    const { user, system } = process.cpuUsage(start);
    expect(user + system).toBeLessThan(2_000_000);
  }
});

it('a picture counts wherever a command may have one', () => {
  const image = { type: 'image' };
  expect(hasMedia({ content: [image] })).toBe(true);
  expect(hasMedia({ events: [{ content: 'x' }, { content: [{ type: 'document' }] }] })).toBe(true);
  for (const none of [null, 7, {}, { content: 'image' }, { content: [null] }, { events: [null] }, { x: [image] }])
    expect(hasMedia(none)).toBe(false);
});
