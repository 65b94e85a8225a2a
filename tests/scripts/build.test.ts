import { cpSync, existsSync, readFileSync, rmSync, utimesSync } from 'node:fs';
import { join } from 'node:path';
import { createProject, linkPackages } from './project.js';

// Each build starts a compiler.
jest.setTimeout(120_000);

/** A project with its packages, and what is asked of it here. */
function createBuildable() {
  const project = createProject();
  linkPackages(project);
  const ask = "import { isBuilt } from './scripts/build.mjs'; console.log(isBuilt(process.cwd()))";
  return {
    ...project,
    build: () => project.run(['scripts/build.mjs']),
    prepare: () => project.run(['scripts/prepare.mjs', 'start']),
    dist: (path: string): string => join(project.root, 'dist', path),
    isBuilt: (): boolean => project.run(['--input-type=module', '-e', ask]).stdout === 'true\n',
  };
}

// One project for all, in this order: a compiler run takes seconds.
describe('scripts/build.mjs', () => {
  const { root, write, run, build, prepare, dist, isBuilt, remove } = createBuildable();
  afterAll(remove);
  let first: ReturnType<typeof build>;

  beforeAll(() => {
    write('client-sdk/package.json', '{"name":"@midstream/client","type":"module"}');
    write('client-sdk/index.ts', "export { ANSWER } from '../protocol/limits.js';\n");
    write('server/old.ts', 'export const old = 1;\n');
    write('server/transports/http/page/index.html', '<p>');
    write('server/transports/http/page/deep/logo.svg', '<svg/>');
    write('server/adapters/redis/lua/append.lua', 'return 1');
    write('server/adapters/redis/notes.md', 'no');
    expect(isBuilt()).toBe(false);
    first = build();
  });

  it('compiles what a plain node can start, with types and maps', () => {
    expect(first).toMatchObject({ status: 0, stdout: '', stderr: '' });
    expect(run([dist('server/main.js')]).stdout).toBe('42');
    expect(existsSync(dist('server/main.d.ts'))).toBe(true);
    expect(existsSync(dist('server/main.js.map'))).toBe(true);
  });

  it('bundles the client into one file without imports', () => {
    expect(readFileSync(dist('client-sdk/midstream-client.js'), 'utf8')).not.toMatch(/^import /m);
    const use = `import { ANSWER } from ${JSON.stringify(dist('client-sdk/midstream-client.js'))}; console.log(ANSWER)`;
    expect(run(['--input-type=module', '-e', use]).stdout).toBe('42\n');
  });

  it('makes the client a package of its own, with its types', () => {
    expect(readFileSync(dist('client-sdk/package.json'), 'utf8')).toContain('@midstream/client');
    expect(existsSync(dist('client-sdk/types/client-sdk/index.d.ts'))).toBe(true);
    expect(existsSync(dist('client-sdk/types/protocol/limits.d.ts'))).toBe(true);
  });

  it('copies the page and the files beside the adapters, and no sources', () => {
    expect(readFileSync(dist('server/transports/http/page/index.html'), 'utf8')).toBe('<p>');
    expect(existsSync(dist('server/transports/http/page/deep/logo.svg'))).toBe(true);
    expect(existsSync(dist('server/adapters/redis/lua/append.lua'))).toBe(true);
    expect(existsSync(dist('server/adapters/redis/notes.md'))).toBe(false);
  });

  it('does not build again what is built, whatever the times of the files say', () => {
    expect(isBuilt()).toBe(true);
    utimesSync(join(root, 'server/main.ts'), new Date(), new Date(Date.now() + 3_600_000));
    expect(prepare()).toMatchObject({ status: 0, stderr: '' });
  });

  const changes: [string, () => void][] = [
    ['a changed source', () => write('protocol/limits.ts', 'export const ANSWER = 43;\n')],
    ['a new source', () => write('server/more.ts', 'export {};\n')],
    ['a removed source', () => rmSync(join(root, 'server/main.ts'))],
    ['a changed package.json', () => write('package.json', '{ "type": "module", "version": "2.0.0" }')],
    [
      'an edited compiler option',
      () =>
        write(
          'tsconfig.build.json',
          '{ "extends": "./tsconfig.json", "compilerOptions": { "noEmit": false, "rootDir": ".", "types": ["node"] }, "include": ["protocol", "server"] }',
        ),
    ],
    ['a lost stamp', () => rmSync(join(root, 'dist/.stamp'))],
  ];

  it('counts as not built after any change that can reach dist', () => {
    const parts = ['protocol', 'server', 'package.json', 'tsconfig.build.json', 'dist'];
    const copy = (from: string, to: string): void => {
      for (const part of parts) cpSync(join(root, from, part), join(root, to, part), { recursive: true });
    };
    copy('.', 'kept');
    for (const [name, change] of changes) {
      change();
      expect([name, isBuilt()]).toEqual([name, false]);
      for (const part of parts) rmSync(join(root, part), { recursive: true, force: true });
      copy('kept', '.');
      expect([name, isBuilt()]).toEqual([name, true]);
    }
  });

  it('builds again what has changed, and leaves nothing of the earlier build behind', () => {
    expect(existsSync(dist('server/old.js'))).toBe(true);
    rmSync(join(root, 'server/old.ts'));
    expect(prepare()).toMatchObject({ status: 0, stderr: expect.stringContaining('building') });
    expect(isBuilt()).toBe(true);
    expect(existsSync(dist('server/old.js'))).toBe(false);
  });

  it('fails with the compiler’s words, and the next start builds again', () => {
    const main = readFileSync(join(root, 'server/main.ts'), 'utf8');
    write('server/main.ts', 'export const x: number = "text";\n');
    const failed = prepare();
    expect(failed.status).toBe(1);
    expect(failed.stdout).toContain('server/main.ts(1,14)');
    expect(failed.stderr).toContain('the sources have type errors');
    expect(prepare().status).toBe(1);
    write('server/main.ts', main);
    expect(prepare()).toMatchObject({ status: 0, stderr: expect.stringContaining('building') });
  });

  it('refuses a client that brings a package along', () => {
    write('client-sdk/index.ts', "export { z } from 'zod';\n");
    const { status, stderr } = build();
    expect(status).toBe(1);
    expect(stderr).toMatch(/its bundle holds \S*node_modules\/zod/);
    expect(isBuilt()).toBe(false);
  });
});
