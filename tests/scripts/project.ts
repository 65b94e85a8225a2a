/** A small project in a folder of its own, with the real scripts, compiler and bundler; for tests of the scripts. */
import { type SpawnSyncReturns, spawnSync } from 'node:child_process';
import { cpSync, mkdirSync, mkdtempSync, rmSync, symlinkSync, writeFileSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { dirname, join } from 'node:path';

const REPOSITORY = join(__dirname, '..', '..');

export interface Project {
  readonly root: string;
  write(path: string, content: string): void;
  /** Runs a script of the project, with nothing in the environment but `env`. */
  run(args: readonly string[], env?: Readonly<Record<string, string>>): SpawnSyncReturns<string>;
  remove(): void;
}

export function createProject(): Project {
  const root = mkdtempSync(join(tmpdir(), 'midstream-scripts-'));
  const write = (path: string, content: string): void => {
    mkdirSync(dirname(join(root, path)), { recursive: true });
    writeFileSync(join(root, path), content);
  };
  for (const path of ['scripts', 'tsconfig.json', 'tsconfig.build.json']) {
    cpSync(join(REPOSITORY, path), join(root, path), { recursive: true });
  }
  write('package.json', '{ "name": "small", "version": "1.0.0", "type": "module" }');
  write('protocol/limits.ts', 'export const ANSWER = 42;\n');
  write('server/main.ts', "import { ANSWER } from '../protocol/limits.js';\nprocess.stdout.write(String(ANSWER));\n");
  return {
    root,
    write,
    run: (args, env = {}) =>
      spawnSync(process.execPath, args, { cwd: root, encoding: 'utf8', env: { HOME: root, ...env } }),
    remove: () => rmSync(root, { recursive: true, force: true }),
  };
}

/** Gives the project this repository's packages. */
export function linkPackages(project: Project): void {
  symlinkSync(join(REPOSITORY, 'node_modules'), join(project.root, 'node_modules'));
}

/** A lock whose only packages are the compiler and the bundler of this repository: it installs without a network. */
export function writeLock(project: Project): void {
  const links = ['typescript', 'esbuild', '@types/node'].map(
    (name) => [name, join(REPOSITORY, 'node_modules', name)] as const,
  );
  const devDependencies = Object.fromEntries(links.map(([name, path]) => [name, `file:${path}`]));
  const manifest = { name: 'small', version: '1.0.0', type: 'module', devDependencies };
  const packages = Object.fromEntries(
    links.map(([name, path]) => [`node_modules/${name}`, { resolved: path, link: true }]),
  );
  project.write('package.json', JSON.stringify(manifest));
  project.write(
    'package-lock.json',
    JSON.stringify({ ...manifest, lockfileVersion: 3, requires: true, packages: { '': manifest, ...packages } }),
  );
}
