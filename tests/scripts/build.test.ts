import { cpSync, existsSync, readFileSync, rmSync, utimesSync } from 'node:fs';
import { join } from 'node:path';
import { createProject, linkPackages, type Project } from './project.js';

// Each starts a compiler.
jest.setTimeout(120_000);

describe('scripts/build.mjs', () => {
  let project: Project;
  beforeEach(() => {
    project = createProject();
    linkPackages(project);
  });
  afterEach(() => project.remove());

  const build = () => project.run(['scripts/build.mjs']);
  const prepare = () => project.run(['scripts/prepare.mjs', 'start']);
  const dist = (path: string): string => join(project.root, 'dist', path);

  it('compiles what a plain node can start, with types and maps', () => {
    expect(build()).toMatchObject({ status: 0, stdout: '', stderr: '' });
    expect(project.run([dist('server/main.js')]).stdout).toBe('42');
    expect(existsSync(dist('server/main.d.ts'))).toBe(true);
    expect(existsSync(dist('server/main.js.map'))).toBe(true);
  });

  it('bundles the client into one file without imports', () => {
    project.write('client-sdk/index.ts', "export { ANSWER } from '../protocol/limits.js';\n");
    expect(build()).toMatchObject({ status: 0, stderr: '' });
    expect(readFileSync(dist('client-sdk/midstream-client.js'), 'utf8')).not.toMatch(/^import /m);
    const use = `import { ANSWER } from ${JSON.stringify(dist('client-sdk/midstream-client.js'))}; console.log(ANSWER)`;
    expect(project.run(['--input-type=module', '-e', use]).stdout).toBe('42\n');
  });

  it('makes the client a package of its own, with its types', () => {
    project.write('client-sdk/package.json', '{"name":"@midstream/client","type":"module"}');
    project.write('client-sdk/index.ts', "export { ANSWER } from '../protocol/limits.js';\n");
    expect(build()).toMatchObject({ status: 0, stderr: '' });
    expect(readFileSync(dist('client-sdk/package.json'), 'utf8')).toContain('@midstream/client');
    expect(existsSync(dist('client-sdk/types/client-sdk/index.d.ts'))).toBe(true);
    expect(existsSync(dist('client-sdk/types/protocol/limits.d.ts'))).toBe(true);
  });

  it('refuses a client that brings a package along', () => {
    project.write('client-sdk/index.ts', "export { z } from 'zod';\n");
    const { status, stderr } = build();
    expect(status).toBe(1);
    expect(stderr).toMatch(/its bundle holds \S*node_modules\/zod/);
  });

  it('copies the page and the files beside the adapters, and no sources', () => {
    project.write('server/transports/http/page/index.html', '<p>');
    project.write('server/transports/http/page/deep/logo.svg', '<svg/>');
    project.write('server/adapters/redis/lua/append.lua', 'return 1');
    project.write('server/adapters/redis/notes.md', 'no');
    expect(build().status).toBe(0);
    expect(readFileSync(dist('server/transports/http/page/index.html'), 'utf8')).toBe('<p>');
    expect(existsSync(dist('server/transports/http/page/deep/logo.svg'))).toBe(true);
    expect(existsSync(dist('server/adapters/redis/lua/append.lua'))).toBe(true);
    expect(existsSync(dist('server/adapters/redis/notes.md'))).toBe(false);
  });

  it('leaves nothing of an earlier build behind', () => {
    project.write('server/old.ts', 'export const old = 1;\n');
    build();
    rmSync(join(project.root, 'server/old.ts'));
    build();
    expect(existsSync(dist('server/old.js'))).toBe(false);
  });

  it('fails with the compiler’s words, and the next start builds again', () => {
    expect(build().status).toBe(0);
    project.write('server/main.ts', 'export const x: number = "text";\n');
    const failed = prepare();
    expect(failed.status).toBe(1);
    expect(failed.stdout).toContain('server/main.ts(1,14)');
    expect(failed.stderr).toContain('the sources have type errors');
    expect(prepare().status).toBe(1);
    project.write('server/main.ts', 'export const x = 1;\n');
    expect(prepare()).toMatchObject({ status: 0 });
  });

  const isBuilt = (): boolean => {
    const ask = "import { isBuilt } from './scripts/build.mjs'; console.log(isBuilt(process.cwd()))";
    return project.run(['--input-type=module', '-e', ask]).stdout === 'true\n';
  };

  it('does not build again what is built, whatever the times of the files say', () => {
    expect(isBuilt()).toBe(false);
    expect(prepare().stderr).toContain('building');
    expect(isBuilt()).toBe(true);
    utimesSync(join(project.root, 'server/main.ts'), new Date(), new Date(Date.now() + 3_600_000));
    expect(prepare().stderr).toBe('');
  });

  const changes: [string, (project: Project) => void][] = [
    ['a changed source', (p: Project) => p.write('protocol/limits.ts', 'export const ANSWER = 43;\n')],
    ['a new source', (p: Project) => p.write('server/more.ts', 'export {};\n')],
    ['a removed source', (p: Project) => rmSync(join(p.root, 'server/main.ts'))],
    ['a changed package.json', (p: Project) => p.write('package.json', '{ "type": "module", "version": "2.0.0" }')],
    [
      'an edited compiler option',
      (p: Project) =>
        p.write(
          'tsconfig.build.json',
          '{ "extends": "./tsconfig.json", "compilerOptions": { "noEmit": false, "rootDir": ".", "types": ["node"] }, "include": ["protocol", "server"] }',
        ),
    ],
    ['a lost stamp', (p: Project) => rmSync(join(p.root, 'dist/.stamp'))],
  ];

  it('builds again after any change that can reach dist', () => {
    build();
    const parts = ['protocol', 'server', 'package.json', 'tsconfig.build.json', 'dist'];
    const copy = (from: string, to: string): void => {
      for (const part of parts)
        cpSync(join(project.root, from, part), join(project.root, to, part), { recursive: true });
    };
    copy('.', 'kept');
    for (const [name, change] of changes) {
      change(project);
      expect([name, isBuilt()]).toEqual([name, false]);
      for (const part of parts) rmSync(join(project.root, part), { recursive: true, force: true });
      copy('kept', '.');
      expect([name, isBuilt()]).toEqual([name, true]);
    }
    project.write('server/more.ts', 'export {};\n');
    expect(prepare()).toMatchObject({ status: 0, stderr: expect.stringContaining('building') });
    expect(isBuilt()).toBe(true);
  });
});
