/** The audit log on SQLite: appended by the group commit, never changed, read in slices that keep nobody waiting. */
import { setImmediate as nextTurn } from 'node:timers/promises';
import type { AuditLog, AuditPage, AuditQuery, AuditRecord } from '../../ports/audit-log.js';
import type { Database, SqlValue, Statement } from './database.js';
import type { GroupCommit } from './group-commit.js';

const RETRY_MS = 1_000;
const ROWS_PER_SLICE = 10_000;
const DELETES_PER_SLICE = 1_000;
/** Refusals, which anybody can cause, are kept up to here while the store can't write; each is a line of the operational log anyway. */
const MAX_UNWRITTEN_REFUSALS = 100_000;
const WRITTEN_AT_ONCE = 1_000;

export class AuditTable implements AuditLog {
  readonly #commits: GroupCommit;
  readonly #insert: Statement;
  readonly #ends: Statement<[first: number | null, last: number | null]>;
  readonly #slice: Statement<[id: number, json: string]>;
  readonly #deleteOld: Statement;
  /** What the store refused, in order, until it takes it. */
  #unwritten: AuditRecord[] = [];
  /** How many of them are on their way. */
  #underWay = 0;
  #retry: NodeJS.Timeout | undefined;

  constructor(database: Database, commits: GroupCommit) {
    this.#commits = commits;
    this.#insert = database.prepare(
      'INSERT INTO audit (at, kind, outcome, user_id, org_id, json) VALUES (?, ?, ?, ?, ?, ?)',
    );
    this.#ends = database.prepare('SELECT (SELECT min(id) FROM audit), (SELECT max(id) FROM audit)');
    this.#slice = database.prepare(
      `SELECT id, json FROM audit WHERE id >= ?1 AND id < ?2
         AND (?3 IS NULL OR org_id IS NULL OR org_id = ?3) AND (?4 IS NULL OR user_id = ?4)
         AND (?5 IS NULL OR kind = ?5) AND (?6 IS NULL OR outcome = ?6)
         AND (?7 IS NULL OR at >= ?7) AND (?8 IS NULL OR at < ?8)
       ORDER BY id DESC LIMIT ?9`,
    );
    this.#deleteOld = database.prepare(
      'DELETE FROM audit WHERE id IN (SELECT id FROM audit WHERE at < ? ORDER BY at LIMIT ?)',
    );
  }

  async record(record: AuditRecord): Promise<boolean> {
    const { refusal } = this.#commits;
    // Behind what waits already, so that the order stays.
    if (refusal !== undefined || this.#unwritten.length > this.#underWay) {
      if (refusal === undefined || refusal.reason === 'store_failed') this.#keep([record]);
      return false;
    }
    return this.#write([record]);
  }

  async read(query: AuditQuery): Promise<AuditPage> {
    const { limit, orgId, userId, kind, outcome, since, until } = query;
    const [first, last] = this.#ends.first() ?? [null, null];
    if (first === null || last === null) return { records: [], nextPage: undefined };
    const filters = [orgId, userId, kind, outcome, since, until].map((value): SqlValue => value ?? null);
    const rows: [id: number, json: string][] = [];
    let below = Math.min(parsePage(query.page) ?? Number.MAX_SAFE_INTEGER, last + 1);
    while (below > first && rows.length <= limit) {
      const from = below - ROWS_PER_SLICE;
      rows.push(...this.#slice.all(from, below, ...filters, limit + 1 - rows.length));
      below = from;
      if (below > first && rows.length <= limit) await nextTurn();
    }
    const shown = rows.slice(0, limit);
    const end = rows.length > limit ? shown.at(-1) : undefined;
    return { records: shown.map(([, json]) => JSON.parse(json) as AuditRecord), nextPage: end && toPage(end[0]) };
  }

  async sweep(before: number): Promise<void> {
    let deleted: number;
    do {
      deleted = await this.#commits.run(() => this.#deleteOld.run(before, DELETES_PER_SLICE), 'relaxed');
    } while (deleted === DELETES_PER_SLICE);
  }

  /** Tries once more what was refused; the store's last group takes it along. */
  close(): void {
    clearTimeout(this.#retry);
    const records = this.#unwritten.slice(this.#underWay);
    this.#unwritten = [];
    this.#underWay = 0;
    if (records.length > 0 && this.#commits.refusal === undefined) void this.#join(records).catch(() => {});
  }

  async #write(records: readonly AuditRecord[]): Promise<boolean> {
    try {
      await this.#join(records);
      return true;
    } catch {
      this.#keep(records);
      return false;
    }
  }

  #join(records: readonly AuditRecord[]): Promise<void> {
    const weight = records.every(({ kind }) => kind === 'authentication') ? 'relaxed' : 'durable';
    return this.#commits.join({ write: () => this.#insertAll(records), abandon: () => {} }, weight).promise;
  }

  #insertAll(records: readonly AuditRecord[]): number {
    let bytes = 0;
    for (const record of records) {
      const { at, kind, outcome, user_id, org_id } = record;
      const json = JSON.stringify(record);
      this.#insert.run(Date.parse(at), kind, outcome, user_id ?? null, org_id ?? null, json);
      bytes += json.length;
    }
    return bytes;
  }

  #keep(records: readonly AuditRecord[]): void {
    for (const record of records)
      if (!isRefusal(record) || this.#unwritten.length < MAX_UNWRITTEN_REFUSALS) this.#unwritten.push(record);
    this.#retry ??= setTimeout(() => void this.#again(), RETRY_MS).unref();
  }

  /** In pieces, so that nobody waits for a long group; what comes meanwhile stands behind. */
  async #again(): Promise<void> {
    while (this.#unwritten.length > 0 && this.#commits.refusal === undefined) {
      const records = this.#unwritten.slice(0, WRITTEN_AT_ONCE);
      this.#underWay = records.length;
      try {
        await this.#join(records);
      } catch {
        this.#underWay = 0;
        break;
      }
      this.#unwritten.splice(0, this.#underWay);
      this.#underWay = 0;
    }
    this.#retry = undefined;
    // A disk that failed to sync is not written to again: what is left is in the operational log.
    if (this.#commits.refusal !== undefined) this.#unwritten = [];
    if (this.#unwritten.length > 0) this.#keep([]);
  }
}

const isRefusal = ({ kind }: AuditRecord): boolean => kind === 'authentication' || kind === 'denial';

const toPage = (id: number): string => Buffer.from(`a${id}`).toString('base64url');

function parsePage(page: string | undefined): number | undefined {
  const match = /^a(\d{1,15})$/.exec(Buffer.from(page ?? '', 'base64url').toString());
  return match ? Number(match[1]) : undefined;
}
