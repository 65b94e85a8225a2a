/** What the embedded store promises about disks, reboots and directories, beyond the contracts of its ports. */
import { cpSync, mkdtempSync, rmSync, statSync, writeFileSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import Libsql from 'libsql';
import { type EmbeddedStore, openEmbeddedStore } from '../../server/adapters/embedded/index.js';
import { MIGRATIONS } from '../../server/adapters/embedded/schema.js';
import { StoreDirectory } from '../support/store-directory.js';
import { aDelta, anAnswer, anEvent, aRow } from '../support/store-records.js';

const all = { afterSeq: 0, limit: 10_000 };
const DAY_MS = 24 * 3_600_000;

async function openSession(store: EmbeddedStore, id: string): Promise<{ sessionId: string; token: string }> {
  if ((await store.sessions.get(id)) === undefined) await store.sessions.create(aRow(id));
  const lease = await store.leases.claim(id);
  return { sessionId: id, token: lease?.token ?? '' };
}

describe('embedded store on its disk', () => {
  let directory: StoreDirectory;
  const images: string[] = [];

  beforeEach(() => {
    directory = new StoreDirectory();
  });
  afterEach(async () => {
    await directory.dispose();
    for (const image of images.splice(0)) rmSync(image, { recursive: true, force: true });
  });

  /** The directory as a sudden end of the process would leave it. */
  const takeImage = (): string => {
    const image = mkdtempSync(join(tmpdir(), 'midstream-image-'));
    images.push(image);
    cpSync(directory.dataDir, image, { recursive: true });
    return image;
  };
  const ask = (dataDir: string, sql: string): unknown => {
    const sqlite = new Libsql(join(dataDir, 'midstream.db'));
    const [row] = sqlite.prepare(sql).all() as Record<string, unknown>[];
    sqlite.close();
    return row && Object.values(row)[0];
  };

  it('lists what was made before sessions were shared, for who made it', async () => {
    const before = MIGRATIONS.findIndex((step) => step.includes('session_members'));
    const sqlite = new Libsql(join(directory.dataDir, 'midstream.db'));
    for (const step of MIGRATIONS.slice(0, before)) sqlite.exec(step);
    sqlite.exec(`INSERT INTO sessions (id, org_id, user_id, status, unfinished, created_at, updated_at, json)
      VALUES ('sesn_a', 'acme', 'ada', 'idle', 0, 1, 1, '{}'), ('sesn_b', 'acme', 'ada', 'idle', 0, 2, 2, '{}'),
             ('sesn_c', 'other', 'ada', 'idle', 0, 3, 3, '{}')`);
    sqlite.exec(`PRAGMA user_version = ${before}`);
    sqlite.close();
    const store = await directory.open();
    const { rows } = await store.sessions.list({ userId: 'ada', orgId: 'acme' }, { limit: 10 });
    expect(rows.map((row) => row.id)).toEqual(['sesn_b', 'sesn_a']);
    await store.sessions.remove('sesn_b');
    expect((await store.sessions.list({ userId: 'ada', orgId: 'acme' }, { limit: 10 })).rows).toHaveLength(1);
    await store.close();
    expect(ask(directory.dataDir, 'SELECT count(*) FROM session_members')).toBe(2);
  });

  it('resolves an event when it is synced, and deltas without', async () => {
    const syncs: ((error: Error | null) => void)[] = [];
    let isHeld = false;
    const store = await directory.open({
      syncFile: (_, done) => (isHeld ? void syncs.push(done) : setImmediate(done, null)),
    });
    const one = await openSession(store, 'sesn_one');
    isHeld = true;
    await store.log.append({ ...one, records: [aDelta(1)] });
    await store.log.append({ ...one, records: [aDelta(2)] });
    expect(syncs).toHaveLength(0);

    let isDurable = false;
    const event = store.log.append({ ...one, records: [anEvent(3)] }).then(() => {
      isDurable = true;
    });
    while ((await store.log.read('sesn_one', all)).length === 0) await new Promise(setImmediate);
    await new Promise(setImmediate);
    expect({ isDurable, syncs: syncs.length }).toEqual({ isDurable: false, syncs: 1 });
    isHeld = false;
    syncs[0]?.(null);
    await event;
  });

  it('writes what is asked for in one moment as one group: one sync, one row for the deltas of all sessions', async () => {
    let syncs = 0;
    const store = await directory.open({
      syncFile: (_, done) => {
        syncs++;
        setImmediate(done, null);
      },
    });
    const sessions = [];
    for (let i = 0; i < 50; i++) sessions.push(await openSession(store, `sesn_${i}`));
    syncs = 0;
    const deltas = sessions.map((session) => store.log.append({ ...session, records: [aDelta(1)] }));
    expect(new Set(deltas).size).toBe(1);
    await Promise.all(deltas);
    expect(syncs).toBe(0);
    await Promise.all(sessions.map((session) => store.log.append({ ...session, records: [anEvent(2)] })));
    expect(syncs).toBe(1);
    expect(ask(takeImage(), 'SELECT count(*) FROM deltas')).toBe(1);
  });

  it('[CMD-3] fails whom the disk has no room for, until it is claimed again, and nobody else', async () => {
    const store = await directory.open({ maxBytes: 400_000 });
    const one = await openSession(store, 'sesn_one');
    const two = await openSession(store, 'sesn_two');
    await store.log.append({ ...one, records: [aDelta(1)] });
    const answer = anAnswer('sesn_one');
    const large = { ...one, records: [aDelta(2), anEvent(3, { text: 'x'.repeat(500_000) })], answers: [answer] };
    await expect(store.log.append(large)).rejects.toMatchObject({ reason: 'store_failed' });
    await store.log.append({ ...two, records: [anEvent(1)] });
    const small = { sessionId: 'sesn_one', records: [anEvent(2)] };
    for (const seq of [4, 2]) {
      const next = { ...one, records: [anEvent(seq)] };
      await expect(store.log.append(next)).rejects.toMatchObject({ reason: 'store_failed' });
    }
    expect(await store.log.read('sesn_one', all)).toEqual([]);
    expect(await store.log.findAnswer(answer)).toBeUndefined();
    const again = await openSession(store, 'sesn_one');
    await store.log.append({ ...again, ...small });
    await store.sessions.ping();
    expect((await store.log.readDeltas('sesn_one', 0)).map((d) => d.seq)).toEqual([1]);
  });

  it('[LOG-7] takes nothing more after a failed sync, and begins another epoch at the next start', async () => {
    let failure: Error | null = null;
    const store = await directory.open({ syncFile: (_, done) => setImmediate(done, failure) });
    const one = await openSession(store, 'sesn_one');
    const { epoch } = store.log;
    failure = new Error('EIO: i/o error, fdatasync');
    const lost = store.log.append({ ...one, records: [anEvent(1)] });
    await expect(lost).rejects.toMatchObject({ reason: 'store_failed' });
    failure = null;
    await expect(store.log.append({ ...one, records: [anEvent(2)] })).rejects.toMatchObject({ reason: 'store_failed' });
    await expect(store.leases.claim('sesn_one')).rejects.toMatchObject({ reason: 'store_failed' });
    await expect(store.sessions.ping()).rejects.toThrow('EIO');
    await store.close();
    const next = await directory.open();
    expect([epoch, next.log.epoch]).toEqual(['e1', 'e2']);
  });

  it.each([
    ['closed, rebooted', true, 'id:b', 'e1'],
    ['killed', false, 'id:a', 'e1'],
    ['killed, rebooted', false, 'id:b', 'e2'],
    ['killed, the clock corrected by seconds', false, 'at:1004000', 'e1', 'at:1000000'],
    ['killed, booted a minute later', false, 'at:1060000', 'e2', 'at:1000000'],
  ])('[LOG-7] knows whether its tail is whole: %s', async (_, isClosed, bootIdentity, epoch, first = 'id:a') => {
    const store = await directory.open({ bootIdentity: first });
    const one = await openSession(store, 'sesn_one');
    await store.log.append({ ...one, records: [anEvent(1)] });
    if (isClosed) await store.close();
    const next = await openEmbeddedStore({ dataDir: takeImage(), fsync: 'group', bootIdentity });
    expect(next.log.epoch).toBe(epoch);
    expect(await next.log.read('sesn_one', all)).toHaveLength(1);
    await next.close();
  });

  it('refuses a directory that is in use, with a sentence, and takes it once it is free', async () => {
    const store = await directory.open();
    const { dataDir } = directory;
    const refusal = { name: 'EmbeddedStoreError', reason: 'in_use', dataDir };
    await expect(directory.open()).rejects.toMatchObject(refusal);
    await expect(directory.open()).rejects.toThrow(`Another server uses the data directory ${dataDir}.`);
    await openSession(store, 'sesn_one');
    await store.close();
    await (await directory.open()).close();
  });

  it('refuses data of a newer version, and leaves it as it is', async () => {
    await (await directory.open()).close();
    const version = ask(directory.dataDir, 'PRAGMA user_version');
    ask(directory.dataDir, 'PRAGMA user_version = 99');
    await expect(directory.open()).rejects.toMatchObject({ reason: 'newer_schema' });
    expect(ask(directory.dataDir, 'PRAGMA user_version')).toBe(99);
    ask(directory.dataDir, `PRAGMA user_version = ${version}`);
    await directory.open();
  });

  it('refuses a file that is no database', async () => {
    writeFileSync(join(directory.dataDir, 'midstream.db'), 'not a database, '.repeat(1_000));
    await expect(directory.open()).rejects.toMatchObject({ reason: 'unusable' });
  });

  it('[LOG-5] deletes the rows of trimmed deltas, and keeps those that another session needs', async () => {
    const store = await directory.open({ fsync: 'off', flushIntervalMs: 0 });
    const one = await openSession(store, 'sesn_one');
    const two = await openSession(store, 'sesn_two');
    for (let seq = 1; seq <= 300; seq++) {
      const other = seq <= 5 ? [store.log.append({ ...two, records: [aDelta(seq)] })] : [];
      await Promise.all([store.log.append({ ...one, records: [aDelta(seq)] }), ...other]);
    }
    await store.log.append({ ...one, records: [anEvent(301)] });
    expect(ask(takeImage(), 'SELECT count(*) FROM deltas')).toBe(300);
    store.log.trimDeltas('sesn_one', 300);
    await store.log.append({ ...one, records: [anEvent(302)] });
    expect(ask(takeImage(), 'SELECT count(*) FROM deltas')).toBe(5);
    expect(await store.log.readDeltas('sesn_two', 0)).toHaveLength(5);
  });

  it('[LOG-5] drops, at the next start, the deltas of sessions whose turns are finished', async () => {
    const store = await directory.open();
    const done = await openSession(store, 'sesn_done');
    const open = await openSession(store, 'sesn_open');
    await store.log.append({ ...done, records: [aDelta(1), anEvent(2)] });
    const row = { status: 'running', unfinished: true, updatedAt: 1, json: '{}' } as const;
    await store.log.append({ ...open, records: [aDelta(1), anEvent(2)], row });
    const next = await openEmbeddedStore({ dataDir: takeImage(), fsync: 'group' });
    expect(await next.log.readDeltas('sesn_done', 0)).toEqual([]);
    const again = await openSession(next, 'sesn_open');
    await next.log.append({ ...again, records: [aDelta(3)] });
    for (const time of ['the first time', 'again']) {
      const seqs = (await next.log.readDeltas('sesn_open', 0)).map((d) => d.seq);
      expect({ time, seqs }).toEqual({ time, seqs: [1, 3] });
    }
    await next.close();
  });

  it('folds a long write-ahead log into the database, and stays readable at every moment', async () => {
    const store = await directory.open();
    const one = await openSession(store, 'sesn_one');
    for (let seq = 1; seq <= 150; seq++) {
      await store.log.append({ ...one, records: [anEvent(seq, { text: String(seq % 10).repeat(200_000) })] });
    }
    expect(statSync(join(directory.dataDir, 'midstream.db-wal')).size).toBeLessThan(12_000_000);
    const image = takeImage();
    expect(ask(image, 'PRAGMA integrity_check')).toBe('ok');
    expect(ask(image, 'SELECT count(*) FROM events')).toBe(150);
  });

  it('gives space back to the file system when sessions are swept', async () => {
    const store = await directory.open({ fsync: 'off' });
    const one = await openSession(store, 'sesn_one');
    for (let seq = 1; seq <= 60; seq++) {
      await store.log.append({ ...one, records: [anEvent(seq, { text: 'x'.repeat(200_000) })] });
    }
    const path = join(directory.dataDir, 'midstream.db');
    await store.sessions.sweep({ sessionsBefore: Date.now() });
    await store.close();
    expect(statSync(path).size).toBeLessThan(6_000_000);
  });

  it('sweeps no session that is written to in the same moment', async () => {
    const store = await directory.open();
    const one = await openSession(store, 'sesn_one');
    const swept = store.sessions.sweep({ sessionsBefore: Date.now() });
    await store.log.append({ ...one, records: [anEvent(1)] });
    expect(await swept).toEqual([]);
    expect(await store.log.read('sesn_one', all)).toHaveLength(1);
  });

  it('[CMD-2] deletes answers that no longer count', async () => {
    let nowMs = Date.UTC(2026, 0, 1);
    const store = await directory.open({ now: () => nowMs });
    const one = await openSession(store, 'sesn_one');
    const answers = Array.from({ length: 700 }, (_, i) =>
      anAnswer('sesn_one', { commandId: `c${i}`, acceptedAt: nowMs }),
    );
    await store.log.append({ ...one, records: [], answers });
    nowMs += DAY_MS;
    await store.log.append({ ...one, records: [anEvent(1)] });
    await store.log.append({ ...one, records: [anEvent(2)] });
    expect(ask(takeImage(), 'SELECT count(*) FROM answers')).toBe(0);
  });

  it('keeps feedback for good', async () => {
    const store = await directory.open();
    const feedback = { conversation_id: 'sesn_one', rating: 'thumbs_down' as const, comment: 'no', at: 7 };
    await store.sessions.putFeedback({ ...feedback, userId: 'ada', orgId: 'acme' });
    await store.sessions.remove('sesn_one');
    const columns = "rating || ' ' || comment || ' ' || user_id || ' ' || org_id || ' ' || at";
    expect(ask(takeImage(), `SELECT ${columns} FROM feedback`)).toBe('thumbs_down no ada acme 7');
  });
});
