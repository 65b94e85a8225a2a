/**
 * Runs deploy/ for real, without a container engine: `node scripts/check-deploy.mjs`, on a machine with nginx and redis-server. The
 * very nginx.conf stands in front of two server processes with the environment of the compose file and a Redis with its
 * settings; addresses alone are others.
 */
import { spawn, spawnSync } from 'node:child_process';
import { createHmac, randomBytes } from 'node:crypto';
import { mkdtempSync, readFileSync, rmSync, writeFileSync } from 'node:fs';
import { createRequire } from 'node:module';
import { createServer } from 'node:net';
import { tmpdir } from 'node:os';
import { dirname, join } from 'node:path';
import { fileURLToPath } from 'node:url';
import { WebSocket } from 'ws';

const ROOT = join(dirname(fileURLToPath(import.meta.url)), '..');
const { safeLoad: parseYaml } = createRequire(import.meta.url)('js-yaml');
const START_MS = 20_000;
const WAIT_MS = 10_000;
const NODES = ['node-1', 'node-2'];
const LONG = 'slow '.repeat(60);
/** The long answer takes 3 s; its first words must not. */
const TOKENS_PER_SECOND = 20;

const say = (sentence) => process.stdout.write(`deploy: ${sentence}\n`);

function fail(sentence) {
  throw new Error(sentence);
}

function requireTools() {
  const isThere = (tool, flag) => spawnSync(tool, [flag], { stdio: 'ignore' }).error === undefined;
  const missing = [
    ['nginx', '-v'],
    ['redis-server', '--version'],
  ].filter(([tool, flag]) => !isThere(tool, flag));
  if (missing.length === 0) return;
  const names = missing.map(([tool]) => tool);
  fail(
    `NOT CHECKED: ${names.join(' and ')} missing; run: apt-get install -y --no-install-recommends ${names.join(' ')}`,
  );
}

const freePort = () =>
  new Promise((resolve) => {
    const server = createServer().listen(0, '127.0.0.1', () => {
      const { port } = server.address();
      server.close(() => resolve(port));
    });
  });

/** What runs, ended in reverse. */
const started = [];

/** Resolves when it says that it is ready; rejects with what it said where it ends or is late. */
function start(name, command, args, { env, cwd, isReady }) {
  const child = spawn(command, args, { env, cwd, stdio: ['ignore', 'pipe', 'pipe'] });
  const ended = new Promise((resolve) => child.once('close', resolve));
  started.push(async () => {
    child.kill('SIGTERM');
    const late = setTimeout(() => child.kill('SIGKILL'), WAIT_MS);
    await ended;
    clearTimeout(late);
  });
  let said = '';
  return new Promise((resolve, reject) => {
    const late = setTimeout(() => reject(new Error(`${name} did not start: ${said.slice(-2_000)}`)), START_MS);
    const listen = (bytes) => {
      said += bytes;
      if (!isReady(said)) return;
      clearTimeout(late);
      resolve();
    };
    child.stdout.on('data', listen);
    child.stderr.on('data', listen);
    child.once('error', reject);
    void ended.then((code) => reject(new Error(`${name} ended with ${code}: ${said.slice(-2_000)}`)));
  });
}

const encode = (part) => Buffer.from(JSON.stringify(part)).toString('base64url');

function makeToken({ MIDSTREAM_JWT_SECRET: secret, MIDSTREAM_JWT_ISSUER: iss, MIDSTREAM_JWT_AUDIENCE: aud }) {
  const exp = Math.floor(Date.now() / 1_000) + 600;
  const signed = `${encode({ alg: 'HS256' })}.${encode({ iss, aud, sub: 'ada', org: 'acme', roles: ['admin'], exp })}`;
  return `${signed}.${createHmac('sha256', secret).update(signed).digest('base64url')}`;
}

async function startAll(dir) {
  const { services } = parseYaml(readFileSync(join(ROOT, 'deploy/docker-compose.yml'), 'utf8'));
  const redisPort = await freePort();
  const [, ...redisArgs] = services.redis.command;
  await start('redis-server', 'redis-server', [...redisArgs, '--port', String(redisPort), '--dir', dir], {
    isReady: (said) => said.includes('Ready to accept connections'),
  });
  const script = join(dir, 'script.json');
  const slow = { type: 'text', text: LONG, tokens_per_second: TOKENS_PER_SECOND };
  const quick = { steps: [{ blocks: [{ type: 'text', text: 'Fine.' }] }] };
  writeFileSync(
    script,
    JSON.stringify({ turns: [{ match: { text: '^slow' }, steps: [{ blocks: [slow] }] }], fallback: quick }),
  );
  const identity = {
    MIDSTREAM_JWT_SECRET: randomBytes(32).toString('hex'),
    MIDSTREAM_JWT_ISSUER: 'https://issuer.example',
    MIDSTREAM_JWT_AUDIENCE: 'midstream',
  };
  const ports = new Map();
  for (const name of NODES) {
    const port = await freePort();
    ports.set(name, port);
    const env = {
      PATH: process.env.PATH,
      ...services[name].environment,
      PORT: String(port),
      HOST: '127.0.0.1',
      REDIS_URL: services[name].environment.REDIS_URL.replace('redis:6379', `127.0.0.1:${redisPort}`),
      MIDSTREAM_TRUSTED_PROXIES: '127.0.0.1',
      MIDSTREAM_DRAIN_MS: '500',
      MIDSTREAM_DATA_DIR: join(dir, name),
      MIDSTREAM_SCRIPT: script,
      ...identity,
    };
    await start(name, process.execPath, [join(ROOT, 'dist/server/main.js')], {
      env,
      cwd: dir,
      isReady: (said) => said.includes('"url":"'),
    });
  }
  const port = await freePort();
  await startNginx(dir, port, ports);
  return { port, ports, token: makeToken(identity) };
}

/** Each replacement must fit, or it is not the file that is checked. */
function toLocalConfig(text, dir, port, ports) {
  const temp = ['client_body', 'proxy', 'fastcgi', 'uwsgi', 'scgi'].map((name) => `${name}_temp_path ${dir}/${name};`);
  const replacements = [
    ...[...ports].map(([name, own]) => [`server ${name}:8080`, `server 127.0.0.1:${own}`]),
    ['listen 80;', `listen 127.0.0.1:${port};`],
    ['http {', `http { ${temp.join(' ')}`],
  ];
  return replacements.reduce((config, [from, to]) => {
    if (config.split(from).length !== 2) fail(`deploy/nginx.conf has not one “${from}”`);
    return config.replace(from, to);
  }, text);
}

async function startNginx(dir, port, ports) {
  const conf = join(dir, 'nginx.conf');
  const text = toLocalConfig(readFileSync(join(ROOT, 'deploy/nginx.conf'), 'utf8'), dir, port, ports);
  writeFileSync(conf, `daemon off; pid ${dir}/nginx.pid; error_log stderr notice;\n${text}`);
  const args = ['-p', dir, '-e', 'stderr', '-c', conf];
  const { status, stderr } = spawnSync('nginx', ['-t', ...args], { encoding: 'utf8' });
  if (status !== 0) fail(`nginx refuses its configuration: ${stderr}`);
  await start('nginx', 'nginx', args, { cwd: dir, isReady: (said) => said.includes('start worker process ') });
}

/** A WebSocket that keeps its frames. */
class Client {
  frames = [];
  #socket;
  #waiting = new Set();
  #ids = 0;

  constructor(port, token) {
    this.#socket = new WebSocket(`ws://127.0.0.1:${port}/v1/ws`, 'midstream.v1', {
      headers: { authorization: `Bearer ${token}` },
    });
    this.#socket.on('message', (data) => {
      this.frames.push(JSON.parse(data));
      for (const look of this.#waiting) look();
    });
    this.#socket.on('error', (error) => say(`a WebSocket failed: ${error.message}`));
  }

  waitFor(what, fits) {
    return new Promise((resolve, reject) => {
      const late = setTimeout(
        () => reject(new Error(`${what} did not come: ${JSON.stringify(this.frames.at(-1))}`)),
        WAIT_MS,
      );
      const look = () => {
        const found = this.frames.find(fits);
        if (!found) return;
        clearTimeout(late);
        this.#waiting.delete(look);
        resolve(found);
      };
      this.#waiting.add(look);
      look();
    });
  }

  async ask(command) {
    const id = `c${++this.#ids}`;
    this.#socket.send(JSON.stringify({ ...command, id }));
    const reply = await this.waitFor(
      `an answer to ${command.type}`,
      (frame) => frame.id === id && frame.type.startsWith('command.'),
    );
    if (reply.type !== 'command.accepted') fail(`${command.type} was refused: ${JSON.stringify(reply.error)}`);
    return reply.result;
  }

  close() {
    this.#socket.close();
  }
}

async function connect({ port, token }) {
  const client = new Client(port, token);
  started.push(async () => client.close());
  await client.waitFor('connection.ready', ({ type }) => type === 'connection.ready');
  return client;
}

async function checkSockets(server) {
  const clients = [];
  for (let n = 0; n < 4; n++) clients.push(await connect(server));
  const counts = await Promise.all(
    [...server.ports.values()].map(async (port) => {
      const page = await (await fetch(`http://127.0.0.1:${port}/metrics`)).text();
      return Number(/^midstream_sockets_open (\d+)$/m.exec(page)?.[1]);
    }),
  );
  if (counts.some((count) => count !== 2))
    fail(`four sockets went to the nodes as ${counts.join(' and ')}, not evenly`);

  const [one, two] = clients;
  const { session } = await one.ask({ type: 'session.create' });
  await one.ask({ type: 'session.attach', session_id: session.id, deltas: true });
  await two.ask({ type: 'session.attach', session_id: session.id, deltas: true });
  const first = await one.ask({ type: 'user.message', session_id: session.id, content: 'Hello.' });
  const isEnd = (turnId) => (frame) => frame.type === 'turn.ended' && frame.turn_id === turnId;
  for (const client of [one, two]) await client.waitFor('the end of the turn', isEnd(first.turn_id));

  const slow = await one.ask({ type: 'user.message', session_id: session.id, content: 'slow' });
  const isDelta = (frame) => frame.type === 'event_delta' && frame.turn_id === slow.turn_id;
  for (const client of [one, two]) await client.waitFor('a delta', isDelta);
  await two.ask({ type: 'user.interrupt', session_id: session.id });
  const ended = await one.waitFor('the end of the turn', isEnd(slow.turn_id));
  if (ended.stop_reason !== 'cancelled') fail(`the turn ended with ${ended.stop_reason}`);
  say('sockets go to both nodes; one session is watched, prompted and cancelled through either');
}

const post = ({ port, token }, path, body) =>
  fetch(`http://127.0.0.1:${port}${path}`, {
    method: 'POST',
    headers: { 'content-type': 'application/json', authorization: `Bearer ${token}` },
    body: JSON.stringify(body),
  });

async function checkHttp(server) {
  const response = await post(server, '/v1/chat', { message: 'slow' });
  if (response.status !== 200) fail(`a stream was refused: ${response.status} ${await response.text()}`);
  const times = [];
  let text = '';
  for await (const chunk of response.body) {
    times.push(performance.now());
    text += Buffer.from(chunk).toString();
  }
  const spreadMs = times.at(-1) - times[0];
  if (times.length < 10 || spreadMs < 1_000)
    fail(`a stream came in ${times.length} pieces within ${Math.round(spreadMs)} ms`);
  if (!text.includes('slow')) fail('a stream had no text');
  const large = await post(server, '/v1/chat', { message: `Read this: ${'x'.repeat(100_000)}`, stream: false });
  if (large.status !== 200) fail(`100 kB were refused: ${large.status} ${await large.text()}`);
  for (const path of ['/metrics', '/ready']) {
    const { status } = await fetch(`http://127.0.0.1:${server.port}${path}`);
    if (status !== 404) fail(`${path} can be read from outside`);
  }
  const health = await fetch(`http://127.0.0.1:${server.port}/health`);
  if (health.status !== 200) fail(`/health is ${health.status}`);
  for (const port of server.ports.values()) {
    const { status } = await fetch(`http://127.0.0.1:${port}/ready`);
    if (status !== 200) fail(`a node's /ready is ${status}`);
  }
  say(`a stream comes word by word (${times.length} pieces in ${Math.round(spreadMs)} ms), 100 kB go in`);
}

async function main() {
  requireTools();
  const dir = mkdtempSync(join(tmpdir(), 'midstream-deploy-'));
  try {
    const server = await startAll(dir);
    await checkSockets(server);
    await checkHttp(server);
  } finally {
    for (const end of started.reverse()) await end();
    rmSync(dir, { recursive: true, force: true });
  }
}

main().catch((error) => {
  process.stderr.write(`deploy: ${error.message}\n`);
  process.exitCode = 1;
});
