import { readdirSync, readFileSync } from 'node:fs';
import { join, relative, sep } from 'node:path';
import { findViolations, ROOMS, ZOD_FREE } from './architecture-rules.js';

const ROOT = join(__dirname, '..');

function readSources(...folders: string[]): Map<string, string> {
  const paths = folders.flatMap((folder) =>
    readdirSync(join(ROOT, folder), { withFileTypes: true, recursive: true })
      .filter((entry) => entry.isFile() && entry.name.endsWith('.ts'))
      .map((entry) => join(entry.parentPath, entry.name)),
  );
  return new Map(paths.map((path) => [relative(ROOT, path).split(sep).join('/'), readFileSync(path, 'utf8')]));
}

const violationsOf = (files: Record<string, string>): string[] => findViolations(new Map(Object.entries(files)));

describe('the sources', () => {
  const sources = readSources('protocol', 'server', 'client-sdk');

  it('keep the rules of the house', () => {
    expect(sources.size).toBeGreaterThan(100);
    expect(findViolations(sources)).toEqual([]);
  });

  it('have the files that the client may load, and those load nothing', () => {
    for (const path of ZOD_FREE)
      expect([path, /^import (?!type)/m.test(sources.get(path) ?? 'import')]).toEqual([path, false]);
  });

  it('have every room that the rules name', () => {
    const empty = ROOMS.filter(({ at }) => ![...sources.keys()].some((path) => path.startsWith(at)));
    expect(empty.map(({ at }) => at)).toEqual([]);
  });
});

describe('an import', () => {
  const target = (path: string): Record<string, string> => ({ [path]: 'export const x = 1;\n' });
  /** The violations of one import of `to` by `from`. */
  const importing = (from: string, to: string, clause = 'import { x }'): string[] => {
    const up = '../'.repeat(from.split('/').length - 1);
    return violationsOf({ [from]: `${clause} from './${up}${to.replace(/\.ts$/, '.js')}';\n`, ...target(to) });
  };

  it.each([
    ['protocol/a.ts', 'server/core/b.ts'],
    ['server/core/a.ts', 'server/ports/b.ts'],
    ['server/core/a.ts', 'server/session/b.ts'],
    ['server/core/a.ts', 'server/adapters/winston/b.ts'],
    ['server/ports/a.ts', 'server/session/b.ts'],
    ['server/session/a.ts', 'server/adapters/embedded/b.ts'],
    ['server/session/a.ts', 'server/transports/ws/b.ts'],
    ['server/session/a.ts', 'server/config/b.ts'],
    ['server/adapters/winston/a.ts', 'server/adapters/ajv/b.ts'],
    ['server/adapters/http-tools/a.ts', 'server/session/b.ts'],
    ['server/adapters/http-tools/a.ts', 'server/config/b.ts'],
    ['server/transports/ws/a.ts', 'server/transports/http/b.ts'],
    ['server/transports/ws/a.ts', 'server/core/b.ts'],
    ['server/transports/http/a.ts', 'server/session/session-actor.ts'],
    ['server/transports/http/a.ts', 'server/adapters/winston/b.ts'],
    ['server/config/a.ts', 'server/adapters/ajv/b.ts'],
    ['server/config/a.ts', 'server/app.ts'],
    ['server/main.ts', 'server/session/b.ts'],
    ['server/core/a.ts', 'client-sdk/b.ts'],
    ['client-sdk/a.ts', 'protocol/commands.ts'],
    ['client-sdk/a.ts', 'server/core/b.ts'],
    ['server/app.ts', 'client-sdk/b.ts'],
  ])('of the wrong room is found: %s of %s', (from, to) => {
    expect(importing(from, to)).toEqual([expect.stringContaining(`${from}: may not import ${to}`)]);
  });

  it.each([
    ['server/core/a.ts', 'protocol/b.ts'],
    ['server/session/a.ts', 'server/core/b.ts'],
    ['server/adapters/winston/a.ts', 'server/ports/b.ts'],
    ['server/adapters/http-tools/a.ts', 'server/adapters/tool-answer.ts'],
    ['server/transports/ws/a.ts', 'server/session/session-api.ts'],
    ['server/transports/ws/a.ts', 'server/transports/shared.ts'],
    ['server/app.ts', 'server/adapters/redis/b.ts'],
    ['server/testing.ts', 'server/app.ts'],
    ['client-sdk/a.ts', 'protocol/errors.ts'],
  ])('of the right room is not: %s of %s', (from, to) => {
    expect(importing(from, to)).toEqual([]);
  });

  it.each([
    ['server/ports/a.ts', 'server/core/b.ts'],
    ['server/transports/ws/a.ts', 'server/ports/b.ts'],
    ['client-sdk/a.ts', 'protocol/commands.ts'],
  ])('may be a type where a value may not: %s of %s', (from, to) => {
    expect(importing(from, to, 'import type { x }')).toEqual([]);
    expect(importing(from, to, 'import { type x }')).toEqual([]);
    expect(importing(from, to, 'export type { x }')).toEqual([]);
    expect(importing(from, to)).toEqual([`${from}: may not import ${to}, except types`]);
    expect(importing(from, to, 'import { type x, x as y }')).toHaveLength(1);
    expect(importing(from, to, 'export *')).toHaveLength(1);
  });

  it.each([
    ["export * from '../session/b.js';"],
    ["import '../session/b.js';"],
    ["const b = await import('../session/b.js');"],
    ["type B = import('../session/b.js').B;"],
    ["const b = require('../session/b.js');"],
  ])('is found in whatever form: %s', (line) => {
    expect(violationsOf({ 'server/core/a.ts': line, ...target('server/session/b.ts') })).toHaveLength(1);
  });

  it.each([
    ['server/transports/ws/a.ts', 'express'],
    ['server/transports/http/a.ts', 'ws'],
    ['server/session/a.ts', 'zod'],
    ['server/core/a.ts', 'zod'],
    ['server/adapters/embedded/a.ts', 'winston'],
    ['server/adapters/winston/a.ts', 'undici'],
    ['server/app.ts', 'libsql'],
    ['server/config/a.ts', 'ajv/dist/2020.js'],
    ['server/adapters/http-tools/a.ts', '@anthropic-ai/sdk/index.js'],
    ['client-sdk/a.ts', 'ws'],
  ])('of a package outside its room is found: %s of %s', (from, name) => {
    expect(violationsOf({ [from]: `import x from '${name}';\n` })).toEqual([
      expect.stringContaining('may not import the package'),
    ]);
  });

  it.each([
    ['protocol/a.ts', 'node:crypto'],
    ['server/core/a.ts', 'node:fs'],
    ['server/session/a.ts', 'node:net'],
    ['client-sdk/a.ts', 'node:events'],
  ])('of the machine is found in a room that is apart from it: %s of %s', (from, name) => {
    expect(violationsOf({ [from]: `import x from '${name}';\n` })).toEqual([`${from}: may not import ${name}`]);
  });

  it('from nowhere is found', () => {
    expect(violationsOf({ 'server/helpers/a.ts': '' })).toEqual(['server/helpers/a.ts: is in no room']);
    expect(violationsOf({ 'server/cluster.ts': '' })).toEqual(['server/cluster.ts: is in no room']);
  });
});

describe('a cycle', () => {
  const ring = (kind: string) => ({
    'server/core/a.ts': `${kind} { b } from './b.js';\n`,
    'server/core/b.ts': "import { c } from './c.js';\n",
    'server/core/c.ts': "import { a } from './a.js';\n",
  });

  it('is found, with its way round', () => {
    expect(violationsOf(ring('import'))).toEqual([
      'server/core/a.ts: imports itself: server/core/a.ts → server/core/b.ts → server/core/c.ts → server/core/a.ts',
    ]);
  });

  it('is found where a part of it is types only', () => {
    expect(violationsOf(ring('import type'))).toHaveLength(1);
  });

  it('is not seen where two ways lead to one file', () => {
    const diamond = {
      ...ring('import'),
      'server/core/c.ts': '',
      'server/core/d.ts': "import './b.js';\nimport './a.js';\n",
    };
    expect(violationsOf(diamond)).toEqual([]);
  });
});

describe('what no file may hold', () => {
  it.each([
    ['server/app.ts', 'const port = process.env.PORT;'],
    ['server/config/a.ts', "const port = process['env'];"],
    ['server/adapters/redis/a.ts', 'use(globalThis.process.env);'],
  ])('is found: the environment outside main.ts, in %s: %s', (path, line) => {
    expect(violationsOf({ [path]: line }).some((v) => v.includes('may not read process.env'))).toBe(true);
    expect(violationsOf({ 'server/main.ts': line })).toEqual([]);
  });

  it.each([
    'const t = Date.now();',
    'const t = new Date();',
    'const t = performance.now();',
    'setTimeout(f, 1);',
    'globalThis.setInterval(f, 1);',
    'const later = setTimeout;',
    'const r = Math.random();',
    "console.log('x');",
    'const id = crypto.randomUUID();',
  ])('is found: time, chance, timers and output in core and session: %s', (line) => {
    expect(violationsOf({ 'server/core/a.ts': line })).toEqual([expect.stringContaining('may not use')]);
    expect(violationsOf({ 'server/session/a.ts': line })).toHaveLength(1);
    expect(violationsOf({ 'server/adapters/system/a.ts': line })).toEqual([]);
  });

  it.each([
    'const t = new Date(ms).toISOString();',
    'interface Deps { setTimeout: () => void; console: string }',
    'const t = clock.now();',
    '// Date.now() and setTimeout() are not here',
    "const text = 'console.log';",
    'deps.console.log(1);',
  ])('is not seen where it is not: %s', (line) => {
    expect(violationsOf({ 'server/core/a.ts': line })).toEqual([]);
  });

  it.each(['let count = 0;', 'export let count = 0;', 'var count = 0;'])(
    'is found: a module-level mutable: %s',
    (line) => {
      expect(violationsOf({ 'server/adapters/winston/a.ts': line })).toEqual([
        'server/adapters/winston/a.ts: may not hold the module-level mutable count',
      ]);
      expect(
        violationsOf({ 'server/adapters/winston/a.ts': `function f() { ${line.replace('export ', '')} }` }),
      ).toEqual([]);
    },
  );

  it('is found: too many lines', () => {
    expect(violationsOf({ 'client-sdk/a.ts': '\n'.repeat(401) })).toEqual([expect.stringContaining('has 401 lines')]);
    expect(violationsOf({ 'client-sdk/a.ts': '\n'.repeat(400) })).toEqual([]);
  });
});
