import { mergeDeltas } from '../../server/core/delta-merge.js';
import { type LogRecord, toDeltaRecord, toFrame } from '../../server/core/log-record.js';
import { toCostNanoUsd, toModelFacts } from '../../server/core/prices.js';
import { capResult } from '../../server/core/result-cap.js';
import { toRetryDelayMs } from '../../server/core/retry-policy.js';
import { createRandom } from './support/random.js';

describe('frames', () => {
  it('[LOG-3] name the seq before them only where it is not the one before', () => {
    const delta = toDeltaRecord(7, 'turn_1', 'sevt_1', 'text', 0, 'a "quoted" \u2028 text');
    expect(toFrame('sesn_1', delta, 6)).not.toContain('prev_seq');
    expect(JSON.parse(toFrame('sesn_1', delta, 3))).toEqual({
      type: 'event_delta',
      session_id: 'sesn_1',
      turn_id: 'turn_1',
      event_id: 'sevt_1',
      delta: { type: 'content_delta', index: 0, content: { type: 'text', text: 'a "quoted" \u2028 text' } },
      seq: 7,
      prev_seq: 3,
    });
  });
});

describe('merging', () => {
  it('[LOG-6] joins adjacent deltas of one event, index and channel, and loses nothing', () => {
    const seed = Math.floor(Math.random() * 1e9);
    const random = createRandom(seed);
    for (let run = 0; run < 200; run++) {
      const records: LogRecord[] = [];
      for (let seq = 1; seq <= 40; seq++) {
        if (random.chance(0.1)) records.push({ kind: 'event', seq, type: 'turn.started', turnId: 't', json: '{}' });
        else
          records.push(
            toDeltaRecord(
              seq,
              't',
              random.pick(['a', 'b']),
              random.pick(['text', 'input']),
              random.int(2),
              random.pick(['x', '"', '\n', 'é']),
            ),
          );
      }
      const merged = mergeDeltas(records);
      const said = (list: readonly LogRecord[]) =>
        list.reduce<Record<string, string>>((sum, r) => {
          if (r.kind === 'delta')
            sum[`${r.eventId}/${r.channel}/${r.index}`] = (sum[`${r.eventId}/${r.channel}/${r.index}`] ?? '') + r.text;
          return sum;
        }, {});
      expect({ seed, said: said(merged) }).toEqual({ seed, said: said(records) });
      expect(merged.at(-1)?.seq).toBe(40);
      expect(merged.filter((r) => r.kind === 'event')).toEqual(records.filter((r) => r.kind === 'event'));
      for (const [at, record] of merged.entries()) {
        if (record.kind !== 'delta') continue;
        expect(JSON.parse(record.quoted)).toBe(record.text);
        expect(record.firstSeq).toBe((merged[at - 1]?.seq ?? 0) + 1);
      }
      for (let i = 1; i < merged.length; i++) {
        const [a, b] = [merged[i - 1], merged[i]];
        if (a?.kind === 'delta' && b?.kind === 'delta')
          expect([a.eventId, a.channel, a.index]).not.toEqual([b.eventId, b.channel, b.index]);
      }
    }
  });
});

describe('a capped result', () => {
  it('[TOOL-6] keeps what fits of all blocks together, and says what was cut', () => {
    const content = [
      { type: 'text' as const, text: 'abc' },
      { type: 'text' as const, text: 'defgh' },
      { type: 'text' as const, text: 'ij' },
    ];
    expect(capResult(content, 5)).toEqual([
      { type: 'text', text: 'abc' },
      { type: 'text', text: 'de' },
      { type: 'text', text: '[The result was cut: 5 bytes over the limit of 5.]' },
    ]);
    expect(capResult(content, 10)).toEqual(content);
  });
});

describe('the retry policy', () => {
  const failed = {
    attempt: 1,
    maxAttempts: 4,
    retryable: true,
    delivered: false,
    retryAfterMs: undefined,
    random: 0.5,
  };

  it.each([
    ['waits with jitter', {}, 375],
    ['waits longer each time', { attempt: 3 }, 1_500],
    ['never earlier than the provider asked', { retryAfterMs: 3_000 }, 3_063],
    ['not after something was delivered', { delivered: true }, undefined],
    ['not what is not retryable', { retryable: false }, undefined],
    ['not beyond the attempts', { attempt: 4 }, undefined],
    ['not where the provider asks for minutes', { retryAfterMs: 120_000 }, undefined],
  ])('%s', (_name, change, expected) => {
    expect(toRetryDelayMs({ ...failed, ...change })).toBe(expected);
  });
});

describe('prices', () => {
  const NOW = Date.UTC(2026, 10, 1);
  const usage = {
    input_tokens: 1_000_000,
    output_tokens: 1_000_000,
    cache_creation_input_tokens: 0,
    cache_read_input_tokens: 0,
  };

  it('are integers of nano-dollars', () => {
    expect(toCostNanoUsd(toModelFacts('claude-sonnet-5-5', NOW).price, usage)).toBe(12_000_000_000);
    expect(
      toCostNanoUsd(toModelFacts('claude-haiku-5-5', NOW).price, { ...usage, input_tokens: 1, output_tokens: 1 }),
    ).toBe(600);
  });

  it('are rounded up', () => {
    const price = { input: 0.5, cacheWrite: 0, cacheRead: 0, output: 0 };
    expect(toCostNanoUsd(price, { ...usage, input_tokens: 1, output_tokens: 0 })).toBe(1);
  });

  it('of a long prompt apply to every token of the request', () => {
    expect(toCostNanoUsd(toModelFacts('claude-haiku-5-5', NOW).price, { ...usage, output_tokens: 0 })).toBe(
      500_000_000,
    );
  });

  it('are those of the moment', () => {
    const change = Date.UTC(2026, 9, 7);
    expect(toModelFacts('claude-sonnet-5-5', change - 1).price.cacheRead).toBe(200);
    expect(toModelFacts('claude-sonnet-5-5', change).price.cacheRead).toBe(100);
    expect(toModelFacts('claude-sonnet-5-5', NOW).price).toBe(toModelFacts('claude-sonnet-5-5', change).price);
  });

  it('are not taken from a model whose name is only alike', () => {
    for (const model of [
      'claude-opus-4-1',
      'claude-opus-5-6',
      'claude-sonnet-5-5-fast',
      'claude-mythos-5',
      'constructor',
    ])
      expect(toModelFacts(model, NOW).isPriced).toBe(false);
  });

  it('are found by the whole name, with or without a date', () => {
    expect(toModelFacts('claude-opus-5', NOW).price.input).toBe(5_000);
    expect(toModelFacts('claude-opus-5-5', NOW).price.input).toBe(4_000);
    expect(toModelFacts('claude-haiku-4-5-20251001', NOW).price.input).toBe(1_000);
    expect(toModelFacts('claude-sonnet-5-5', NOW).forcesTools).toBe(false);
    expect(toModelFacts('claude-sonnet-5', NOW).forcesTools).toBe(true);
  });
});
