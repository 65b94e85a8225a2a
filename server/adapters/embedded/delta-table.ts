/** Deltas on disk: one row per group commit, gone when every session in it has trimmed its part (LOG-5). */
import type { DeltaRecord, LogRecord } from '../../core/log-record.js';
import type { Database, Statement } from './database.js';
import { readPayload, toRuns } from './delta-payload.js';

/** Rows are deleted so many at once, so that a delete costs next to nothing per token. */
const DELETE_BATCH = 64;
const SCAN_ROWS = 256;

/** Where a session's untrimmed deltas are: row ids, and the last seq in each, ascending, from `start`. */
interface Places {
  readonly rows: number[];
  readonly lastSeqs: number[];
  start: number;
}

export class DeltaTable {
  readonly #insert: Statement;
  readonly #deleteRange: Statement;
  readonly #payloadOf: Statement<[string]>;
  readonly #scan: Statement<[number, string]>;

  readonly #places = new Map<number, Places>();
  /** How many sessions still need a row. */
  readonly #needed = new Map<number, number>();
  readonly #trimmed: number[] = [];
  /** What an earlier run of the server left, until somebody asked for it. */
  readonly #left = new Map<number, DeltaRecord[]>();
  readonly #firstRow: number;
  #nextRow: number;

  #payload = '';
  #batchSessions: number[] = [];
  #batchSeqs: number[] = [];

  constructor(database: Database) {
    this.#insert = database.prepare('INSERT INTO deltas (id, payload) VALUES (?, ?)');
    this.#deleteRange = database.prepare('DELETE FROM deltas WHERE id BETWEEN ? AND ?');
    this.#payloadOf = database.prepare('SELECT payload FROM deltas WHERE id = ?');
    this.#scan = database.prepare('SELECT id, payload FROM deltas WHERE id > ? ORDER BY id LIMIT ?');
    this.#firstRow = 1 + Number(database.prepare('SELECT coalesce(max(id), 0) FROM deltas').first()?.[0] ?? 0);
    this.#nextRow = this.#firstRow;
  }

  /** Reads what an earlier run left. `isOpen` says whether a session may still need deltas whose last seq is given. */
  load(isOpen: (session: number, lastSeq: number) => boolean): void {
    let after = 0;
    for (;;) {
      const rows = this.#scan.all(after, SCAN_ROWS);
      for (const [id, payload] of rows) {
        readPayload(payload, (session, record) => {
          const left = this.#left.get(session);
          if (left === undefined) this.#left.set(session, [record]);
          else left.push(record);
          this.#book(session, id, record.seq);
        });
        after = id;
      }
      if (rows.length < SCAN_ROWS) break;
    }
    for (const session of [...this.#places.keys()]) {
      if (!isOpen(session, this.lastSeq(session))) this.forget(session);
    }
  }

  /** Adds the deltas of one append to the row of this group. */
  add(session: number, records: readonly LogRecord[]): void {
    const runs = toRuns(session, records);
    if (runs === '') return;
    let last = records.length - 1;
    while (records[last]?.kind === 'event') last--;
    this.#payload += this.#payload === '' ? runs : `,${runs}`;
    this.#batchSessions.push(session);
    this.#batchSeqs.push((records[last] as LogRecord).seq);
  }

  /** Writes the row of this group, where it has deltas. Returns the length of its payload. */
  writeRow(): number {
    if (this.#payload === '') return 0;
    this.#insert.run(this.#nextRow, `[${this.#payload}]`);
    return this.#payload.length;
  }

  committed(): void {
    if (this.#payload === '') return;
    for (let i = 0; i < this.#batchSessions.length; i++) {
      this.#book(this.#batchSessions[i] as number, this.#nextRow, this.#batchSeqs[i] as number);
    }
    this.#nextRow++;
    this.discard();
  }

  /** The group was not written. */
  discard(): void {
    if (this.#payload === '') return;
    this.#payload = '';
    this.#batchSessions = [];
    this.#batchSeqs = [];
  }

  /** The seq of the session's last delta that was not trimmed; 0 where there is none. */
  lastSeq(session: number): number {
    return this.#places.get(session)?.lastSeqs.at(-1) ?? 0;
  }

  trim(session: number, upToSeq: number): void {
    const places = this.#places.get(session);
    if (places === undefined) return;
    while (places.start < places.rows.length && (places.lastSeqs[places.start] as number) <= upToSeq) {
      this.#release(places.rows[places.start++] as number);
    }
    if (places.start === places.rows.length) {
      this.#places.delete(session);
      this.#left.delete(session);
    } else if (places.start >= 1_024) {
      places.rows.splice(0, places.start);
      places.lastSeqs.splice(0, places.start);
      places.start = 0;
    }
  }

  /** The session needs none of its deltas any more. */
  forget(session: number): void {
    this.trim(session, Number.POSITIVE_INFINITY);
  }

  read(session: number, afterSeq: number): DeltaRecord[] {
    const places = this.#places.get(session);
    if (places === undefined) return [];
    const left = this.#left.get(session);
    this.#left.delete(session);
    const found = left?.filter((record) => record.seq > afterSeq) ?? [];
    for (let i = places.start; i < places.rows.length; i++) {
      const row = places.rows[i] as number;
      if ((places.lastSeqs[i] as number) <= afterSeq || (left !== undefined && row < this.#firstRow)) continue;
      readPayload(this.#payloadOf.first(row)?.[0] ?? '[]', (of, record) => {
        if (of === session && record.seq > afterSeq) found.push(record);
      });
    }
    return found;
  }

  /** Deletes trimmed rows, where there are enough of them. Belongs into a transaction. */
  deleteTrimmed(atLeast = DELETE_BATCH): void {
    if (this.#trimmed.length < atLeast) return;
    this.#trimmed.sort((a, b) => a - b);
    for (let i = 0; i < this.#trimmed.length; ) {
      const first = this.#trimmed[i] as number;
      let last = first;
      while (this.#trimmed[++i] === last + 1) last++;
      this.#deleteRange.run(first, last);
    }
    // Should the transaction fail, the rows stay until the next start finds that nobody needs them.
    this.#trimmed.length = 0;
  }

  #book(session: number, row: number, lastSeq: number): void {
    const places = this.#places.get(session);
    if (places === undefined) this.#places.set(session, { rows: [row], lastSeqs: [lastSeq], start: 0 });
    else if (places.rows.at(-1) === row) {
      places.lastSeqs[places.lastSeqs.length - 1] = lastSeq;
      return;
    } else {
      places.rows.push(row);
      places.lastSeqs.push(lastSeq);
    }
    this.#needed.set(row, (this.#needed.get(row) ?? 0) + 1);
  }

  #release(row: number): void {
    const needed = (this.#needed.get(row) ?? 0) - 1;
    if (needed > 0) {
      this.#needed.set(row, needed);
      return;
    }
    this.#needed.delete(row);
    this.#trimmed.push(row);
  }
}
