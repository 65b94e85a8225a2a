import { chmodSync, existsSync, readFileSync, rmSync } from 'node:fs';
import { join } from 'node:path';
import { createProject, linkPackages, type Project, writeLock } from './project.js';

// Each start with something to build starts a compiler.
jest.setTimeout(120_000);

const path = process.env.PATH ?? '';

// One clone for all, in this order.
describe('scripts/prepare.mjs in a clone', () => {
  const project = createProject();
  const start = (env = {}) => project.run(['scripts/prepare.mjs', 'start'], { PATH: path, ...env });
  const hidden = 'node_modules/.package-lock.json';
  afterAll(() => project.remove());

  it('installs and builds at first, development packages included, then has nothing to do', () => {
    writeLock(project);
    expect(start({ NODE_ENV: 'production' })).toMatchObject({ status: 0 });
    expect(project.run([join(project.root, 'dist/server/main.js')]).stdout).toBe('42');
    expect(start()).toMatchObject({ status: 0, stdout: '', stderr: '' });
  });

  it('installs again when the lock names another version than the installed one', () => {
    const installed = JSON.parse(readFileSync(join(project.root, hidden), 'utf8'));
    installed.packages['node_modules/typescript'].version = '0.0.1';
    project.write(hidden, JSON.stringify(installed));
    expect(start().stderr).toContain('installing npm packages');
    expect(start().stderr).toBe('');
  });

  it('installs again after an install that was cut off', () => {
    rmSync(join(project.root, hidden));
    expect(start().stderr).toContain('installing npm packages');
  });
});

let project: Project;
beforeEach(() => {
  project = createProject();
});
afterEach(() => project.remove());

describe('scripts/prepare.mjs, packages', () => {
  const start = (env = {}) => project.run(['scripts/prepare.mjs', 'start'], { PATH: path, ...env });

  it('says what it does when npm ci fails, and goes on with npm install', () => {
    writeLock(project);
    project.write(
      'package-lock.json',
      '{ "lockfileVersion": 3, "packages": { "": {}, "node_modules/absent": { "version": "1.0.0" } } }',
    );
    const { status, stderr } = start({ npm_config_offline: 'true' });
    expect(stderr).toContain('npm ci failed (above)');
    expect(status).toBe(0);
    expect(existsSync(join(project.root, 'dist/server/main.js'))).toBe(true);
  });

  it('says what to do when nothing can be installed', () => {
    project.write(
      'package.json',
      '{ "name": "small", "version": "1.0.0", "dependencies": { "absent": "file:./absent.tgz" } }',
    );
    const { status, stderr } = start({ npm_config_offline: 'true' });
    expect(status).toBe(1);
    expect(stderr).toContain('then run: npm ci');
  });

  it('refuses an unknown purpose', () => {
    expect(project.run(['scripts/prepare.mjs', 'strat'])).toMatchObject({
      status: 1,
      stderr: expect.stringContaining('start|test'),
    });
  });
});

describe('scripts/prepare.mjs, system tools', () => {
  const program = (path: string, body = 'exit 0'): void => {
    project.write(path, `#!/bin/sh\n${body}\n`);
    chmodSync(join(project.root, path), 0o755);
  };
  /** Runs the step alone, on a host where only the project's `bin` is in PATH. */
  const ensure = (host: { platform: string; isRoot: boolean; env?: Record<string, string> }) => {
    const env = { PATH: join(project.root, 'bin'), ...host.env };
    const code = `import { ensureTools } from './scripts/system-tools.mjs';
      try { ensureTools(console.log, ${JSON.stringify({ ...host, env })}) } catch (e) { console.log('failed: ' + e.message) }`;
    return project.run(['--input-type=module', '-e', code], env).stdout;
  };
  /** A package manager that writes down how it was called and installs what it is asked for. */
  const packageManager = (name: string): void =>
    program(
      `bin/${name}`,
      `echo "${name} $*" >> ${project.root}/calls
       case "$*" in *" update"*|update*) exit 100;; esac
       for word in "$@"; do case "$word" in redis-server|redis) tool=redis-server;; chromium) tool=chromium;; *) continue;; esac
         printf '#!/bin/sh\\n' > ${project.root}/bin/$tool; /bin/chmod 755 ${project.root}/bin/$tool
       done`,
    );
  const calls = (): string[] => readFileSync(join(project.root, 'calls'), 'utf8').trim().split('\n');

  it('installs what is missing with apt-get, says so in one line, and does it once', () => {
    packageManager('apt-get');
    expect(ensure({ platform: 'linux', isRoot: true })).toBe('installing redis-server and chromium for the tests …\n');
    expect(calls()).toEqual([
      'apt-get update -qq',
      'apt-get install -y -qq --no-install-recommends redis-server chromium',
    ]);
    expect(ensure({ platform: 'linux', isRoot: true })).toBe('');
    expect(calls()).toHaveLength(2);
  });

  it('installs with brew on macOS, without root', () => {
    packageManager('brew');
    ensure({ platform: 'darwin', isRoot: false });
    expect(calls()).toEqual(['brew install --quiet redis', 'brew install --quiet --cask chromium']);
  });

  it.each(['chromium', 'chromium-browser', 'google-chrome'])('takes %s for a browser', (name) => {
    program('bin/redis-server');
    program(`bin/${name}`);
    expect(ensure({ platform: 'linux', isRoot: true })).toBe('');
  });

  it('takes the browser that CHROMIUM_PATH names, if it is one', () => {
    program('bin/redis-server');
    program('elsewhere/my-chromium');
    const found = { CHROMIUM_PATH: join(project.root, 'elsewhere/my-chromium') };
    expect(ensure({ platform: 'linux', isRoot: false, env: found })).toBe('');
    const absent = { CHROMIUM_PATH: join(project.root, 'elsewhere/absent') };
    expect(ensure({ platform: 'linux', isRoot: false, env: absent })).toContain('failed: the tests need chromium');
  });

  it('says what to run without root', () => {
    packageManager('apt-get');
    expect(ensure({ platform: 'linux', isRoot: false })).toContain(
      'run as root: apt-get update -qq && apt-get install -y -qq --no-install-recommends redis-server chromium',
    );
    expect(existsSync(join(project.root, 'calls'))).toBe(false);
  });

  it('says what is needed where there is no package manager', () => {
    expect(ensure({ platform: 'linux', isRoot: true })).toContain(
      'failed: the tests need redis-server and chromium (or name one in CHROMIUM_PATH)',
    );
    expect(ensure({ platform: 'darwin', isRoot: false })).toContain('install Homebrew');
  });

  it('fails where the package manager fails, and where it brings nothing', () => {
    program('bin/apt-get', 'exit 100');
    expect(ensure({ platform: 'linux', isRoot: true })).toContain('failed: the tests need');
    program('bin/apt-get', 'exit 0');
    expect(ensure({ platform: 'linux', isRoot: true })).toContain('did not bring it');
  });

  it('asks for them before npm test only', () => {
    linkPackages(project);
    const env = { PATH: join(project.root, 'bin') };
    expect(project.run(['scripts/prepare.mjs', 'start'], env).status).toBe(0);
    expect(project.run(['scripts/prepare.mjs', 'test'], env)).toMatchObject({
      status: 1,
      stderr: expect.stringContaining('the tests need redis-server and chromium'),
    });
  });
});
