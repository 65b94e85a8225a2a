#!/usr/bin/env node
/** The program: reads the environment, starts the server, and ends it on a signal. */
import { readFileSync } from 'node:fs';
import { dirname, join } from 'node:path';
import { fileURLToPath } from 'node:url';
import { createInputValidator } from './adapters/ajv/index.js';
import { EmbeddedStoreError } from './adapters/embedded/index.js';
import { RedisUnavailable, refuseRedisUrl } from './adapters/redis/index.js';
import { parseScript, type Script } from './adapters/scripted/index.js';
import { createLogger } from './adapters/winston/index.js';
import { type App, createApp } from './app.js';
import { runCommand } from './cli/index.js';
import { type Config, ConfigError, describeMistakes, parseConfig } from './config/index.js';

/** `EX_CONFIG` of sysexits. */
const EXIT_CONFIG = 78;

const here = dirname(fileURLToPath(import.meta.url));
const readText = (path: string): string => readFileSync(path, 'utf8');
const { version } = JSON.parse(readText(join(here, '../../package.json'))) as { version: string };

function readConfig(): Config {
  const validator = createInputValidator();
  return parseConfig({
    env: process.env,
    readFile: readText,
    refuseSchema: (schema) => validator.refuse(schema),
    refuseRedisUrl,
  });
}

function loadConfig(): { config: Config; script: Script | undefined } {
  try {
    const config = readConfig();
    const { scriptPath } = config;
    return { config, script: scriptPath === undefined ? undefined : parseScript(JSON.parse(readText(scriptPath))) };
  } catch (error) {
    process.stderr.write(`${error instanceof ConfigError ? describeMistakes(error) : (error as Error).message}\n`);
    process.exit(EXIT_CONFIG);
  }
}

async function main(): Promise<void> {
  const { config, script } = loadConfig();
  const logger = createLogger({ level: config.logLevel });
  let app: App;
  try {
    app = await createApp(config, {
      logger,
      version,
      ...(script && { script }),
      page: {
        directory: join(here, 'transports/http/page'),
        clientScript: join(here, '../client-sdk/midstream-client.js'),
      },
    });
  } catch (error) {
    const isTaken = (error as NodeJS.ErrnoException).code === 'EADDRINUSE';
    const { host, port } = config.listen;
    if (isTaken) process.stderr.write(`${host}:${port} is taken by another program. Set PORT to a free one.\n`);
    else if (error instanceof EmbeddedStoreError) process.stderr.write(`${error.message}\n`);
    else if (error instanceof RedisUnavailable)
      process.stderr.write(
        `REDIS_URL: ${error.message}. Start it, or mend the URL; without one the server is one node.\n`,
      );
    else logger.error('the server could not start', { error });
    process.exit(1);
  }
  logger.info('listening', {
    url: app.url,
    version,
    model: app.modelKind,
    store: config.redisUrl ? 'redis' : 'embedded',
    ...(!config.redisUrl && { data_dir: config.dataDir }),
  });
  if (script) logger.info('MIDSTREAM_SCRIPT is set: the scripted model answers. Unset it to talk to Claude.');
  else if (app.modelKind === 'scripted')
    logger.info('no key: the scripted model answers. Set ANTHROPIC_API_KEY to talk to Claude.');
  const { fsync } = config;
  if (config.redisUrl) logger.info('all state is in Redis: any server with this REDIS_URL takes any session.');
  else logger.info('one machine: the embedded store serves. Set REDIS_URL to run several servers as one.', { fsync });
  if (config.auth.remote)
    logger.warn('MIDSTREAM_DEV_REMOTE is set: EVERYBODY who reaches this address is an administrator.');
  if (config.auth.mode === 'dev' && (config.auth.jwt || config.auth.apiKeys.length > 0))
    logger.warn('MIDSTREAM_AUTH is dev: the configured credentials are not asked for.');
  endOnSignals(app, config, logger);
}

function endOnSignals(app: App, config: Config, logger: ReturnType<typeof createLogger>): void {
  let isEnding = false;
  const end = (signal: string): void => {
    if (isEnding) {
      logger.warn('a second signal: leaving at once', { signal });
      process.exit(1);
    }
    isEnding = true;
    logger.info('draining', { signal, drain_ms: config.drainMs });
    app.close().then(
      () => process.exit(0),
      (error: unknown) => {
        logger.error('the shutdown failed', { error });
        process.exit(1);
      },
    );
  };
  process.on('SIGHUP', () => app.reload(readConfig));
  process.on('SIGTERM', () => end('SIGTERM'));
  process.on('SIGINT', () => end('SIGINT'));
  process.on('unhandledRejection', (error) => logger.error('unhandled rejection', { error }));
  process.on('uncaughtException', (error) => {
    logger.error('uncaught exception; leaving, the store is durable', { error });
    process.exit(1);
  });
}

const exitCode = runCommand(process.argv.slice(2), {
  stdout: (text) => process.stdout.write(text),
  stderr: (text) => process.stderr.write(text),
});
if (exitCode === undefined) void main();
else process.exitCode = exitCode;
