/**
 * Builds the Dockerfile for real and runs what came of it, without a container engine: `npm run check:image`, as root on
 * Debian with buildah and mmdebstrap. The base image is made here of Debian and this machine's Node, under the name that
 * the Dockerfile gives; so nothing is pulled, and what the base weighs is not measured.
 */
import { spawn, spawnSync } from 'node:child_process';
import { mkdtempSync, readdirSync, readFileSync, rmSync, statSync } from 'node:fs';
import { createServer } from 'node:net';
import { tmpdir } from 'node:os';
import { dirname, join } from 'node:path';
import { fileURLToPath } from 'node:url';

const ROOT = join(dirname(fileURLToPath(import.meta.url)), '..');
const TOOLS = ['buildah', 'mmdebstrap'];
const IMAGE = 'midstream:check';
/** Of the layers that are ours, compressed; the published base has 76 MB, and the whole is to stay below 100. */
const MAX_LAYERS_MB = 20;
const START_MS = 20_000;
/** What a production image has no use for. */
const DEVELOPMENT = ['jest', 'typescript', '@swc/core', '@biomejs/biome', 'esbuild', 'eslint'];

const say = (sentence) => process.stdout.write(`image: ${sentence}\n`);

function fail(sentence) {
  throw new Error(sentence);
}

function requireTools() {
  const missing = TOOLS.filter((tool) => spawnSync(tool, ['--version'], { stdio: 'ignore' }).error);
  if (missing.length > 0)
    fail(
      `NOT CHECKED: ${missing.join(' and ')} missing; run: apt-get install -y --no-install-recommends ${TOOLS.join(' ')} crun`,
    );
  if (process.getuid?.() !== 0) fail('NOT CHECKED: it needs root, for it makes a root file system');
}

class Buildah {
  #dir;
  #env = { ...process.env, BUILDAH_ISOLATION: 'chroot', STORAGE_DRIVER: 'vfs' };

  constructor(dir) {
    this.#dir = dir;
  }

  #args(args) {
    return ['--root', join(this.#dir, 'store'), '--runroot', join(this.#dir, 'run'), ...args];
  }

  /** Standard output; throws what it said where it fails. */
  do(...args) {
    const { status, stdout, stderr } = spawnSync('buildah', this.#args(args), {
      cwd: ROOT,
      env: this.#env,
      encoding: 'utf8',
      maxBuffer: 64 * 1_024 * 1_024,
    });
    if (status !== 0) fail(`buildah ${args[0]} failed:\n${stderr.slice(-2_000)}`);
    return stdout.trim();
  }

  start(...args) {
    return spawn('buildah', this.#args(args), { env: this.#env, stdio: 'ignore', detached: true });
  }
}

function makeBase(buildah, dir, name) {
  say(`making a base in place of ${name}`);
  const tar = join(dir, 'base.tar');
  const made = spawnSync('mmdebstrap', ['--variant=minbase', '--include=ca-certificates,libstdc++6', 'bookworm', tar], {
    encoding: 'utf8',
  });
  if (made.status !== 0) fail(`mmdebstrap failed:\n${made.stderr.slice(-2_000)}`);
  const npm = join(dirname(process.execPath), '../lib/node_modules/npm');
  const base = buildah.do('from', 'scratch');
  buildah.do('add', '-q', base, tar, '/');
  buildah.do('add', '-q', base, process.execPath, '/usr/local/bin/node');
  buildah.do('add', '-q', base, npm, '/usr/local/lib/node_modules/npm');
  const script =
    'ln -s ../lib/node_modules/npm/bin/npm-cli.js /usr/local/bin/npm && groupadd -g 1000 node && useradd -u 1000 -g node -m node';
  buildah.do('run', base, '--', 'sh', '-c', script);
  const env = ['PATH=/usr/local/sbin:/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin'];
  // Where this machine's way to the registry has a certificate of its own.
  const extra = process.env.NODE_EXTRA_CA_CERTS;
  if (extra) {
    buildah.do('add', '-q', base, extra, '/etc/ssl/extra-ca.crt');
    env.push('NODE_EXTRA_CA_CERTS=/etc/ssl/extra-ca.crt');
  }
  buildah.do('config', ...env.flatMap((one) => ['--env', one]), base);
  buildah.do('commit', '-q', base, name);
  buildah.do('rm', base);
}

function checkConfig(buildah) {
  const { Docker } = JSON.parse(buildah.do('inspect', '--type', 'image', IMAGE));
  const { User, Healthcheck, Env } = Docker.config;
  if (User !== 'node') fail(`it runs as ${User || 'root'}`);
  if (!Healthcheck?.Test?.length) fail('it has no HEALTHCHECK');
  const secret = Env.find((one) => /KEY|SECRET|TOKEN|PASSWORD/i.test(one));
  if (secret) fail(`it has a secret in its environment: ${secret.split('=')[0]}`);
  return Healthcheck.Test.slice(1);
}

function checkFiles(buildah, container) {
  const root = buildah.do('mount', container);
  const has = (path) => statSync(join(root, path), { throwIfNoEntry: false }) !== undefined;
  const development = DEVELOPMENT.filter((name) => has(`app/node_modules/${name}`));
  if (development.length > 0) fail(`it has development dependencies: ${development.join(', ')}`);
  for (const path of ['app/.npmrc', 'app/.git', 'app/tests', 'root/.npmrc']) if (has(path)) fail(`it has /${path}`);
  buildah.do('umount', container);
}

/** Megabytes of the layers above the base, as they would be pulled. */
function measureLayers(buildah, dir, base) {
  const sizes = (image, name) => {
    const path = join(dir, name);
    buildah.do('push', '-q', '--compression-format', 'gzip', image, `oci:${path}:check`);
    const blobs = join(path, 'blobs/sha256');
    return readdirSync(blobs).reduce((sum, blob) => sum + statSync(join(blobs, blob)).size, 0);
  };
  return (sizes(IMAGE, 'image') - sizes(base, 'base')) / 1e6;
}

const freePort = () =>
  new Promise((resolve) => {
    const server = createServer().listen(0, '127.0.0.1', () => {
      const { port } = server.address();
      server.close(() => resolve(port));
    });
  });

async function answers(url, options) {
  for (const until = Date.now() + START_MS; ; await new Promise((resolve) => setTimeout(resolve, 100))) {
    const response = await fetch(url, options).catch(() => undefined);
    if (response?.ok) return response.text();
    if (Date.now() > until) fail(`${url} did not answer`);
  }
}

async function checkRunning(buildah, container, health) {
  const port = String(await freePort());
  // Everybody is an administrator in it, so it listens to this machine alone.
  const env = ['--env', `PORT=${port}`, '--env', 'HOST=127.0.0.1'];
  const server = buildah.start('run', ...env, '--user', 'node', container, '--', 'node', 'dist/server/main.js');
  const ended = new Promise((resolve) => server.once('close', resolve));
  try {
    await answers(`http://127.0.0.1:${port}/health`);
    const body = JSON.stringify({ message: 'Say hello.', stream: false });
    const headers = { 'content-type': 'application/json' };
    const said = await answers(`http://127.0.0.1:${port}/chat`, { method: 'POST', headers, body });
    if (!JSON.parse(said).response) fail('it answered a prompt with nothing');
    buildah.do('run', ...env, '--user', 'node', container, '--', ...health);
  } finally {
    // Buildah and what it runs are one group.
    process.kill(-server.pid, 'SIGTERM');
    await ended;
  }
}

async function main() {
  requireTools();
  const dir = mkdtempSync(join(tmpdir(), 'midstream-image-'));
  const buildah = new Buildah(dir);
  try {
    const dockerfile = readFileSync(join(ROOT, 'Dockerfile'), 'utf8');
    const [base = ''] = [...dockerfile.matchAll(/^FROM (\S+)/gm)].map(([, name]) => `docker.io/library/${name}`);
    makeBase(buildah, dir, base);
    say('building the Dockerfile');
    buildah.do('build', '--pull-never', '--format', 'docker', '-q', '-t', IMAGE, '.');
    const health = checkConfig(buildah);
    const container = buildah.do('from', '--pull-never', IMAGE);
    checkFiles(buildah, container);
    const layersMb = measureLayers(buildah, dir, base);
    if (layersMb > MAX_LAYERS_MB)
      fail(`its layers have ${layersMb.toFixed(1)} MB compressed, more than ${MAX_LAYERS_MB}`);
    say('running it');
    await checkRunning(buildah, container, health);
    say(`builds, runs as node, answers, is healthy; ${layersMb.toFixed(1)} MB compressed beside its base`);
  } finally {
    rmSync(dir, { recursive: true, force: true });
  }
}

main().catch((error) => {
  process.stderr.write(`image: ${error.message}\n`);
  process.exitCode = 1;
});
