/** What the embedded audit promises about a store that refuses, beyond its contract. */
import Libsql from 'libsql';
import { join } from 'node:path';
import type { AuditRecord } from '../../server/ports/audit-log.js';
import { StoreDirectory } from '../support/store-directory.js';
import { anEvent, aRow } from '../support/store-records.js';

const aRecord = (tool: string): AuditRecord => ({
  at: '2026-01-01T00:00:00.000Z',
  kind: 'denial',
  user_id: 'ada',
  org_id: 'acme',
  tool,
  outcome: 'denied',
});

describe('the embedded audit', () => {
  let directory: StoreDirectory;
  beforeEach(() => {
    directory = new StoreDirectory();
  });
  afterEach(() => directory.dispose());

  it('keeps what a full disk refused, in order, and writes it once there is room', async () => {
    const store = await directory.open({ maxBytes: 600_000 });
    await store.sessions.create(aRow('sesn_big'));
    const lease = await store.leases.claim('sesn_big');
    const filler = { ...anEvent(1), json: `"${'x'.repeat(200_000)}"` };
    await store.log.append({ sessionId: 'sesn_big', token: lease?.token ?? '', records: [filler] });
    // Larger than what is left: their group is refused as a whole.
    const big = 'y'.repeat(400_000);
    expect(await store.audit.record(aRecord(`first ${big}`))).toBe(false);
    expect(await store.audit.record(aRecord('second'))).toBe(false);
    await store.sessions.remove('sesn_big');
    const until = Date.now() + 10_000;
    let tools: (string | undefined)[] = [];
    while (tools.length < 2 && Date.now() < until) {
      await new Promise((resolve) => setImmediate(resolve));
      tools = (await store.audit.read({ limit: 10 })).records.map(({ tool }) => tool?.slice(0, 6));
    }
    expect(tools).toEqual(['second', 'first ']);
    expect(await store.audit.record(aRecord('third'))).toBe(true);
  });

  it('keeps of what strangers and users cause so many while the store refuses, and all else; and writes them in pieces', async () => {
    const store = await directory.open({ maxBytes: 80_000_000 });
    await store.sessions.create(aRow('sesn_big'));
    const lease = await store.leases.claim('sesn_big');
    const filler = (n: number) => ({ ...anEvent(n), json: `"${'x'.repeat(1_000_000)}"` });
    for (let n = 1; n <= 79; n += 1)
      await store.log.append({ sessionId: 'sesn_big', token: lease?.token ?? '', records: [filler(n)] });
    expect(await store.audit.record({ ...aRecord('y'.repeat(2_000_000)), kind: 'approval', outcome: 'allowed' })).toBe(
      false,
    );
    const kinds = ['authentication', 'denial'] as const;
    for (let n = 0; n < 100_500; n += 1) void store.audit.record({ ...aRecord('t'), kind: kinds[n % 2] ?? 'denial' });
    void store.audit.record({ ...aRecord('last'), kind: 'tool_call', outcome: 'started' });
    await store.sessions.remove('sesn_big');

    let longestStall = 0;
    let at = performance.now();
    const isLastWritten = async () => (await store.audit.read({ limit: 1 })).records[0]?.tool === 'last';
    while (!(await isLastWritten())) {
      await new Promise((resolve) => setImmediate(resolve));
      longestStall = Math.max(longestStall, performance.now() - at);
      at = performance.now();
    }
    const { records } = await store.audit.read({ limit: 200_000 });
    expect(records).toHaveLength(1 + 99_999 + 1);
    expect(longestStall).toBeLessThan(500);
  }, 30_000);

  it('writes nothing more once a sync failed, and says so', async () => {
    let fails = false;
    const store = await directory.open({
      syncFile: (_fd, done) => done(fails ? new Error('EIO') : null),
    });
    expect(await store.audit.record(aRecord('before'))).toBe(true);
    fails = true;
    expect(await store.audit.record(aRecord('during'))).toBe(false);
    fails = false;
    expect(await store.audit.record(aRecord('after'))).toBe(false);
  });

  it('refuses to change a record, whoever asks', async () => {
    const store = await directory.open();
    await store.audit.record(aRecord('search'));
    await store.close();
    const sqlite = new Libsql(join(directory.dataDir, 'midstream.db'));
    expect(() => sqlite.exec("UPDATE audit SET outcome = 'ok'")).toThrow('append-only');
    sqlite.close();
  });
});
