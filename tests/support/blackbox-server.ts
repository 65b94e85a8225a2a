/** The built server as its own process: started, watched by its log lines, ended, killed, and started again on its data. */
import { type ChildProcess, spawn, spawnSync } from 'node:child_process';
import { mkdirSync, mkdtempSync, rmSync, writeFileSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import type { FileConfigInput } from '../../server/config/index.js';

const ROOT = join(__dirname, '../..');
const MAIN = join(ROOT, 'dist/server/main.js');
const START_MS = 15_000;

/** A word that tests put into prompts, answers, tool inputs and keys: it must never stand in a log. */
export const PRIVATE = 'heliotrope';

export interface BlackboxOptions {
  /** Beside a free port, the data directory and a key; the process's own environment is not passed on. */
  readonly env?: Readonly<Record<string, string>>;
  readonly config?: FileConfigInput;
  /** The fake upstream's address; without one the scripted model answers. */
  readonly upstream?: { readonly baseURL: string };
  /** A temporary one, removed by `dispose`, by default. */
  readonly dataDir?: string;
}

export interface Exit {
  readonly code: number | null;
  readonly signal: NodeJS.Signals | null;
}

export type LogLine = Readonly<Record<string, unknown>> & { readonly message?: string };

let isChecked = false;

/** Fails where `dist/` is not what the sources say: the suites would judge another server. */
function assertBuilt(): void {
  if (isChecked) return;
  const ask = "import { isBuilt } from './scripts/build.mjs'; process.exitCode = isBuilt(process.cwd()) ? 0 : 3";
  const { status } = spawnSync(process.execPath, ['--input-type=module', '-e', ask], { cwd: ROOT });
  if (status !== 0) throw new Error('dist/ is not built from the sources as they are now; run: npm run build');
  isChecked = true;
}

export class BlackboxServer {
  readonly dataDir: string;
  readonly #ownsDir: boolean;
  readonly #env: Readonly<Record<string, string>>;
  #child: ChildProcess | undefined;
  #url = '';
  #stdout = '';
  #stderr = '';
  #exited: Promise<Exit> = Promise.resolve({ code: 0, signal: null });

  constructor(options: BlackboxOptions) {
    assertBuilt();
    this.#ownsDir = options.dataDir === undefined;
    this.dataDir = options.dataDir ?? mkdtempSync(join(tmpdir(), 'midstream-blackbox-'));
    mkdirSync(this.dataDir, { recursive: true });
    const configPath = join(this.dataDir, 'midstream.config.json');
    writeFileSync(configPath, JSON.stringify(options.config ?? {}));
    const model = options.upstream && {
      ANTHROPIC_API_KEY: `sk-${PRIVATE}`,
      ANTHROPIC_BASE_URL: options.upstream.baseURL,
    };
    this.#env = {
      PATH: process.env['PATH'] ?? '',
      HOME: this.dataDir,
      PORT: '0',
      MIDSTREAM_DATA_DIR: join(this.dataDir, 'store'),
      MIDSTREAM_CONFIG: configPath,
      MIDSTREAM_FSYNC: 'off',
      ...model,
      ...options.env,
    };
  }

  get url(): string {
    return this.#url;
  }

  get wsUrl(): string {
    return `${this.#url.replace(/^http/, 'ws')}/v1/ws`;
  }

  get pid(): number {
    return this.#child?.pid ?? 0;
  }

  get pids(): readonly number[] {
    return [this.pid];
  }

  get stdout(): string {
    return this.#stdout;
  }

  get stderr(): string {
    return this.#stderr;
  }

  get exited(): Promise<Exit> {
    return this.#exited;
  }

  /** The records of its log so far. */
  get logs(): readonly LogLine[] {
    return this.#stdout
      .split('\n')
      .filter((line) => line.startsWith('{'))
      .map((line) => JSON.parse(line) as LogLine);
  }

  /** Starts the process, with a command where there is one, without waiting for it to listen. */
  spawn(...command: string[]): ChildProcess {
    const child = spawn(process.execPath, [MAIN, ...command], { env: this.#env, cwd: this.dataDir });
    this.#child = child;
    child.stdout.setEncoding('utf8').on('data', (text: string) => {
      this.#stdout += text;
    });
    child.stderr.setEncoding('utf8').on('data', (text: string) => {
      this.#stderr += text;
    });
    this.#exited = new Promise((resolve) => child.once('close', (code, signal) => resolve({ code, signal })));
    return child;
  }

  /** Resolves when it listens; rejects with what it said where it ends before. */
  async start(): Promise<this> {
    const seen = this.#stdout.length;
    const child = this.spawn();
    const listening = new Promise<string>((resolve) => {
      child.stdout?.on('data', () => {
        const url = /"url":"([^"]+)"/.exec(this.#stdout.slice(seen))?.[1];
        if (url !== undefined) resolve(url);
      });
    });
    const failed = this.#exited.then(({ code }) => {
      throw new Error(`the server ended with ${code} before it listened: ${this.#stderr}${this.#stdout.slice(seen)}`);
    });
    failed.catch(() => undefined);
    const isLate = (): string => `the server did not begin to listen: ${this.#stderr}${this.#stdout.slice(seen)}`;
    this.#url = await within(Promise.race([listening, failed]), START_MS, isLate);
    return this;
  }

  /** As a crash does: no goodbye. */
  async kill(): Promise<void> {
    this.#child?.kill('SIGKILL');
    await this.#exited;
  }

  /** It keeps its connections and does nothing, until `resume`. */
  stall(): void {
    this.#child?.kill('SIGSTOP');
  }

  resume(): void {
    this.#child?.kill('SIGCONT');
  }

  /** Asks it to end; `exited` tells when it has. */
  term(): void {
    this.#child?.kill('SIGTERM');
  }

  /** Again, on the same data directory, at another port. */
  async restart(): Promise<void> {
    await this.kill();
    await this.start();
  }

  /** Fails where a prompt, an answer or a key stands in the log. */
  assertNothingLeaked(): void {
    const line = `${this.#stdout}\n${this.#stderr}`.split('\n').find((text) => text.includes(PRIVATE));
    if (line !== undefined) throw new Error(`a log holds what it must not: ${line}`);
  }

  /** Ends it, looks through its log, and removes its data. */
  async dispose(): Promise<void> {
    await this.kill();
    if (this.#ownsDir) rmSync(this.dataDir, { recursive: true, force: true });
    this.assertNothingLeaked();
  }
}

export const startBlackbox = (options: BlackboxOptions = {}): Promise<BlackboxServer> =>
  new BlackboxServer(options).start();

/** The promise, or after so many milliseconds an error with this sentence. */
export function within<T>(promise: Promise<T>, ms: number, sentence: string | (() => string)): Promise<T> {
  let timer: NodeJS.Timeout | undefined;
  const late = new Promise<never>((_, reject) => {
    timer = setTimeout(
      () => reject(new Error(`${typeof sentence === 'string' ? sentence : sentence()} (within ${ms} ms)`)),
      ms,
    );
  });
  return Promise.race([promise, late]).finally(() => clearTimeout(timer));
}
