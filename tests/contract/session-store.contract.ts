/** What every session store must do, whatever it is made of. */
import type { LogStore, StoreHarness } from '../support/store-harness.js';
import { aDelta, anAnswer, anEvent, aRow } from '../support/store-records.js';

const S = 'sesn_one';
const OWNER = { userId: 'ada', orgId: 'acme' };

export function describeSessionStore(name: string, createHarness: () => StoreHarness<LogStore>): void {
  describe(`${name}: session store`, () => {
    let harness: StoreHarness<LogStore>;
    let store: LogStore;
    let nowMs: number;

    beforeEach(async () => {
      harness = createHarness();
      nowMs = Date.UTC(2026, 0, 1);
      store = await harness.openFresh(() => nowMs);
    });
    afterEach(() => harness.dispose());

    const all = { afterSeq: 0, limit: 1_000 };
    const fill = async (id: string, records = [anEvent(1), anEvent(2)]): Promise<void> => {
      const lease = await store.leases.claim(id);
      if (lease === undefined) throw new Error('not claimed');
      await store.log.append({ sessionId: id, token: lease.token, records });
      await store.leases.release(id, lease);
    };

    it('gives back the row that was created, also when it is opened again', async () => {
      const row = aRow(S, { status: 'running', unfinished: true, json: '{"title":"“é”"}' });
      await store.sessions.create(row);
      expect(await store.sessions.get(S)).toEqual(row);
      expect(await store.sessions.get('sesn_unknown')).toBeUndefined();
      await store.close();
      store = await harness.reopen();
      expect(await store.sessions.get(S)).toEqual(row);
    });

    it('[CMD-2] makes one session per answered command, and writes nothing of a second one', async () => {
      const answer = anAnswer('', { acceptedAt: nowMs, appliedAtSeq: undefined });
      const outcomes = await Promise.allSettled([
        store.sessions.create(aRow('sesn_a'), answer),
        store.sessions.create(aRow('sesn_b'), answer),
        store.sessions.create(aRow('sesn_c')),
      ]);
      expect(outcomes.map((o) => o.status)).toEqual(['fulfilled', 'rejected', 'fulfilled']);
      expect(await store.sessions.get('sesn_b')).toBeUndefined();
      expect(await store.log.findAnswer(answer)).toEqual(answer);
    });

    it('refuses a session id that is taken, and keeps neither row nor answer of it', async () => {
      await store.sessions.create(aRow(S));
      const answer = anAnswer('', { acceptedAt: nowMs });
      await expect(store.sessions.create(aRow(S, { json: '{}' }), answer)).rejects.toThrow();
      expect(await store.sessions.get(S)).toEqual(aRow(S));
      expect(await store.log.findAnswer(answer)).toBeUndefined();
    });

    it('lists the sessions of one user, newest first, page by page, while others are made', async () => {
      for (let i = 0; i < 7; i++) await store.sessions.create(aRow(`sesn_${i}`, { createdAt: 1_000 + (i >> 1) }));
      await store.sessions.create(aRow('sesn_of_bob', { userId: 'bob' }));
      await store.sessions.create(aRow('sesn_elsewhere', { orgId: 'other' }));
      const first = await store.sessions.list(OWNER, { limit: 3 });
      await store.sessions.create(aRow('sesn_new', { createdAt: 9_000 }));
      const second = await store.sessions.list(OWNER, { limit: 3, page: first.nextPage ?? '' });
      const third = await store.sessions.list(OWNER, { limit: 3, page: second.nextPage ?? '' });
      const ids = [first, second, third].map((page) => page.rows.map((row) => row.id));
      expect(ids).toEqual([['sesn_6', 'sesn_5', 'sesn_4'], ['sesn_3', 'sesn_2', 'sesn_1'], ['sesn_0']]);
      expect(third.nextPage).toBeUndefined();
      const unknown = await store.sessions.list(OWNER, { limit: 1, page: 'what is this?' });
      expect(unknown.rows.map((row) => row.id)).toEqual(['sesn_new']);
    });

    it('lists a session for each of its members, at its place, also when it is opened again', async () => {
      for (let i = 0; i < 4; i++) await store.sessions.create(aRow(`sesn_${i}`, { createdAt: 1_000 + i }));
      await store.sessions.create(aRow('sesn_of_bob', { userId: 'bob', createdAt: 1_001 }));
      await store.sessions.create(aRow('sesn_elsewhere', { orgId: 'other' }));
      const share = async (id: string, memberIds: readonly string[], seq = 1): Promise<void> => {
        const lease = await store.leases.claim(id);
        const { status, unfinished, updatedAt, json } = aRow(id);
        const row = { status, unfinished, updatedAt, json, memberIds };
        await store.log.append({ sessionId: id, token: lease?.token ?? '', records: [anEvent(seq)], row });
        if (lease) await store.leases.release(id, lease);
      };
      const listOf = async (userId: string, orgId = 'acme'): Promise<string[]> =>
        (await store.sessions.list({ userId, orgId }, { limit: 10 })).rows.map((row) => row.id);
      await share('sesn_0', ['ada', 'bob']);
      await share('sesn_3', ['bob', 'it’s "me"']);
      await share('sesn_elsewhere', ['ada', 'bob']);
      expect(await listOf('bob')).toEqual(['sesn_3', 'sesn_of_bob', 'sesn_0']);
      expect(await listOf('ada')).toEqual(['sesn_2', 'sesn_1', 'sesn_0']);
      expect(await listOf('it’s "me"')).toEqual(['sesn_3']);
      expect(await listOf('bob', 'other')).toEqual(['sesn_elsewhere']);
      const first = await store.sessions.list({ userId: 'bob', orgId: 'acme' }, { limit: 1 });
      const rest = await store.sessions.list(
        { userId: 'bob', orgId: 'acme' },
        { limit: 2, page: first.nextPage ?? '' },
      );
      expect(rest.rows.map((row) => row.id)).toEqual(['sesn_of_bob', 'sesn_0']);
      await share('sesn_0', ['ada'], 2);
      await store.sessions.remove('sesn_3');
      await store.close();
      store = await harness.reopen();
      expect(await listOf('bob')).toEqual(['sesn_of_bob']);
      expect(await listOf('it’s "me"')).toEqual([]);
      // A change of the row that says nothing of members leaves them.
      const lease = await store.leases.claim('sesn_of_bob');
      const { status, unfinished, updatedAt, json } = aRow('sesn_of_bob');
      const row = { status, unfinished, updatedAt, json };
      await store.log.append({ sessionId: 'sesn_of_bob', token: lease?.token ?? '', records: [anEvent(1)], row });
      expect(await listOf('bob')).toEqual(['sesn_of_bob']);
    });

    it('has no next page where the last one is exactly full', async () => {
      await store.sessions.create(aRow('sesn_a'));
      await store.sessions.create(aRow('sesn_b'));
      expect((await store.sessions.list(OWNER, { limit: 2 })).nextPage).toBeUndefined();
    });

    it('names the sessions with unfinished turns', async () => {
      await store.sessions.create(aRow('sesn_a', { unfinished: true, status: 'running' }));
      await store.sessions.create(aRow('sesn_b'));
      expect(await store.sessions.unfinished()).toEqual(['sesn_a']);
    });

    it('removes a session with all that belongs to it, what was just queued included', async () => {
      await store.sessions.create(aRow(S));
      await store.sessions.create(aRow('sesn_two'));
      await fill('sesn_two');
      const lease = await store.leases.claim(S);
      const answer = anAnswer(S, { acceptedAt: nowMs });
      const token = lease?.token ?? '';
      const records = [anEvent(1), aDelta(2)];
      const queued = store.log.append({ sessionId: S, token, records, answers: [answer] });
      const checkpointed = store.sessions.putCheckpoint(S, { seq: 1, json: '{}' });
      const removed = store.sessions.remove(S);
      const late = store.log.append({ sessionId: S, token, records: [anEvent(3)] });
      await expect(late).rejects.toMatchObject({ reason: 'lease_lost' });
      await Promise.all([queued, checkpointed, removed]);
      expect(await store.sessions.get(S)).toBeUndefined();
      expect(await store.log.read(S, all)).toEqual([]);
      expect(await store.log.findAnswer(answer)).toBeUndefined();
      // The id may be used again, and inherits nothing.
      await store.sessions.create(aRow(S));
      expect(await store.log.read(S, all)).toEqual([]);
      expect(await store.log.readDeltas(S, 0)).toEqual([]);
      expect(await store.sessions.getCheckpoint(S)).toBeUndefined();
      await fill(S);
      expect(await store.log.read('sesn_two', all)).toHaveLength(2);
      await store.sessions.remove('sesn_unknown');
    });

    it('replaces a checkpoint, but never by an older one', async () => {
      await store.sessions.create(aRow(S));
      expect(await store.sessions.getCheckpoint(S)).toBeUndefined();
      await store.sessions.putCheckpoint(S, { seq: 5, json: '"five"' });
      await store.sessions.putCheckpoint(S, { seq: 4, json: '"four"' });
      expect(await store.sessions.getCheckpoint(S)).toEqual({ seq: 5, json: '"five"' });
      await store.sessions.putCheckpoint(S, { seq: 6, json: '"six"' });
      expect(await store.sessions.getCheckpoint(S)).toEqual({ seq: 6, json: '"six"' });
      await store.sessions.putCheckpoint('sesn_unknown', { seq: 1, json: '{}' });
      expect(await store.sessions.getCheckpoint('sesn_unknown')).toBeUndefined();
    });

    it('takes feedback on any conversation', async () => {
      const feedback = { conversation_id: 'never seen', rating: 'thumbs_up' as const, ...OWNER, at: nowMs };
      await store.sessions.putFeedback(feedback);
      await store.sessions.putFeedback({ ...feedback, comment: 'naïve', turn_id: 'turn_1' });
      await store.sessions.putFeedback({ ...feedback, comment: null, turn_id: null });
    });

    it('sweeps idle sessions that were not updated since, and no others', async () => {
      for (let i = 0; i < 50; i++) await store.sessions.create(aRow(`sesn_old_${i}`, { updatedAt: 1_000 + (i >> 2) }));
      await store.sessions.create(aRow('sesn_fresh', { updatedAt: 5_000 }));
      await store.sessions.create(aRow('sesn_running', { status: 'running' }));
      await store.sessions.create(aRow('sesn_unfinished', { unfinished: true }));
      await fill('sesn_old_0');
      const removed = await store.sessions.sweep({ sessionsBefore: 5_000 });
      expect(new Set(removed)).toEqual(new Set(Array.from({ length: 50 }, (_, i) => `sesn_old_${i}`)));
      const kept = await store.sessions.list(OWNER, { limit: 10 });
      expect(kept.rows.map((r) => r.id).sort()).toEqual(['sesn_fresh', 'sesn_running', 'sesn_unfinished']);
      expect(await store.log.read('sesn_old_0', all)).toEqual([]);
      expect(await store.sessions.sweep({ sessionsBefore: 5_000 })).toEqual([]);
    });

    it('[LOG-4] sweeps old events that a checkpoint covers, names the floor, and keeps counting after them', async () => {
      await store.sessions.create(aRow(S));
      await store.sessions.create(aRow('sesn_uncovered'));
      await fill('sesn_uncovered');
      await fill(S, [anEvent(1), anEvent(2), anEvent(3)]);
      nowMs += 1_000;
      const cutMs = nowMs;
      await fill(S, [anEvent(4)]);
      await store.sessions.putCheckpoint(S, { seq: 2, json: '{}' });
      expect(await store.sessions.sweep({ eventsBefore: cutMs })).toEqual([]);
      expect((await store.log.read(S, all)).map((e) => e.seq)).toEqual([3, 4]);
      expect(await store.log.floorOf(S)).toBe(2);
      await store.sessions.putCheckpoint(S, { seq: 4, json: '{}' });
      await store.sessions.sweep({ eventsBefore: cutMs });
      expect((await store.log.read(S, all)).map((e) => e.seq)).toEqual([4]);
      await store.sessions.sweep({ eventsBefore: cutMs + 1 });
      expect(await store.log.read(S, all)).toEqual([]);
      expect(await store.log.floorOf(S)).toBe(4);
      expect(await store.log.read('sesn_uncovered', all)).toHaveLength(2);
      expect(await store.log.floorOf('sesn_uncovered')).toBe(0);
      await store.close();
      store = await harness.reopen(() => nowMs);
      await fill(S, [anEvent(5)]);
    });

    it('answers a ping until it is closed', async () => {
      await store.sessions.ping();
      await store.sessions.close();
      await expect(store.sessions.ping()).rejects.toMatchObject({ reason: 'closed' });
      await expect(store.sessions.create(aRow(S))).rejects.toMatchObject({ reason: 'closed' });
      await store.close();
    });
  });
}
