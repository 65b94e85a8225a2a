/** One connection to Redis, standalone, Sentinel or Cluster: scripts, messages, and errors that say whether it is away. */
import { Cluster, Redis, type RedisOptions } from 'ioredis';
import type { Logger } from '../../ports/logger.js';
import { slotOf } from './key-slot.js';
import { keys } from './keys.js';
import { describeTarget, parseRedisUrl, type RedisTarget } from './redis-url.js';
import { type Script, textOf } from './scripts.js';

export interface RedisConnectionOptions {
  /** See `parseRedisUrl`. Never logged. */
  readonly url: string;
  readonly logger?: Logger | undefined;
  /** How long a command may take, in milliseconds; 2,000 by default. */
  readonly commandTimeoutMs?: number;
  /** How long `open` waits for one that reads its data from disk, in milliseconds; 60,000 by default. */
  readonly loadingMs?: number;
  /** In place of the time of Redis, for tests: milliseconds since 1970. */
  readonly now?: () => number;
}

/** Redis did not do it, and may have: it is away, is not the master, is full, or did not answer in time. */
export class RedisUnavailable extends Error {
  override readonly name = 'RedisUnavailable';
}

type Argument = string | number;

export interface ScriptCall {
  readonly keys: readonly [string, ...string[]];
  readonly args: readonly Argument[];
}

export type ScriptOutcome = { readonly reply: unknown; readonly error?: never } | { readonly error: unknown };

const DEFAULT_COMMAND_TIMEOUT_MS = 2_000;
const MAX_RECONNECT_MS = 2_000;
const DEFAULT_LOADING_MS = 60_000;
/** One that stalls does not say goodbye. */
const DISCONNECT_MS = 250;
/** How often one that reads its data is asked whether it is ready. */
const LOADING_LOOK_MS = 500;
const LISTEN_AGAIN_MS = 1_000;
/** One that is sent things and answers nothing for so many times of a command is left, and with it what piles up for it. */
const SILENT_COMMANDS = 2;
const PROBE_MS = 10_000;
/** Replies that say nothing was run here, and that it can be elsewhere or with the script's text. */
const NOT_RUN = /^(NOSCRIPT|MOVED|ASK)\b/;
/** Replies that say the server can't do it now, whatever it was asked. */
const AWAY = /^(READONLY|LOADING|CLUSTERDOWN|MASTERDOWN|TRYAGAIN|NOREPLICAS|OOM|MISCONF|BUSY|NOAUTH|WRONGPASS)\b/;

export class RedisConnection {
  /** Where it is, without the secret. */
  readonly description: string;
  readonly client: Redis | Cluster;
  readonly #options: RedisConnectionOptions;
  readonly #now: (() => number) | undefined;
  #lastError: Error | undefined;
  #isClosing = false;
  #end: NodeJS.Timeout | undefined;
  readonly #listeners = new Map<string, Set<(message: string) => void>>();

  private constructor(target: RedisTarget, options: RedisConnectionOptions) {
    this.description = describeTarget(target);
    this.#options = options;
    this.#now = options.now;
    this.client = createClient(target, options.commandTimeoutMs ?? DEFAULT_COMMAND_TIMEOUT_MS);
    this.client.on('message', (channel: string, message: string) => {
      for (const listener of this.#listeners.get(channel) ?? []) listener(message);
    });
    if (!('nodes' in this.client)) this.client.on('ready', () => this.#listenAgain());
    this.#logOutages(options.logger);
  }

  /** Rejects with `RedisUnavailable` where it can't be reached; afterwards it reconnects by itself. */
  static async open(options: RedisConnectionOptions): Promise<RedisConnection> {
    const connection = new RedisConnection(parseRedisUrl(options.url), options);
    const { loadingMs = DEFAULT_LOADING_MS, logger } = options;
    let tooLate: Error | undefined;
    const late = setTimeout(() => {
      tooLate = new Error(`it was not ready within ${loadingMs} ms; it may be reading its data from disk`);
      connection.client.disconnect();
    }, loadingMs);
    const slow = setTimeout(() => {
      const wait_ms = loadingMs;
      logger?.warn('waiting for Redis, which is there but not ready', { redis: connection.description, wait_ms });
    }, 2 * LOADING_LOOK_MS);
    try {
      await connection.client.connect();
      await connection.ping();
    } catch (error) {
      connection.#isClosing = true;
      connection.client.disconnect();
      // What the client rejects with says that it is closed; why, it said before.
      throw toUnavailable(tooLate ?? connection.#lastError ?? error);
    } finally {
      clearTimeout(late);
      clearTimeout(slow);
    }
    return connection;
  }

  /** One more connection to the same place, for what blocks. */
  openAnother(): Promise<RedisConnection> {
    const { logger, ...options } = this.#options;
    return RedisConnection.open(options);
  }

  /**
   * Runs a script: all of it or nothing of it, in one slot. Its first argument is the time to go by, empty for that of
   * Redis. Rejects with `RedisUnavailable`; whether it was run is then not known.
   */
  async run(script: Script, keys: readonly string[], args: readonly Argument[] = []): Promise<unknown> {
    const { sha, text } = textOf(script);
    const now = this.#now?.() ?? '';
    const rest = [keys.length, ...keys, now, ...args] as const;
    try {
      return await this.client.evalsha(sha, ...rest);
    } catch (error) {
      if (!(error instanceof Error && error.message.startsWith('NOSCRIPT'))) throw toUnavailable(error);
    }
    return this.do(() => this.client.eval(text, ...rest));
  }

  /**
   * Runs a script many times, in one write for each server; each run is for itself. Never rejects: an outcome with
   * `RedisUnavailable` leaves open whether that one was run.
   */
  async runAll(script: Script, calls: readonly ScriptCall[]): Promise<readonly ScriptOutcome[]> {
    const outcomes = new Array<ScriptOutcome>(calls.length);
    const lanes = new Map<string, number[]>();
    for (const [at, { keys }] of calls.entries()) {
      const lane = this.laneOf(keys[0]);
      const inLane = lanes.get(lane);
      if (inLane) inLane.push(at);
      else lanes.set(lane, [at]);
    }
    await Promise.all([...lanes.values()].map((inLane) => this.#runLane(script, calls, inLane, outcomes)));
    return outcomes;
  }

  /** Names the servers that have a key: what has the same name can go out in one write. */
  laneOf(key: string): string {
    return 'slots' in this.client ? (this.client.slots[slotOf(key)]?.join(';') ?? '') : '';
  }

  async #runLane(
    script: Script,
    calls: readonly ScriptCall[],
    inLane: readonly number[],
    outcomes: ScriptOutcome[],
  ): Promise<void> {
    const { sha } = textOf(script);
    const now = this.#now?.() ?? '';
    const pipeline = this.client.pipeline();
    for (const at of inLane) {
      const { keys, args } = calls[at] as ScriptCall;
      pipeline.evalsha(sha, keys.length, ...keys, now, ...args);
    }
    try {
      const results = (await pipeline.exec()) ?? [];
      await Promise.all(
        inLane.map(async (at, n) => {
          const [error, reply] = results[n] ?? [new Error('no reply')];
          if (!error) outcomes[at] = { reply };
          else if (NOT_RUN.test(error.message)) outcomes[at] = await this.#runAlone(script, calls[at] as ScriptCall);
          else outcomes[at] = { error: toUnavailable(error) };
        }),
      );
    } catch (error) {
      for (const at of inLane) outcomes[at] = { error: toUnavailable(error) };
    }
  }

  #runAlone(script: Script, { keys, args }: ScriptCall): Promise<ScriptOutcome> {
    return this.run(script, keys, args).then(
      (reply) => ({ reply }),
      (error: unknown) => ({ error }),
    );
  }

  /** Does something with the client; rejects with `RedisUnavailable` where it is away. */
  async do<T>(work: (client: Redis | Cluster) => Promise<T>): Promise<T> {
    try {
      return await work(this.client);
    } catch (error) {
      throw toUnavailable(error);
    }
  }

  /** Hears messages of a channel; some may be lost. Call what it resolves with to hear no more. */
  async listen(channel: string, onMessage: (message: string) => void): Promise<() => void> {
    const listeners = this.#listeners.get(channel) ?? new Set();
    this.#listeners.set(channel, listeners);
    const listener = (message: string): void => onMessage(message);
    listeners.add(listener);
    const leave = (): void => {
      listeners.delete(listener);
      if (listeners.size > 0) return;
      this.#listeners.delete(channel);
      void this.client.unsubscribe(channel).catch(() => undefined);
    };
    try {
      await this.do((client) => client.subscribe(channel));
    } catch (error) {
      leave();
      throw error;
    }
    return leave;
  }

  /** By itself the client does it once: what breaks meanwhile would never be heard again. A Cluster has its own way. */
  #listenAgain(): void {
    const channels = [...this.#listeners.keys()];
    if (channels.length === 0 || this.#isClosing) return;
    this.client.subscribe(...channels).catch(() => {
      setTimeout(() => this.client.status === 'ready' && this.#listenAgain(), LISTEN_AGAIN_MS).unref();
    });
  }

  async ping(): Promise<void> {
    await this.do((client) => client.ping());
  }

  /** Writes something: one that is full, read-only or can't write to its disk still answers a ping. */
  async tryWrite(): Promise<void> {
    await this.do((client) => client.set(keys.probe, '1', 'PX', PROBE_MS));
  }

  /** From now on there are so many milliseconds for all that is still to be done; then it is away for good. */
  endWithin(ms: number): void {
    this.#isClosing = true;
    this.#end ??= setTimeout(() => this.client.disconnect(), ms).unref();
  }

  async close(): Promise<void> {
    this.#isClosing = true;
    await this.client.quit().catch(() => undefined);
    clearTimeout(this.#end);
    this.client.disconnect();
  }

  /** One line when it goes, one when it is back. */
  #logOutages(logger: Logger | undefined): void {
    let isAway = false;
    const away = (reason: string): void => {
      if (!isAway && !this.#isClosing) logger?.warn('Redis can’t be reached', { redis: this.description, reason });
      isAway = true;
    };
    this.client.on('close', () => away('the connection was closed'));
    this.client.on('error', (error: Error) => {
      this.#lastError = error;
      away(reasonOf(error));
    });
    this.client.on('ready', () => {
      if (isAway) logger?.info('Redis is back', { redis: this.description });
      isAway = false;
    });
  }
}

function createClient(target: RedisTarget, commandTimeout: number): Redis | Cluster {
  const { kind, addresses, db, master } = target;
  const options: RedisOptions = {
    ...(target.username !== undefined && { username: target.username }),
    ...(target.password !== undefined && { password: target.password }),
    ...(target.tls && { tls: {} }),
    lazyConnect: true,
    // What can't be sent now fails now, and what was sent and not answered is not sent again: it may have been done.
    enableOfflineQueue: false,
    autoResendUnfulfilledCommands: false,
    autoResubscribe: false,
    maxRetriesPerRequest: 0,
    commandTimeout,
    connectTimeout: commandTimeout,
    socketTimeout: SILENT_COMMANDS * commandTimeout,
    maxLoadingRetryTime: LOADING_LOOK_MS,
    disconnectTimeout: DISCONNECT_MS,
    retryStrategy: toDelay,
    // A master that became a replica: another connection may find the new one.
    reconnectOnError: (error) => error.message.startsWith('READONLY'),
  };
  if (kind === 'cluster')
    return new Cluster([...addresses], {
      lazyConnect: true,
      enableOfflineQueue: false,
      clusterRetryStrategy: toDelay,
      slotsRefreshTimeout: commandTimeout,
      redisOptions: options,
    });
  if (kind === 'sentinel')
    return new Redis({
      ...options,
      db,
      sentinels: [...addresses],
      name: master as string,
      sentinelRetryStrategy: toDelay,
      ...(target.tls && { enableTLSForSentinelMode: true }),
    });
  return new Redis({ ...options, ...addresses[0], db });
}

/** Doubling, and never for all nodes at the same moment. */
const toDelay = (times: number): number =>
  Math.min(MAX_RECONNECT_MS, 25 * 2 ** Math.min(times, 10)) * (0.5 + Math.random() / 2);

const reasonOf = (error: unknown): string => {
  const { message, code } = error as NodeJS.ErrnoException;
  return message || code || String(error);
};

/** What Redis says of a command that is wrong is a bug of ours, and stays what it is. */
function toUnavailable(error: unknown): unknown {
  const isReply = error instanceof Error && error.name === 'ReplyError';
  const isAway = !isReply || AWAY.test(error.message.replace(/^ERR Error running script.*?: /, ''));
  return isAway ? new RedisUnavailable(`Redis did not answer: ${reasonOf(error)}`, { cause: error }) : error;
}
