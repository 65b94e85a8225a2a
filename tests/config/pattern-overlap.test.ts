import fc from 'fast-check';
import { overlaps } from '../../server/config/cross-checks.js';
import { matches } from '../../server/core/patterns.js';

describe('overlaps', () => {
  it.each([
    ['edit_*', 'edit_*', true],
    ['edit_doc', 'edit_*', true],
    ['e*', '*t', true],
    ['a*b', 'a*c', false],
    ['*', '', true],
    ['', '', true],
    ['a', '', false],
    ['ab*', 'a', false],
    ['*a*', '*b*', true],
  ])('%j and %j: %s', (a, b, expected) => {
    expect(overlaps(a, b)).toBe(expected);
    expect(overlaps(b, a)).toBe(expected);
  });

  const word = (letters: string) => fc.array(fc.constantFrom(...letters), { maxLength: 5 }).map((l) => l.join(''));

  it('says yes exactly where a name of two letters matches both', () => {
    const names = ['', ...['a', 'b'].flatMap((l) => grow(l, 7))];
    fc.assert(
      fc.property(word('ab*'), word('ab*'), (a, b) => {
        expect(overlaps(a, b)).toBe(names.some((name) => matches(a, name) && matches(b, name)));
      }),
      { numRuns: 300 },
    );
  });

  it('is quick for patterns made to be slow', () => {
    const started = performance.now();
    expect(overlaps('*a'.repeat(32), `${'*b'.repeat(31)}*c`)).toBe(false);
    expect(performance.now() - started).toBeLessThan(100);
  });
});

/** Every name of `a` and `b` up to this length that begins so. */
function grow(start: string, length: number): string[] {
  return start.length === length ? [start] : [start, ...grow(`${start}a`, length), ...grow(`${start}b`, length)];
}
