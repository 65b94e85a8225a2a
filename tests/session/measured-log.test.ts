/** The log with its measures, over a real store on a disk that syncs when it is told to. */
import { mkdtempSync, rmSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { type EmbeddedStore, openEmbeddedStore } from '../../server/adapters/embedded/index.js';
import { MeasuredLog } from '../../server/session/measured/measured-log.js';
import { aDelta, anEvent, aRow } from '../support/store-records.js';
import { RecordedMetrics } from './support.js';

const SESSION = 'sesn_1';

let dataDir: string;
let store: EmbeddedStore;
let metrics: RecordedMetrics;
let log: MeasuredLog;
let token: string;
let now: number;
let syncs: ((error: Error | null) => void)[];
let isHeld: boolean;

beforeEach(async () => {
  dataDir = mkdtempSync(join(tmpdir(), 'midstream-measured-'));
  [metrics, now, syncs, isHeld] = [new RecordedMetrics(), 0, [], false];
  store = await openEmbeddedStore({
    dataDir,
    fsync: 'group',
    syncFile: (_, done) => (isHeld ? void syncs.push(done) : setImmediate(done, null)),
  });
  log = new MeasuredLog(store.log, metrics, () => now);
  await store.sessions.create(aRow(SESSION));
  token = (await store.leases.claim(SESSION))?.token ?? '';
});
afterEach(async () => {
  isHeld = false;
  for (const done of syncs.splice(0)) done(null);
  await store.close();
  rmSync(dataDir, { recursive: true, force: true });
});

const append = (...records: (ReturnType<typeof anEvent> | ReturnType<typeof aDelta>)[]) =>
  log.append({ sessionId: SESSION, token, records });

async function synced(): Promise<void> {
  while (syncs.length === 0) await new Promise((resolve) => setImmediate(resolve));
  isHeld = false;
  for (const done of syncs.splice(0)) done(null);
}

it('is not ready while an append waits for more than 3 s, and ready when it came through', async () => {
  isHeld = true;
  const first = append(anEvent(1));
  now = 3_000;
  expect(log.check()).toEqual({ ok: true, detail: 'appends come through' });
  const second = append(anEvent(2));
  now = 4_200;
  expect(log.check()).toEqual({ ok: false, detail: 'an append has waited for 4.2 s' });
  expect(metrics.read('log_oldest_append_seconds')).toBe(4.2);
  await synced();
  await Promise.all([first, second]);
  expect(log.check().ok).toBe(true);
  expect(metrics.appends).toEqual([
    ['events', 4_200],
    ['events', 1_200],
  ]);
});

it('measures one append of deltas at a time, counts the records of all, and gives the promise of the store', async () => {
  const appended = [append(aDelta(1)), append(aDelta(2), aDelta(3)), append(aDelta(4))];
  await Promise.all(appended);
  expect(metrics.appends).toEqual([['deltas', 0]]);
  await append(aDelta(5));
  await append(anEvent(6));
  expect(metrics.appends).toEqual([
    ['deltas', 0],
    ['deltas', 0],
    ['events', 0],
  ]);
  expect(metrics.readTotal('log_records')).toEqual({ event: 1, delta: 5 });
});

it('counts what the log refuses, by its reason, and measures deltas again afterwards', async () => {
  await expect(log.append({ sessionId: SESSION, token: 'another', records: [aDelta(1)] })).rejects.toThrow();
  await append(aDelta(1));
  expect([metrics.appendFailures, metrics.appends]).toEqual([['lease_lost'], [['deltas', 0]]]);
});
