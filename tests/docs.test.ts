/** The generated pages are what the code says. `MIDSTREAM_WRITE_DOCS=1 npx jest tests/docs` writes them anew. */
import { existsSync, readFileSync, writeFileSync } from 'node:fs';
import { join } from 'node:path';
import { ERRORS } from '../protocol/index.js';
import { CATALOG, type MetricSpec, PREFIX } from '../server/adapters/prometheus/index.js';
import { configReference } from '../server/config/index.js';

const root = join(__dirname, '..');
const MARK = '<!-- generated: MIDSTREAM_WRITE_DOCS=1 npx jest tests/docs -->';

const cell = (value: unknown): string =>
  String(value ?? '')
    .replaceAll('|', '\\|')
    .replaceAll('\n', ' ');
const table = (head: string[], rows: unknown[][]): string =>
  [head, head.map(() => '---'), ...rows].map((row) => `| ${row.map(cell).join(' | ')} |`).join('\n');

const pages: Record<string, string> = {
  'docs/ERRORS.md': [
    '# Errors',
    MARK,
    'The same codes on every wire: `error.code` of the HTTP envelope, `command.rejected.error.code`, `turn.ended.error.code`.',
    table(
      ['code', 'HTTP', 'type', 'retryable', 'close code', 'what to do'],
      Object.entries(ERRORS).map(([code, row]) => [
        `\`${code}\``,
        row.status,
        row.type,
        row.retryable ? 'yes' : 'no',
        'close' in row ? row.close : '',
        row.advice,
      ]),
    ),
    '',
  ].join('\n\n'),
  'docs/METRICS.md': [
    '# Metrics',
    MARK,
    '`GET /metrics` gives these to Prometheus, of this node alone, beside `process_*` and `nodejs_*` of its process (`nodejs_eventloop_lag_p99_seconds` says whether it keeps up). No label grows with users or sessions: models beyond a hundred are `other`, and the tools of clients have no name. Whoever reaches it may read it: keep it off the internet.',
    table(
      ['metric', 'kind', 'labels', 'meaning'],
      Object.entries<MetricSpec>(CATALOG).map(([name, { kind, labels = [], help }]) => [
        `\`${PREFIX}${name}\``,
        kind,
        labels.map((label) => `\`${label}\``).join(' '),
        help,
      ]),
    ),
    '',
  ].join('\n\n'),
  'docs/CONFIGURATION.md': [
    '# Configuration',
    MARK,
    'The environment holds what differs between deployments, one JSON file (`MIDSTREAM_CONFIG`) what the operator designs. Both are checked at start; every mistake is reported at once, and the exit code is 78. [Section 5 of the protocol](PROTOCOL.md#5-configuration) shows a whole file.',
    table(
      ['setting', 'where', 'default', 'bound', 'meaning'],
      configReference().map((key) => [
        `\`${key.key}\``,
        key.source,
        key.default === undefined ? '–' : `\`${key.default}\``,
        key.bound,
        key.sentence,
      ]),
    ),
    '',
  ].join('\n\n'),
};

describe('generated pages', () => {
  it.each(Object.keys(pages))('%s is up to date', (name) => {
    const path = join(root, name);
    const page = pages[name] ?? '';
    if (process.env['MIDSTREAM_WRITE_DOCS']) writeFileSync(path, page);
    expect(existsSync(path) ? readFileSync(path, 'utf8') : '').toBe(page);
  });

  it('every link between pages leads somewhere', () => {
    for (const page of [
      'README.md',
      'docs/ARCHITECTURE.md',
      'docs/PROTOCOL.md',
      'docs/TESTING.md',
      'docs/SECURITY.md',
      'docs/CONFIGURATION.md',
      'docs/METRICS.md',
      'deploy/README.md',
    ]) {
      const text = readFileSync(join(root, page), 'utf8');
      for (const [, target = ''] of text.matchAll(/\]\(([^)#\s]+)(?:#[^)]*)?\)/g)) {
        if (/^https?:/.test(target)) continue;
        expect({ page, target, exists: existsSync(join(root, page, '..', target)) }).toEqual({
          page,
          target,
          exists: true,
        });
      }
    }
  });
});
