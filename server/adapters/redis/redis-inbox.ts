/**
 * Inboxes of nodes on Redis: one stream a node, for what it is asked and what it is answered, read by one blocking reader
 * on a connection of its own.
 */
import { setMaxListeners } from 'node:events';
import { type Inbox, InboxUnavailable } from '../../ports/inbox.js';
import type { Logger } from '../../ports/logger.js';
import { keys } from './keys.js';
import type { Letter, Question } from './letters.js';
import type { Entry } from './log-entries.js';
import { type OpenQuestion, OpenQuestions } from './open-questions.js';
import type { RedisConnection } from './redis-connection.js';
import { LEASE_TIMES, type LeaseTimes } from './redis-leases.js';
import { ServedQuestions } from './served-questions.js';

export interface RedisInboxOptions {
  readonly redis: RedisConnection;
  readonly nodeId: string;
  readonly logger?: Logger | undefined;
  /** Of the announcement that this node lives; those of leases by default. */
  readonly times?: LeaseTimes;
}

type Handler = (request: unknown, from: string) => Promise<unknown>;

const BLOCK_MS = 1_000;
const READ_AT_ONCE = 100;
const RETRY_MS = 100;
/** Letters to a node that doesn't read; those that are dropped are posted again. */
const MAX_LETTERS = 10_000;
/** How often it is looked for questions that were not answered in time. */
const LATE_LOOK_MS = 250;
/** A question that can't be posted again so many times in a row is given up. */
const MAX_FAILURES = 3;
/** An inbox outlives an outage that its node lives through, in leases. */
const STAY_LEASES = 6;
const BEGINNING = '0-0';
const FORGOTTEN = 'Another server no longer knows what became of this.';

export class RedisInbox implements Inbox {
  readonly nodeId: string;
  readonly renewMs: number;
  readonly #redis: RedisConnection;
  readonly #reader: RedisConnection;
  readonly #logger: Logger | undefined;
  readonly #leaseMs: number;
  readonly #timers: readonly NodeJS.Timeout[];
  readonly #open: OpenQuestions;
  readonly #listeners = new Set<(message: unknown, from: string) => void>();
  /** What was asked before somebody served it. */
  readonly #early: Question[] = [];
  #served: ServedQuestions | undefined;
  #isClosed = false;
  readonly #reading: Promise<void>;

  private constructor({ redis, nodeId, logger, times = LEASE_TIMES }: RedisInboxOptions, reader: RedisConnection) {
    this.nodeId = nodeId;
    this.renewMs = times.renewMs;
    this.#redis = redis;
    this.#reader = reader;
    this.#logger = logger;
    this.#leaseMs = times.leaseMs;
    this.#open = new OpenQuestions(nodeId);
    this.#timers = [
      setInterval(() => this.#announce().catch(() => undefined), times.renewMs).unref(),
      setInterval(() => this.#postAgain(this.#open.takeLate()), LATE_LOOK_MS).unref(),
    ];
    this.#reading = this.#read();
    redis.client.on('ready', this.#onBack);
  }

  static async open(options: RedisInboxOptions): Promise<RedisInbox> {
    const reader = await options.redis.openAnother();
    const inbox = new RedisInbox(options, reader);
    try {
      await inbox.#announce();
      await options.redis.listen(keys.nodesChannel, (text) => inbox.#hear(text));
      return inbox;
    } catch (error) {
      await inbox.close();
      throw error;
    }
  }

  async ask(nodeId: string, request: unknown, signal: AbortSignal): Promise<unknown> {
    signal.throwIfAborted();
    // As many as there are questions.
    setMaxListeners(0, signal);
    let stop = (): void => undefined;
    const answered = new Promise<unknown>((resolve, reject) => {
      const [{ number }, letter] = this.#open.open({ nodeId, body: request, resolve, reject });
      stop = () => this.#open.withdraw(number, signal.reason);
      signal.addEventListener('abort', stop, { once: true });
      this.#post(nodeId, letter).catch((error: unknown) => this.#open.withdraw(number, error));
    });
    try {
      return await answered;
    } finally {
      signal.removeEventListener('abort', stop);
    }
  }

  serve(handler: Handler): void {
    this.#served = new ServedQuestions({ handler, post: (nodeId, letter) => this.#postAnswer(nodeId, letter) });
    for (const question of this.#early.splice(0)) this.#served.take(question);
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
    for (const timer of this.#timers) clearInterval(timer);
    this.#redis.client.off('ready', this.#onBack);
    this.#served?.close();
    this.#reader.client.disconnect();
    await this.#reading;
    await this.#redis
      .do((client) => client.unlink(keys.alive(this.nodeId), keys.inbox(this.nodeId)))
      .catch(() => undefined);
  }

  /** Redis may have lost that this node is there, and what it asked. */
  readonly #onBack = (): void => {
    this.#announce().catch(() => undefined);
    this.#postAgain(this.#open.takeAll());
  };

  #postAgain(due: readonly [OpenQuestion, Question][]): void {
    for (const [question, letter] of due) {
      this.#post(question.nodeId, letter).then(
        () => {
          question.failures = 0;
        },
        (error: unknown) => {
          question.failures++;
          if (question.failures >= MAX_FAILURES) this.#open.withdraw(question.number, error);
        },
      );
    }
  }

  #postAnswer(nodeId: string, letter: Letter): void {
    this.#post(nodeId, letter).catch((error: unknown) =>
      this.#logger?.debug('another server got no answer yet', { error }),
    );
  }

  async #post(nodeId: string, letter: Letter): Promise<void> {
    try {
      await this.#redis.run(
        'inbox-post',
        [keys.inbox(nodeId)],
        [JSON.stringify(letter), MAX_LETTERS, STAY_LEASES * this.#leaseMs],
      );
    } catch (cause) {
      throw new InboxUnavailable('The inbox of another server did not take a message.', { cause });
    }
  }

  async #announce(): Promise<void> {
    await this.#redis.do((client) =>
      Promise.all([
        client.set(keys.alive(this.nodeId), '1', 'PX', this.#leaseMs),
        client.pexpire(keys.inbox(this.nodeId), STAY_LEASES * this.#leaseMs),
      ]),
    );
  }

  /** What was read is deleted, so whatever is there is new, or known to those who take it. */
  async #read(): Promise<void> {
    const { client } = this.#reader;
    const key = keys.inbox(this.nodeId);
    let last = BEGINNING;
    while (!this.#isClosed) {
      try {
        const reply = await client.xread('COUNT', READ_AT_ONCE, 'BLOCK', BLOCK_MS, 'STREAMS', key, last);
        const entries = (reply?.[0]?.[1] ?? []) as Entry[];
        for (const entry of entries) this.#take(entry);
        const ids = entries.map(([id]) => id);
        // Ids may have gone back, and what was to be deleted may be there still.
        last = ids.at(-1) ?? BEGINNING;
        if (ids.length > 0) this.#redis.client.xdel(key, ...ids).catch(() => undefined);
      } catch (error) {
        if (this.#isClosed) return;
        last = BEGINNING;
        this.#logger?.debug('the inbox could not be read', { error });
        await new Promise((resolve) => setTimeout(resolve, RETRY_MS).unref());
      }
    }
  }

  #take(entry: Entry): void {
    const letter = JSON.parse(entry[1][1] ?? 'null') as Letter;
    if ('answer' in letter) this.#open.answer(letter.answer, letter.body);
    else if ('forgotten' in letter) this.#open.withdraw(letter.forgotten, new InboxUnavailable(FORGOTTEN));
    else if (this.#served) this.#served.take(letter);
    else this.#early.push(letter);
  }

  #hear(text: string): void {
    const { from, message } = JSON.parse(text) as { from: string; message: unknown };
    if (from !== this.nodeId) for (const listener of this.#listeners) listener(message, from);
  }
}
