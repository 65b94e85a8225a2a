/** The two servers, started alike: one core, the probe preloaded, the same upstream. */
import { existsSync, mkdirSync } from 'node:fs';
import { join } from 'node:path';
import { createInterface } from 'node:readline';
import { fileURLToPath } from 'node:url';
import { Child } from './processes.mjs';

const here = (name) => fileURLToPath(new URL(name, import.meta.url));

export class Servers {
  #options;
  #running = new Set();

  /** `dir`: a folder for data that is thrown away afterwards. `cores`: see `findCores`. */
  constructor(options) {
    this.#options = options;
    if (!existsSync(this.#midstreamPath)) throw new Error(`${this.#midstreamPath} is missing; run: npm run build`);
  }

  get #midstreamPath() {
    return this.#options.serverPath ?? here('../dist/server/main.js');
  }

  /** `kind`: `relay` or `midstream`. `label` tells the processes of one run apart. */
  async start(kind, label) {
    const { dir, cores, upstreamPort, profileDir } = this.#options;
    const home = join(dir, `${kind}-${label}`);
    mkdirSync(home, { recursive: true });
    const path = kind === 'relay' ? here('relay.mjs') : this.#midstreamPath;
    const profile =
      profileDir === undefined
        ? []
        : ['--cpu-prof', '--cpu-prof-dir', profileDir, '--cpu-prof-name', `${kind}-${label}.cpuprofile`];
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
      },
    });
    this.#running.add(child);
    return { kind, child, port: await portOf(child), cpuUs: () => child.ask('cpu'), rss: () => child.ask('rss') };
  }

  async stop() {
    for (const child of this.#running) await child.stop();
    this.#running.clear();
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
