/**
 * A whole server inside a test: real sockets on a free port, a store in a temporary directory, the scripted model.
 * For the suites of applications that talk to Midstream, and for our own.
 */
import { mkdtempSync, readFileSync, rmSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import type { FunctionTool } from './adapters/function-tools/index.js';
import { refuseRedisUrl } from './adapters/redis/index.js';
import { parseScript } from './adapters/scripted/index.js';
import { silentLogger } from './adapters/winston/index.js';
import { type AppOverrides, createApp } from './app.js';
import { type Config, type FileConfigInput, parseConfig } from './config/index.js';

export interface TestServerOptions extends Omit<AppOverrides, 'script' | 'tools'> {
  /** What the model says; see the documentation of the scripted model. The friendly built-in script by default. */
  readonly script?: unknown;
  readonly tools?: readonly FunctionTool[];
  /** The configuration file's content. */
  readonly config?: FileConfigInput;
  /** Settings of the environment: `{ MIDSTREAM_FSYNC: 'group' }`. The process's own environment is not read. */
  readonly env?: Readonly<Record<string, string>>;
  /** Where the store is; a temporary directory, removed by `stop`, by default. */
  readonly dataDir?: string;
}

export interface TestServer {
  readonly url: string;
  readonly port: number;
  readonly wsUrl: string;
  readonly dataDir: string;
  readonly config: Config;
  /** Takes the roles of another file, as SIGHUP does; returns whether they were taken. */
  reload(file: FileConfigInput): boolean;
  /** Ends the server; running turns are cut after `drainMs`, 0 by default. */
  stop(drainMs?: number): Promise<void>;
}

/** Stands for the configuration that a test gives. */
const OWN_FILE = 'test';

/** Ready in well under a second. Rejects with `ConfigError` where the options don't fit. */
export async function startTestServer(options: TestServerOptions = {}): Promise<TestServer> {
  const { script, tools = [], config: file = {}, env = {}, dataDir: givenDir, ...overrides } = options;
  const dataDir = givenDir ?? mkdtempSync(join(tmpdir(), 'midstream-test-'));
  const parse = (content: FileConfigInput): Config =>
    parseConfig({
      env: { PORT: '0', MIDSTREAM_FSYNC: 'off', MIDSTREAM_DATA_DIR: dataDir, MIDSTREAM_CONFIG: OWN_FILE, ...env },
      readFile: (path) => (path === OWN_FILE ? JSON.stringify(content) : readFileSync(path, 'utf8')),
      ownTools: tools.map((tool) => tool.name),
      refuseRedisUrl,
    });
  const config = parse(file);
  const app = await createApp(config, {
    logger: silentLogger,
    ...overrides,
    tools,
    ...(script !== undefined && { script: parseScript(script) }),
  });
  return {
    url: app.url,
    port: app.port,
    wsUrl: `${app.url.replace(/^http/, 'ws')}/v1/ws`,
    dataDir,
    config,
    reload: (content) => app.reload(() => parse(content)),
    async stop(drainMs = 0) {
      await app.close(drainMs);
      if (givenDir === undefined) rmSync(dataDir, { recursive: true, force: true });
    },
  };
}
