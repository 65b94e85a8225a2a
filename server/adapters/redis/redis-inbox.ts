/**
 * Inboxes of nodes on Redis: one stream a node, for what it is asked and what it is answered, read by one blocking reader
 * on a connection of its own.
 */
import { setMaxListeners } from 'node:events';
import { type Inbox, InboxUnavailable } from '../../ports/inbox.js';
import type { Logger } from '../../ports/logger.js';
import { keys } from './keys.js';
import type { Entry } from './log-entries.js';
import type { RedisConnection } from './redis-connection.js';
import { LEASE_TIMES, type LeaseTimes } from './redis-leases.js';

export interface RedisInboxOptions {
  readonly redis: RedisConnection;
  readonly nodeId: string;
  readonly logger?: Logger | undefined;
  /** Of the announcement that this node lives; those of leases by default. */
  readonly times?: LeaseTimes;
}

type Letter =
  | { readonly ask: number; readonly from: string; readonly body: unknown }
  | { readonly answer: number; readonly body: unknown };
type Handler = (request: unknown, from: string) => Promise<unknown>;

const BLOCK_MS = 1_000;
const READ_AT_ONCE = 100;
const RETRY_MS = 100;
/** Letters to a node that doesn't read. */
const MAX_LETTERS = 10_000;

export class RedisInbox implements Inbox {
  readonly nodeId: string;
  readonly #redis: RedisConnection;
  readonly #reader: RedisConnection;
  readonly #logger: Logger | undefined;
  readonly #times: LeaseTimes;
  readonly #renewal: NodeJS.Timeout;
  readonly #asked = new Map<number, (body: unknown) => void>();
  readonly #listeners = new Set<(message: unknown, from: string) => void>();
  readonly #early: Entry[] = [];
  #handler: Handler | undefined;
  #asks = 0;
  #isClosed = false;
  readonly #reading: Promise<void>;

  private constructor({ redis, nodeId, logger, times = LEASE_TIMES }: RedisInboxOptions, reader: RedisConnection) {
    this.nodeId = nodeId;
    this.#redis = redis;
    this.#reader = reader;
    this.#logger = logger;
    this.#times = times;
    this.#renewal = setInterval(() => void this.#announce().catch(() => undefined), times.renewMs).unref();
    this.#reading = this.#read();
  }

  static async open(options: RedisInboxOptions): Promise<RedisInbox> {
    const reader = await options.redis.openAnother();
    const inbox = new RedisInbox(options, reader);
    await inbox.#announce();
    await options.redis.listen(keys.nodesChannel, (text) => inbox.#hear(text));
    return inbox;
  }

  async ask(nodeId: string, request: unknown, signal: AbortSignal): Promise<unknown> {
    signal.throwIfAborted();
    // As many as there are questions.
    setMaxListeners(0, signal);
    const ask = ++this.#asks;
    let stop = (): void => undefined;
    const answered = new Promise<unknown>((resolve, reject) => {
      this.#asked.set(ask, resolve);
      stop = () => reject(signal.reason);
      signal.addEventListener('abort', stop, { once: true });
    });
    const posted = this.#post(nodeId, { ask, from: this.nodeId, body: request });
    try {
      return await Promise.race([answered, posted.then(() => answered)]);
    } finally {
      answered.catch(() => undefined);
      signal.removeEventListener('abort', stop);
      this.#asked.delete(ask);
    }
  }

  serve(handler: Handler): void {
    this.#handler = handler;
    for (const entry of this.#early.splice(0)) this.#take(entry);
  }

  shout(message: unknown): void {
    const text = JSON.stringify({ from: this.nodeId, message });
    this.#redis.client.publish(keys.nodesChannel, text).catch(() => undefined);
  }

  hear(listener: (message: unknown, from: string) => void): void {
    this.#listeners.add(listener);
  }

  async isAlive(nodeId: string): Promise<boolean> {
    return (await this.#redis.do((client) => client.exists(keys.alive(nodeId)))) === 1;
  }

  async close(): Promise<void> {
    this.#isClosed = true;
    clearInterval(this.#renewal);
    this.#reader.client.disconnect();
    await this.#reading;
    await this.#redis
      .do((client) => client.unlink(keys.alive(this.nodeId), keys.inbox(this.nodeId)))
      .catch(() => undefined);
  }

  async #post(nodeId: string, letter: Letter): Promise<void> {
    const text = JSON.stringify(letter);
    try {
      await this.#redis.do((client) => client.xadd(keys.inbox(nodeId), 'MAXLEN', '~', MAX_LETTERS, '*', 'l', text));
    } catch (cause) {
      throw new InboxUnavailable('The inbox of another server did not take a message.', { cause });
    }
  }

  async #announce(): Promise<void> {
    const { leaseMs } = this.#times;
    await this.#redis.do((client) =>
      Promise.all([
        client.set(keys.alive(this.nodeId), '1', 'PX', leaseMs),
        client.pexpire(keys.inbox(this.nodeId), leaseMs),
      ]),
    );
  }

  async #read(): Promise<void> {
    const { client } = this.#reader;
    const key = keys.inbox(this.nodeId);
    let last = '0-0';
    while (!this.#isClosed) {
      try {
        const reply = await client.xread('COUNT', READ_AT_ONCE, 'BLOCK', BLOCK_MS, 'STREAMS', key, last);
        const entries = (reply?.[0]?.[1] ?? []) as Entry[];
        if (entries.length === 0) continue;
        for (const entry of entries) this.#take(entry);
        const ids = entries.map(([id]) => id);
        last = ids.at(-1) ?? last;
        this.#redis.client.xdel(key, ...ids).catch(() => undefined);
      } catch (error) {
        if (this.#isClosed) return;
        this.#logger?.debug('the inbox could not be read', { error });
        await new Promise((resolve) => setTimeout(resolve, RETRY_MS).unref());
      }
    }
  }

  #take(entry: Entry): void {
    const letter = JSON.parse(entry[1][1] ?? 'null') as Letter;
    if ('answer' in letter) {
      this.#asked.get(letter.answer)?.(letter.body);
      return;
    }
    const handler = this.#handler;
    if (!handler) {
      this.#early.push(entry);
      return;
    }
    const { ask, from, body } = letter;
    handler(body, from)
      .then((answer) => this.#post(from, { answer: ask, body: answer ?? null }))
      .catch((error: unknown) => this.#logger?.warn('another server got no answer', { error }));
  }

  #hear(text: string): void {
    const { from, message } = JSON.parse(text) as { from: string; message: unknown };
    if (from !== this.nodeId) for (const listener of this.#listeners) listener(message, from);
  }
}
