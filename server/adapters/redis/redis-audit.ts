/** The audit log on Redis: a stream for each organisation and one for what concerns none, read as one. */
import type { AuditLog, AuditPage, AuditQuery, AuditRecord } from '../../ports/audit-log.js';
import type { Logger } from '../../ports/logger.js';
import { AuditReader, isBefore, type Place } from './audit-reader.js';
import { keys } from './keys.js';
import { type RedisConnection, RedisUnavailable } from './redis-connection.js';

const RETRY_MS = 500;
const WRITTEN_AT_ONCE = 200;
/** Beyond this many only the operational log has them, where each is a line already. */
const MAX_WAITING = 100_000;
const SWEPT_AT_ONCE = 500;
const DAY_MS = 86_400_000;

export class RedisAudit implements AuditLog {
  readonly #redis: RedisConnection;
  readonly #logger: Logger | undefined;
  /** What Redis did not take, in order. */
  #waiting: AuditRecord[] = [];
  readonly #known = new Set<string>();
  readonly #writing = new Set<Promise<unknown>>();
  readonly #onReady = (): void => this.#comeBack();
  #timer: NodeJS.Timeout | undefined;
  #flushing: Promise<void> | undefined;
  #isClosed = false;

  /** Begins with a connection that is open. */
  constructor(redis: RedisConnection, logger: Logger | undefined) {
    this.#redis = redis;
    this.#logger = logger;
    redis.client.on('ready', this.#onReady);
  }

  async record(record: AuditRecord): Promise<boolean> {
    if (this.#isClosed) return false;
    // Behind what waits already, so that the order stays.
    if (this.#waiting.length > 0 || this.#flushing) {
      this.#keep([record]);
      return false;
    }
    const writing = this.#write(record.org_id, [record]);
    this.#writing.add(writing);
    try {
      await writing;
      return true;
    } catch (error) {
      if (error instanceof RedisUnavailable) this.#keep([record]);
      else this.#logger?.error('an audit record was refused', { error });
      return false;
    } finally {
      this.#writing.delete(writing);
    }
  }

  async read(query: AuditQuery): Promise<AuditPage> {
    const { limit, since } = query;
    const from = parsePage(query.page);
    const readers = (await this.#streams(query.orgId)).map((stream) => new AuditReader(this.#redis, stream, from));
    const found: { place: Place; record: AuditRecord }[] = [];
    while (found.length <= limit) {
      const heads = await Promise.all(readers.map(async (reader) => ({ reader, head: await reader.head() })));
      let last: (typeof heads)[number] | undefined;
      for (const one of heads) if (one.head && (!last?.head || isBefore(last.head.place, one.head.place))) last = one;
      if (!last?.head) break;
      const { place, record } = last.head;
      // Recorded a day before what is asked for: so is all that is left, whatever the clocks say.
      if (since !== undefined && place.ms < since - DAY_MS) break;
      last.reader.next();
      if (fits(record, query)) found.push({ place, record });
    }
    const shown = found.slice(0, limit);
    const end = found.length > limit ? shown.at(-1) : undefined;
    return { records: shown.map(({ record }) => record), nextPage: end && toPage(end.place) };
  }

  async sweep(before: number): Promise<void> {
    for (const stream of await this.#streams(undefined)) {
      let after = '-';
      for (let removed = 1; removed > 0; ) {
        const entries = await this.#redis.do((client) => client.xrange(stream, after, '+', 'COUNT', SWEPT_AT_ONCE));
        const old = entries.filter(([, fields]) => Date.parse(toRecord(fields).at) < before).map(([id]) => id);
        removed = old.length;
        if (removed > 0) await this.#redis.do((client) => client.xdel(stream, ...old));
        const [end] = entries.at(-1) ?? [];
        if (end === undefined) break;
        after = `(${end}`;
      }
    }
  }

  /** Waits for what is on its way, and tries once more what was refused. */
  async close(): Promise<void> {
    this.#isClosed = true;
    clearTimeout(this.#timer);
    this.#redis.client.off('ready', this.#onReady);
    await Promise.allSettled(this.#writing);
    await this.#flush();
    clearTimeout(this.#timer);
    if (this.#waiting.length > 0)
      this.#logger?.error('audit records were not written', { count: this.#waiting.length });
  }

  async #write(orgId: string | undefined, records: readonly AuditRecord[]): Promise<void> {
    const jsons = records.map((record) => JSON.stringify(record));
    if (orgId !== undefined && !this.#known.has(orgId)) {
      // Not waited for by itself: commands of one connection keep their order, and both must succeed.
      const announcing = this.#redis.do((client) => client.sadd(keys.auditOrgs, orgId));
      await Promise.all([announcing, this.#redis.run('audit-append', [keys.audit(orgId)], jsons)]);
      this.#known.add(orgId);
      return;
    }
    await this.#redis.run('audit-append', [keys.audit(orgId)], jsons);
  }

  #keep(records: readonly AuditRecord[]): void {
    if (this.#waiting.length === 0) this.#logger?.warn('the audit waits for Redis');
    if (this.#waiting.length < MAX_WAITING) this.#waiting.push(...records);
    else this.#logger?.error('too many audit records wait; some are only in this log', { count: records.length });
    if (!this.#isClosed) this.#schedule();
  }

  #schedule(): void {
    this.#timer ??= setTimeout(() => {
      this.#timer = undefined;
      void this.#flush();
    }, RETRY_MS).unref();
  }

  #flush(): Promise<void> {
    this.#flushing ??= this.#writeWaiting().finally(() => {
      this.#flushing = undefined;
      if (this.#waiting.length > 0 && !this.#isClosed) this.#schedule();
    });
    return this.#flushing;
  }

  /** Runs of one organisation at a time, so that all keep their order. */
  async #writeWaiting(): Promise<void> {
    while (this.#waiting.length > 0) {
      const orgId = this.#waiting[0]?.org_id;
      const end = this.#waiting.findIndex((record, n) => record.org_id !== orgId || n === WRITTEN_AT_ONCE);
      const some = this.#waiting.slice(0, end === -1 ? undefined : end);
      try {
        await this.#write(orgId, some);
      } catch (error) {
        if (error instanceof RedisUnavailable) return;
        this.#logger?.error('audit records were refused', { count: some.length, error });
      }
      this.#waiting.splice(0, some.length);
    }
  }

  async #streams(orgId: string | undefined): Promise<string[]> {
    const orgs = orgId === undefined ? await this.#redis.do((client) => client.smembers(keys.auditOrgs)) : [orgId];
    return [keys.audit(undefined), ...orgs.map((org) => keys.audit(org))];
  }

  #comeBack(): void {
    this.#known.clear();
    void this.#flush();
  }
}

function fits(record: AuditRecord, { userId, kind, outcome, since, until }: AuditQuery): boolean {
  const at = Date.parse(record.at);
  return (
    (userId === undefined || record.user_id === userId) &&
    (kind === undefined || record.kind === kind) &&
    (outcome === undefined || record.outcome === outcome) &&
    (since === undefined || at >= since) &&
    (until === undefined || at < until)
  );
}

const toRecord = (fields: readonly string[]): AuditRecord => JSON.parse(fields[1] ?? '{}') as AuditRecord;

const toPage = ({ ms, seq, stream }: Place): string => Buffer.from(`r${ms}-${seq} ${stream}`).toString('base64url');

function parsePage(page: string | undefined): Place | undefined {
  const match = /^r(\d{1,15})-(\d{1,15}) (.+)$/s.exec(Buffer.from(page ?? '', 'base64url').toString());
  return match ? { ms: Number(match[1]), seq: Number(match[2]), stream: match[3] ?? '' } : undefined;
}
