/** The servers, started alike: one core, the probe preloaded, the same upstream. */
import { existsSync, mkdirSync, writeFileSync } from 'node:fs';
import { join } from 'node:path';
import { createInterface } from 'node:readline';
import { fileURLToPath } from 'node:url';
import { SignJWT } from 'jose';
import { Child } from './processes.mjs';
import { startRedis } from './redis.mjs';

const here = (name) => fileURLToPath(new URL(name, import.meta.url));

const SECRET = 'a-secret-of-the-bench-as-long-as-one-must-be';
const BUDGET = { day: { tokens: 1e12, usd: 1e6 }, month: { tokens: 1e12, usd: 1e6 } };
/** More turns at a time than a node runs by default, and more that wait while others are looked for. */
const LIMITS = { running_turns: 2_000, waiting_turns: 2_000 };
const GATES = {
  roles: {
    user: {
      tools: { allow: ['*'] },
      models: ['*'],
      requests_per_minute: 1_000_000,
      concurrent_turns: 1_000,
      budget: BUDGET,
    },
  },
  org_budget: BUDGET,
  limits: { sockets_per_user: 1_000 },
};

const signToken = () =>
  new SignJWT({ org: 'bench', roles: ['user'] })
    .setProtectedHeader({ alg: 'HS256' })
    .setIssuer('bench')
    .setAudience('bench')
    .setSubject('bench')
    .setIssuedAt()
    .setExpirationTime('1h')
    .sign(new TextEncoder().encode(SECRET));

export class Servers {
  #options;
  #running = new Set();
  #redis;

  /** `dir`: a folder for data that is thrown away afterwards. `cores`: see `findCores`. */
  constructor(options) {
    this.#options = options;
    if (!existsSync(this.#midstreamPath)) throw new Error(`${this.#midstreamPath} is missing; run: npm run build`);
  }

  get #midstreamPath() {
    return this.#options.serverPath ?? here('../dist/server/main.js');
  }

  /** Nodes of one deployment, with their sessions in one Redis. `env`: what they are set to beyond that. */
  async startNodes(count, label, env = {}) {
    await this.#openRedis(label);
    const names = Array.from({ length: count }, (_, n) => `${label}-${n + 1}`);
    const nodes = await Promise.all(names.map((name) => this.start('node', name, env)));
    return { nodes, redis: this.#redis };
  }

  /** `kind`: `relay`, `midstream`, `gated` or `node`. `label` tells the processes of one run apart. */
  async start(kind, label, more = {}) {
    const { dir, cores, upstreamPort, profileDir } = this.#options;
    const home = join(dir, `${kind}-${label}`);
    mkdirSync(home, { recursive: true });
    const path = kind === 'relay' ? here('relay.mjs') : this.#midstreamPath;
    const profile =
      profileDir === undefined
        ? []
        : ['--cpu-prof', '--cpu-prof-dir', profileDir, '--cpu-prof-name', `${kind}-${label}.cpuprofile`];
    const { env, token } = await this.#settingsOf(kind, home);
    const child = new Child(kind, ['--expose-gc', ...profile, '--import', here('probe.mjs'), path], {
      cpus: cores?.server,
      cwd: home,
      stdout: 'pipe',
      env: {
        PATH: process.env.PATH,
        PORT: '0',
        ANTHROPIC_API_KEY: 'bench',
        ANTHROPIC_BASE_URL: `http://127.0.0.1:${upstreamPort}`,
        MIDSTREAM_DATA_DIR: join(home, 'data'),
        MIDSTREAM_BENCH_UPSTREAM_PORT: String(upstreamPort),
        ...env,
        ...more,
      },
    });
    this.#running.add(child);
    return {
      kind,
      child,
      token,
      port: await portOf(child),
      cpuUs: () => child.ask('cpu'),
      rss: () => child.ask('rss'),
    };
  }

  async stop() {
    for (const child of this.#running) await child.stop();
    this.#running.clear();
    await this.#redis?.stop();
    this.#redis = undefined;
  }

  async #settingsOf(kind, home) {
    if (kind === 'gated') return this.#closeGates(home);
    if (kind === 'relay') return {};
    const config = join(home, 'limits.json');
    writeFileSync(config, JSON.stringify({ limits: LIMITS }));
    const env = { MIDSTREAM_CONFIG: config };
    return { env: kind === 'node' ? { ...env, REDIS_URL: this.#redis.url } : env };
  }

  async #openRedis(label) {
    this.#redis ??= await startRedis(join(this.#options.dir, `redis-${label}`));
  }

  /** Every gate there is: a token, a role with limits and budgets, an organisation's budget, all of it in Redis. */
  async #closeGates(home) {
    await this.#openRedis('gates');
    const config = join(home, 'gates.json');
    writeFileSync(config, JSON.stringify(GATES));
    return {
      token: await signToken(),
      env: {
        REDIS_URL: this.#redis.url,
        MIDSTREAM_CONFIG: config,
        MIDSTREAM_JWT_SECRET: SECRET,
        MIDSTREAM_JWT_ISSUER: 'bench',
        MIDSTREAM_JWT_AUDIENCE: 'bench',
      },
    };
  }
}

/** Both say their address in a JSON line; what else they log is read and dropped. */
function portOf(child) {
  return new Promise((resolve, reject) => {
    createInterface({ input: child.stdout }).on('line', (line) => {
      const url = /"url":"([^"]+)"/.exec(line)?.[1];
      if (url !== undefined) resolve(Number(new URL(url).port));
    });
    child.exited().then(() => reject(new Error('the server ended before it listened')));
  });
}
