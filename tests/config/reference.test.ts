import { readFileSync } from 'node:fs';
import { join } from 'node:path';
import { DEFAULT_LIMITS } from '../../protocol/index.js';
import { configReference } from '../../server/config/index.js';

const rows = configReference();
const row = (key: string) => rows.find((r) => r.key === key);

describe('configReference', () => {
  it('has default, bound and sentence of a variable', () => {
    expect(row('PORT')).toEqual({
      source: 'env',
      key: 'PORT',
      default: '8080',
      bound: '0–65535',
      sentence: 'Port; 0 takes a free one.',
    });
    expect(row('MIDSTREAM_FSYNC')).toMatchObject({ default: '"group"', bound: 'group | off' });
  });

  it('has them of keys in the file, however deep', () => {
    expect(row('agents.<name>.max_tokens')).toMatchObject({ source: 'file', default: '4096', bound: '1–1000000' });
    expect(row('tools[].http.timeout_ms')).toMatchObject({ default: '10000', bound: '1–3600000' });
    expect(row('roles.<name>.budget.day.tokens')).toMatchObject({ sentence: 'Tokens.' });
  });

  it('has every limit with the protocol’s default', () => {
    for (const [key, value] of Object.entries(DEFAULT_LIMITS)) {
      expect(row(`limits.${key}`)).toMatchObject({ default: String(value) });
    }
  });

  it('has a sentence for each key, once', () => {
    expect(rows.filter(({ sentence }) => !/^.+\.$/s.test(sentence))).toEqual([]);
    expect(new Set(rows.map(({ key }) => key)).size).toBe(rows.length);
  });

  it('has every variable and every key that the protocol names', () => {
    const section =
      readFileSync(join(__dirname, '../../docs/PROTOCOL.md'), 'utf8').split('## 5. Configuration')[1] ?? '';
    const table = section.split('```')[0] ?? '';
    const named = [...table.matchAll(/`((?:MIDSTREAM|ANTHROPIC|REDIS)_[A-Z_]+|PORT|HOST|_JW[A-Z_]+)`/g)].map((m) =>
      (m[1] ?? '').replace(/^_/, 'MIDSTREAM_'),
    );
    expect(named.length).toBeGreaterThan(15);
    expect(named.filter((name) => !row(name))).toEqual([]);
    const example = JSON.parse(/```jsonc\n([\s\S]*?)```/.exec(section)?.[1] ?? '');
    expect(Object.keys(example).filter((key) => !row(key))).toEqual([]);
    expect(Object.keys(example.roles.analyst).filter((key) => !row(`roles.<name>.${key}`))).toEqual([]);
    expect(Object.keys(example.tools[0]).filter((key) => !row(`tools[].${key}`))).toEqual([]);
  });
});
