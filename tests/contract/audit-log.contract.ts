/** What every audit log must do, whatever it is made of. */
import type { AuditLog, AuditQuery, AuditRecord } from '../../server/ports/audit-log.js';
import type { Store, StoreHarness } from '../support/store-harness.js';
import { aRow } from '../support/store-records.js';

const START = Date.UTC(2026, 0, 1);
const MINUTE_MS = 60_000;

const aRecord = (minute: number, fields: Partial<AuditRecord> = {}): AuditRecord => ({
  at: new Date(START + minute * MINUTE_MS).toISOString(),
  kind: 'tool_call',
  user_id: 'ada',
  org_id: 'acme',
  session_id: 'sesn_one',
  turn_id: 'turn_one',
  tool: 'search',
  tool_use_id: `sevt_${minute}`,
  outcome: 'ok',
  ...fields,
});

const minutesOf = (records: readonly AuditRecord[]): number[] =>
  records.map(({ at }) => (Date.parse(at) - START) / MINUTE_MS);

async function readAll(audit: AuditLog, query: Omit<AuditQuery, 'page'>): Promise<AuditRecord[]> {
  const found: AuditRecord[] = [];
  let page: string | undefined;
  do {
    const read = await audit.read({ ...query, ...(page !== undefined && { page }) });
    expect(read.records.length).toBeLessThanOrEqual(query.limit);
    found.push(...read.records);
    page = read.nextPage;
  } while (page !== undefined);
  return found;
}

export function describeAuditLog(name: string, createHarness: () => StoreHarness): void {
  describe(`${name}: audit log`, () => {
    let harness: StoreHarness;
    let store: Store;

    beforeEach(async () => {
      harness = createHarness();
      store = await harness.openFresh();
    });
    afterEach(() => harness.dispose());

    it('gives back each record as it was, the last first, also when it is opened again', async () => {
      const records = [
        aRecord(1, { rule: 'role analyst: deny “send_*”', request_id: 'req_1', client_address: '::1' }),
        aRecord(2),
        { at: aRecord(3).at, kind: 'authentication', outcome: 'refused' } as const,
      ];
      for (const record of records) expect(await store.audit.record(record)).toBe(true);
      expect(await store.audit.read({ limit: 10 })).toEqual({ records: records.toReversed(), nextPage: undefined });
      await store.close();
      store = await harness.reopen();
      expect((await store.audit.read({ limit: 10 })).records).toEqual(records.toReversed());
    });

    it('is empty at first, and has no page', async () => {
      expect(await store.audit.read({ limit: 1 })).toEqual({ records: [], nextPage: undefined });
    });

    it('keeps what was recorded right before it is closed', async () => {
      const recorded = [1, 2, 3].map((minute) => store.audit.record(aRecord(minute)));
      await store.close();
      expect(await Promise.all(recorded)).toEqual([true, true, true]);
      store = await harness.reopen();
      expect(minutesOf((await store.audit.read({ limit: 10 })).records)).toEqual([3, 2, 1]);
    });

    it('says so, and does not fail, where it is closed', async () => {
      await store.close();
      expect(await store.audit.record(aRecord(1))).toBe(false);
    });

    it('gives each record on exactly one page, while others are recorded', async () => {
      await Promise.all(Array.from({ length: 25 }, (_, minute) => store.audit.record(aRecord(minute))));
      const first = await store.audit.read({ limit: 10 });
      await store.audit.record(aRecord(99));
      const second = await store.audit.read({ limit: 10, page: first.nextPage as string });
      const third = await store.audit.read({ limit: 10, page: second.nextPage as string });
      const all = [first, second, third].flatMap(({ records }) => minutesOf(records));
      expect(all).toEqual(Array.from({ length: 25 }, (_, i) => 24 - i));
      expect(third.nextPage).toBeUndefined();
      expect(minutesOf((await store.audit.read({ limit: 1, page: 'no page of ours' })).records)).toEqual([99]);
    });

    it('finds by user, kind, outcome and time, and all of them together', async () => {
      await store.audit.record(aRecord(1, { user_id: 'eve' }));
      await store.audit.record(aRecord(2, { kind: 'denial', outcome: 'denied' }));
      await store.audit.record(aRecord(3, { outcome: 'error' }));
      await store.audit.record(aRecord(4, { user_id: 'eve', kind: 'denial', outcome: 'denied' }));
      await store.audit.record(aRecord(5, { user_id: 'eve', kind: 'denial', outcome: 'denied' }));
      const find = async (query: Partial<AuditQuery>) => minutesOf(await readAll(store.audit, { limit: 1, ...query }));
      expect(await find({ userId: 'eve' })).toEqual([5, 4, 1]);
      expect(await find({ kind: 'denial' })).toEqual([5, 4, 2]);
      expect(await find({ outcome: 'error' })).toEqual([3]);
      expect(await find({ since: START + 2 * MINUTE_MS, until: START + 4 * MINUTE_MS })).toEqual([3, 2]);
      expect(await find({ userId: 'eve', kind: 'denial', outcome: 'denied', until: START + 5 * MINUTE_MS })).toEqual([
        4,
      ]);
      expect(await find({ userId: 'nobody' })).toEqual([]);
    });

    it('shows an org its own records and those of none, never those of another', async () => {
      await store.audit.record(aRecord(1));
      await store.audit.record(aRecord(2, { org_id: 'other' }));
      await store.audit.record({ at: aRecord(3).at, kind: 'authentication', outcome: 'refused' });
      expect(minutesOf((await store.audit.read({ limit: 10, orgId: 'acme' })).records)).toEqual([3, 1]);
    });

    it('outlives the session that it tells of', async () => {
      await store.sessions.create(aRow('sesn_one'));
      await store.audit.record(aRecord(1));
      await store.sessions.remove('sesn_one');
      expect(minutesOf((await store.audit.read({ limit: 10 })).records)).toEqual([1]);
    });

    it('loses to retention what is older than asked, and nothing else', async () => {
      for (let minute = 0; minute < 10; minute++) await store.audit.record(aRecord(minute));
      await store.audit.sweep(START + 7 * MINUTE_MS);
      expect(minutesOf((await store.audit.read({ limit: 10 })).records)).toEqual([9, 8, 7]);
    });
  });
}
