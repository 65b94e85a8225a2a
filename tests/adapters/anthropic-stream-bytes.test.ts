import fc from 'fast-check';
import { SseEventTooLarge, SseReader } from '../../server/adapters/anthropic/sse-reader.js';
import { type ReplyBlock, startUpstream } from '../support/upstream/index.js';
import { splitBytes } from '../support/upstream/stream-writer.js';
import { collect, modelFor } from './anthropic-fixture.js';

type Event = readonly [name: string, data: string];

function read(chunks: Iterable<Buffer>, maxEventBytes?: number): Event[] {
  const events: Event[] = [];
  const reader = new SseReader((name, data) => events.push([name, data]), maxEventBytes);
  for (const chunk of chunks) reader.push(chunk);
  return events;
}

const readText = (text: string): Event[] => read([Buffer.from(text)]);

describe('the reader of server-sent events', () => {
  it.each<[string, string, Event[]]>([
    ['one event', 'event: a\ndata: 1\n\n', [['a', '1']]],
    [
      'events without a space or a name',
      'data:1\n\ndata:  2\n\n',
      [
        ['', '1'],
        ['', ' 2'],
      ],
    ],
    [
      'CRLF',
      'event: a\r\ndata: 1\r\n\r\ndata: 2\r\n\r\n',
      [
        ['a', '1'],
        ['', '2'],
      ],
    ],
    [
      'comments, ids, retries and unknown fields',
      ': hi\nid: 7\nretry: 3\nfoo: bar\ndata\ndata: 1\n: x\n\n',
      [['', '1']],
    ],
    ['data in several lines', 'data: 1\ndata: 2\n\n', [['', '1\n2']]],
    ['blank lines and events without data', '\n\nevent: a\n\ndata:\n\ndata: 1\n\n', [['', '1']]],
    ['a byte order mark', '\ufeffdata: 1\n\n', [['', '1']]],
    [
      'a name that does not outlive its event',
      'event: a\ndata: 1\n\ndata: 2\n\n',
      [
        ['a', '1'],
        ['', '2'],
      ],
    ],
    ['no event whose end did not come', 'data: 1\n\ndata: 2\n', [['', '1']]],
    ['characters of every length', 'data: aß€🚲\n\n', [['', 'aß€🚲']]],
  ])('reads %s', (_name, text, expected) => {
    expect(readText(text)).toEqual(expected);
  });

  it('reads the same however the bytes are cut', () => {
    const line = fc.oneof(
      fc.string({ unit: 'binary', maxLength: 30 }).map((s) => `data: ${s.replace(/[\r\n]/g, '')}`),
      fc.string({ maxLength: 8 }).map((s) => `event: ${s.replace(/[\r\n]/g, '')}`),
      fc.constantFrom(': comment', 'data', '', '', ''),
    );
    const text = fc.array(fc.tuple(line, fc.constantFrom('\n', '\r\n')), { maxLength: 40 });
    fc.assert(
      fc.property(text, fc.integer(), (lines, seed) => {
        const bytes = Buffer.from(lines.flat().join(''));
        expect(read(splitBytes(bytes, seed))).toEqual(read([bytes]));
        expect(read([...bytes].map((byte) => Buffer.of(byte)))).toEqual(read([bytes]));
      }),
    );
  });

  it('refuses an event beyond its bound, in one line or in many', () => {
    const line = Buffer.from(`data: ${'x'.repeat(100)}\n`);
    expect(() => read([Buffer.alloc(200, 'x')], 150)).toThrow(SseEventTooLarge);
    expect(() => read([line, line], 150)).toThrow(SseEventTooLarge);
    expect(() => read([line, Buffer.from('\n'), line], 150)).not.toThrow();
  });
});

describe('the events of a reply', () => {
  const blocks: ReplyBlock[] = [
    { type: 'thinking', thinking: 'Überlegen … 🤔 今日は', signature: 'c2lnbmF0dXJl' },
    { type: 'text', text: 'Grüße aus Zürich 🚲, "quoted" \\ and\nnew lines', chunks: 9 },
    { type: 'tool_use', id: 'toolu_1', name: 'search', input: { q: '“ñ” 🚀', deep: [{ a: null }] }, chunks: 5 },
  ];

  it('are the same however the network cuts their bytes', async () => {
    const upstream = await startUpstream();
    const model = modelFor(upstream);
    upstream.script([{ blocks, packing: 'one_write' }]);
    const whole = await collect(model);
    expect(whole.end).toEqual({ type: 'complete' });
    const firstSeed = Number(process.env['TEST_SEED'] ?? Date.now() % 1_000_000);
    for (let seed = firstSeed; seed < firstSeed + 15; seed += 1) {
      upstream.script([{ blocks, packing: { splitSeed: seed } }]);
      const cut = await collect(model);
      // The seed is part of the comparison, so that a failure names it.
      expect({ seed, end: cut.end, events: cut.events }).toEqual({ seed, end: whole.end, events: whole.events });
    }
    expect(upstream.violations).toEqual([]);
    await model.close();
    await upstream.close();
  });
});
