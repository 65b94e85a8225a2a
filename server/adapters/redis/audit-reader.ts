/** One stream of the audit, read backwards in pages. */
import type { AuditRecord } from '../../ports/audit-log.js';
import type { RedisConnection } from './redis-connection.js';

/** Where a record stands among those of all streams. */
export interface Place {
  readonly ms: number;
  readonly seq: number;
  readonly stream: string;
}

export interface Placed {
  readonly place: Place;
  readonly record: AuditRecord;
}

const PAGE = 200;

export const isBefore = (a: Place, b: Place): boolean =>
  a.ms !== b.ms ? a.ms < b.ms : a.seq !== b.seq ? a.seq < b.seq : a.stream < b.stream;

export class AuditReader {
  readonly #redis: RedisConnection;
  readonly #stream: string;
  /** Where to read on from; undefined when the stream was read to its beginning. */
  #before: string | undefined;
  #page: Placed[] = [];

  /** From the last record on, or from before a place. */
  constructor(redis: RedisConnection, stream: string, from: Place | undefined) {
    this.#redis = redis;
    this.#stream = stream;
    this.#before = '+';
    if (from) this.#before = `${stream < from.stream ? '' : '('}${from.ms}-${from.seq}`;
  }

  /** The last record that was not taken; undefined at the end. */
  async head(): Promise<Placed | undefined> {
    if (this.#page.length === 0 && this.#before !== undefined) await this.#read(this.#before);
    return this.#page[0];
  }

  next(): void {
    this.#page.shift();
  }

  async #read(before: string): Promise<void> {
    const entries = await this.#redis.do((client) => client.xrevrange(this.#stream, before, '-', 'COUNT', PAGE));
    this.#page = entries.map(([id, [, json = '{}']]) => {
      const [ms = 0, seq = 0] = id.split('-').map(Number);
      return { place: { ms, seq, stream: this.#stream }, record: JSON.parse(json) as AuditRecord };
    });
    const [last] = entries.length < PAGE ? [] : (entries.at(-1) ?? []);
    this.#before = last === undefined ? undefined : `(${last}`;
  }
}
