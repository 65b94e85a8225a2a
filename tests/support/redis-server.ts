/** A real `redis-server` on loopback for one suite: started, stopped, stalled, and started again. */
import { type ChildProcess, spawn } from 'node:child_process';
import { mkdtempSync, rmSync } from 'node:fs';
import { createServer } from 'node:net';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import type { RedisConnection } from '../../server/adapters/redis/index.js';

export interface RedisSettings {
  /** Whether a restart finds what was written; not by default. */
  readonly durable?: boolean;
  /** Further settings, by their names in `redis.conf`. */
  readonly settings?: Readonly<Record<string, string>>;
}

const START_MS = 10_000;

export class RedisServer {
  readonly dir: string;
  readonly port: number;
  readonly #args: string[];
  #process: ChildProcess | undefined;
  #gone: Promise<void> = Promise.resolve();

  private constructor(port: number, { durable = false, settings = {} }: RedisSettings) {
    this.port = port;
    this.dir = mkdtempSync(join(tmpdir(), 'midstream-redis-'));
    const all = {
      port: String(port),
      bind: '127.0.0.1',
      dir: this.dir,
      save: '',
      appendonly: durable ? 'yes' : 'no',
      appendfsync: 'always',
      // A replica needn't wait for others to come.
      'repl-diskless-sync-delay': '0',
      ...settings,
    };
    this.#args = Object.entries(all).flatMap(([name, value]) => [`--${name}`, value]);
  }

  static async start(settings: RedisSettings = {}): Promise<RedisServer> {
    const server = new RedisServer(await freePort(), settings);
    await server.start();
    return server;
  }

  get url(): string {
    return `redis://127.0.0.1:${this.port}`;
  }

  /** Resolves when it takes commands. */
  async start(): Promise<void> {
    const child = spawn('redis-server', [...this.#args], { stdio: ['ignore', 'pipe', 'pipe'] });
    this.#process = child;
    this.#gone = new Promise((resolve) => child.once('close', () => resolve()));
    let said = '';
    await new Promise<void>((resolve, reject) => {
      const timer = setTimeout(() => reject(new Error(`redis-server did not start: ${said}`)), START_MS);
      child.once('error', () =>
        reject(new Error('redis-server is missing; run: apt-get install -y redis-server (macOS: brew install redis)')),
      );
      child.once('close', () => reject(new Error(`redis-server ended: ${said}`)));
      child.stdout.on('data', (bytes: Buffer) => {
        said = `${said}${bytes}`.slice(-4_096);
        if (!said.includes('Ready to accept connections')) return;
        clearTimeout(timer);
        resolve();
      });
    });
  }

  /** A setting of the next start. */
  set(name: string, value: string): void {
    this.#args.push(`--${name}`, value);
  }

  /** As a crash does. */
  async kill(): Promise<void> {
    this.#process?.kill('SIGKILL');
    await this.#gone;
  }

  /** It keeps its connections and answers nothing, until `resume`. */
  stall(): void {
    this.#process?.kill('SIGSTOP');
  }

  resume(): void {
    this.#process?.kill('SIGCONT');
  }

  /** Ends it and removes what it wrote. */
  async dispose(): Promise<void> {
    this.resume();
    await this.kill();
    rmSync(this.dir, { recursive: true, force: true });
  }
}

export const startRedis = (settings: RedisSettings = {}): Promise<RedisServer> => RedisServer.start(settings);

/** Empties all of it, of a Cluster every node. */
export async function flushRedis({ client }: RedisConnection): Promise<void> {
  const masters = 'nodes' in client ? client.nodes('master') : [client];
  await Promise.all(masters.map((master) => master.flushall()));
}

/** A port that nobody has at this moment. */
export function freePort(): Promise<number> {
  return new Promise((resolve, reject) => {
    const server = createServer();
    server.once('error', reject);
    server.listen(0, '127.0.0.1', () => {
      const address = server.address();
      server.close(() => resolve(typeof address === 'object' && address ? address.port : 0));
    });
  });
}
