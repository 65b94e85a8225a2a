/** Reads which sessions were changed by any node, and says where it can't tell. */
import { ALL_CHANGED, type Changes } from './change-notes.js';
import { keys } from './keys.js';
import type { Entry } from './log-entries.js';
import type { RedisConnection } from './redis-connection.js';

export interface ChangeListDeps {
  readonly redis: RedisConnection;
  readonly onChange: (sessionId: string, head: number | undefined) => void;
  /** Any session may have changed since the last call: something of the list is lost, or it begins to be read. */
  readonly onLost: () => void;
}

const READ_EVERY_MS = 400;
const READ_AT_ONCE = 100;

/** An entry, and the history of Redis it is of. */
interface Place {
  readonly id: string;
  readonly history: string;
}

const BEGINNING: Place = { id: '0-0', history: '' };

export class ChangeList {
  readonly #deps: ChangeListDeps;
  /** Undefined until it is known where the list ends. */
  #last: Place | undefined;
  #timer: NodeJS.Timeout | undefined;
  #isReading = false;

  constructor(deps: ChangeListDeps) {
    this.#deps = deps;
  }

  start(): void {
    if (this.#timer) return;
    this.#timer = setInterval(() => void this.#read(), READ_EVERY_MS).unref();
    this.#deps.redis.client.on('ready', this.#lose);
    void this.#read();
  }

  stop(): void {
    clearInterval(this.#timer);
    this.#timer = undefined;
    this.#deps.redis.client.off('ready', this.#lose);
    this.#last = undefined;
  }

  readonly #lose = (): void => {
    this.#last = undefined;
  };

  async #read(): Promise<void> {
    if (this.#isReading) return;
    this.#isReading = true;
    try {
      if (this.#last) await this.#readOn(this.#last);
      else await this.#begin();
    } catch {
      this.#lose();
    } finally {
      this.#isReading = false;
    }
  }

  async #begin(): Promise<void> {
    const newest = await this.#deps.redis.do((client) => client.xrevrange(keys.changes, '+', '-', 'COUNT', 1));
    if (!this.#timer) return;
    const [entry] = newest as Entry[];
    this.#last = entry ? toPlace(entry) : BEGINNING;
    this.#deps.onLost();
  }

  async #readOn(from: Place): Promise<void> {
    let last = from;
    for (;;) {
      const { id } = last;
      const reply = await this.#deps.redis.do((client) =>
        client.xread('COUNT', READ_AT_ONCE, 'STREAMS', keys.changes, id),
      );
      // Stopped, or the connection was another meanwhile.
      if (this.#last !== last) return;
      const entries = (reply?.[0]?.[1] ?? []) as Entry[];
      for (const entry of entries) last = this.#take(entry, last);
      this.#last = last;
      if (entries.length < READ_AT_ONCE) return;
    }
  }

  #take(entry: Entry, last: Place): Place {
    const place = toPlace(entry);
    const { b: before, c: changes = ALL_CHANGED } = fieldsOf(entry);
    const isNext = (before || BEGINNING.id) === last.id && (last === BEGINNING || place.history === last.history);
    if (!isNext || changes === ALL_CHANGED) this.#deps.onLost();
    else
      for (const [sessionId, head] of Object.entries(JSON.parse(changes) as Changes))
        this.#deps.onChange(sessionId, head ?? undefined);
    return place;
  }
}

const toPlace = (entry: Entry): Place => ({ id: entry[0], history: fieldsOf(entry)['h'] ?? '' });

function fieldsOf([, fields]: Entry): Partial<Record<'b' | 'h' | 'c', string>> {
  const known: Record<string, string> = {};
  for (let at = 0; at < fields.length; at += 2) known[fields[at] as string] = fields[at + 1] as string;
  return known;
}
