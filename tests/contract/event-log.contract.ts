/** What every event log must do, whatever it is made of. */
import { toDeltaRecord } from '../../server/core/log-record.js';
import type { LogUnavailable } from '../../server/ports/event-log.js';
import type { LogStore, StoreHarness } from '../support/store-harness.js';
import { aDelta, anAnswer, anEvent, aRow } from '../support/store-records.js';

const S = 'sesn_one';
const DAY_MS = 24 * 3_600_000;
const seqsOf = (records: readonly { seq: number }[]): number[] => records.map((r) => r.seq);
const reasonOf = (attempt: Promise<unknown>): Promise<LogUnavailable['reason'] | 'resolved'> =>
  attempt.then(
    () => 'resolved',
    (error: LogUnavailable) => error.reason,
  );

export function describeEventLog(name: string, createHarness: () => StoreHarness<LogStore>): void {
  describe(`${name}: event log`, () => {
    let harness: StoreHarness<LogStore>;
    let store: LogStore;
    let nowMs: number;

    beforeEach(async () => {
      harness = createHarness();
      nowMs = Date.UTC(2026, 0, 1);
      store = await harness.openFresh(() => nowMs);
      await store.sessions.create(aRow(S));
    });
    afterEach(() => harness.dispose());

    const all = { afterSeq: 0, limit: 1_000 };
    const claim = async (id = S): Promise<string> => {
      const lease = await store.leases.claim(id);
      if (lease === undefined) throw new Error('somebody else holds the lease');
      return lease.token;
    };

    it('[LOG-1] reads back what was appended, in order, byte for byte', async () => {
      const token = await claim();
      const first = anEvent(1, { type: 'user.message', text: '“quotes” \\ \u2028 😀' });
      await store.log.append({ sessionId: S, token, records: [first, anEvent(2, { turnId: 'turn_9' })] });
      await store.log.append({ sessionId: S, token, records: [anEvent(3)] });
      const events = await store.log.read(S, all);
      expect(seqsOf(events)).toEqual([1, 2, 3]);
      expect(events[0]).toEqual({ seq: 1, type: 'user.message', turnId: undefined, json: first.json });
      expect(events[1]?.turnId).toBe('turn_9');
    });

    it('[LOG-1] keeps the order of appends that were not awaited', async () => {
      const token = await claim();
      const appends = [];
      for (let seq = 1; seq <= 200; seq++) {
        const record = seq % 3 === 0 ? anEvent(seq) : aDelta(seq);
        appends.push(store.log.append({ sessionId: S, token, records: [record] }));
      }
      await Promise.all(appends);
      const events = seqsOf(await store.log.read(S, all));
      const deltas = seqsOf(await store.log.readDeltas(S, 0));
      expect(events).toEqual([...events].sort((a, b) => a - b));
      expect([...events, ...deltas].sort((a, b) => a - b)).toEqual(Array.from({ length: 200 }, (_, i) => i + 1));
    });

    it('pages forwards and backwards, and by type', async () => {
      const token = await claim();
      const records = Array.from({ length: 10 }, (_, i) =>
        anEvent(i + 1, { type: i % 2 === 0 ? 'agent.message' : 'turn.ended' }),
      );
      await store.log.append({ sessionId: S, token, records });
      expect(seqsOf(await store.log.read(S, { afterSeq: 3, limit: 2 }))).toEqual([4, 5]);
      expect(seqsOf(await store.log.read(S, { afterSeq: 0, limit: 3, order: 'desc' }))).toEqual([10, 9, 8]);
      expect(seqsOf(await store.log.read(S, { afterSeq: 8, limit: 2, order: 'desc' }))).toEqual([7, 6]);
      expect(seqsOf(await store.log.read(S, { ...all, afterSeq: 2, types: ['turn.ended'] }))).toEqual([4, 6, 8, 10]);
      expect(seqsOf(await store.log.read(S, { ...all, types: ['turn.ended'], order: 'desc', limit: 1 }))).toEqual([10]);
      expect(await store.log.read(S, { ...all, types: [] })).toEqual([]);
      expect(await store.log.read('sesn_unknown', all)).toEqual([]);
    });

    it('[NODE-3] refuses an append under an older token, and writes nothing of it', async () => {
      const old = await claim();
      const token = await claim();
      expect(await reasonOf(store.log.append({ sessionId: S, token: old, records: [anEvent(1)] }))).toBe('lease_lost');
      await store.log.append({ sessionId: S, token, records: [anEvent(1, { text: 'mine' })] });
      expect((await store.log.read(S, all)).map((e) => JSON.parse(e.json).text)).toEqual(['mine']);
    });

    it('[NODE-3] refuses it alone: appends of others in the same moment go through', async () => {
      await store.sessions.create(aRow('sesn_two'));
      const old = await claim();
      await claim();
      const token = await claim('sesn_two');
      const outcomes = await Promise.all([
        reasonOf(store.log.append({ sessionId: 'sesn_two', token, records: [anEvent(1)] })),
        reasonOf(store.log.append({ sessionId: S, token: old, records: [anEvent(1)] })),
        reasonOf(store.log.append({ sessionId: 'sesn_two', token, records: [anEvent(2)] })),
      ]);
      expect(outcomes).toEqual(['resolved', 'lease_lost', 'resolved']);
      expect(seqsOf(await store.log.read('sesn_two', all))).toEqual([1, 2]);
    });

    it('[LOG-1] writes what was queued before a claim, so that the new holder reads it', async () => {
      const old = await claim();
      const queued = store.log.append({ sessionId: S, token: old, records: [anEvent(1)] });
      const token = await claim();
      expect(seqsOf(await store.log.read(S, all))).toEqual([1]);
      await queued;
      await store.log.append({ sessionId: S, token, records: [anEvent(2)] });
      expect(seqsOf(await store.log.read(S, all))).toEqual([1, 2]);
    });

    it.each([
      ['a gap', [anEvent(1), anEvent(2)], [anEvent(4)]],
      ['a reuse', [anEvent(1), anEvent(2)], [anEvent(2)]],
      ['a gap within the append', [anEvent(1)], [anEvent(2), anEvent(4)]],
      ['a merged delta that reaches back', [aDelta(1), aDelta(2)], [{ ...aDelta(4), firstSeq: 2 }]],
    ])('[LOG-1] refuses %s, and everything after it until the session is claimed again', async (_, good, bad) => {
      let token = await claim();
      await store.log.append({ sessionId: S, token, records: good });
      const head = good.at(-1)?.seq ?? 0;
      expect(await reasonOf(store.log.append({ sessionId: S, token, records: bad }))).toBe('store_failed');
      const next = { sessionId: S, records: [anEvent(head + 1)] };
      expect(await reasonOf(store.log.append({ ...next, token }))).toBe('store_failed');
      token = await claim();
      await store.log.append({ ...next, token });
      const events = await store.log.read(S, all);
      expect(events.at(-1)?.seq).toBe(head + 1);
      expect(events).toHaveLength(good.filter((r) => r.kind === 'event').length + 1);
    });

    it('[CMD-2] keeps answers and row with their events: all of a refused append is missing', async () => {
      const token = await claim();
      const row = { status: 'running', unfinished: true, updatedAt: 2_000, json: '{"n":1}' } as const;
      const answer = anAnswer(S, { acceptedAt: nowMs });
      await store.log.append({ sessionId: S, token, records: [anEvent(1)], answers: [answer], row });
      expect(await store.log.findAnswer(answer)).toEqual(answer);
      expect(await store.sessions.get(S)).toMatchObject(row);

      const refused = anAnswer(S, { commandId: 'cmd-2', acceptedAt: nowMs });
      const bad = { sessionId: S, token, records: [anEvent(3)], answers: [refused], row: { ...row, json: '{"n":2}' } };
      await reasonOf(store.log.append(bad));
      expect(await store.log.findAnswer(refused)).toBeUndefined();
      expect((await store.sessions.get(S))?.json).toBe('{"n":1}');
    });

    it('[CMD-2] finds an answer for its own user, org, session and command only', async () => {
      const token = await claim();
      const answer = anAnswer(S, { acceptedAt: nowMs, appliedAtSeq: undefined });
      await store.log.append({ sessionId: S, token, records: [], answers: [answer] });
      expect(await store.log.findAnswer(answer)).toEqual(answer);
      for (const other of [{ userId: 'bob' }, { orgId: 'other' }, { commandId: 'cmd-9' }, { sessionId: 'sesn_x' }]) {
        expect(await store.log.findAnswer({ ...answer, ...other })).toBeUndefined();
      }
    });

    it('[CMD-2] repeats the first answer, and forgets it after 24 h', async () => {
      const token = await claim();
      const first = anAnswer(S, { acceptedAt: nowMs });
      await store.log.append({ sessionId: S, token, records: [], answers: [first] });
      await store.log.append({ sessionId: S, token, records: [], answers: [{ ...first, bodyHash: 'other' }] });
      expect((await store.log.findAnswer(first))?.bodyHash).toBe('hash-1');
      nowMs += DAY_MS - 1;
      expect(await store.log.findAnswer(first)).toBeDefined();
      nowMs += 1;
      expect(await store.log.findAnswer(first)).toBeUndefined();
      const again = { ...first, bodyHash: 'again', acceptedAt: nowMs };
      await store.log.append({ sessionId: S, token, records: [], answers: [again] });
      expect((await store.log.findAnswer(first))?.bodyHash).toBe('again');
    });

    it('[LOG-5] gives back deltas of every kind, and only those after the seq that is asked for', async () => {
      const token = await claim();
      const deltas = [
        aDelta(1, '"quoted" \\ \n \u2028 😀 \ud800'),
        toDeltaRecord(2, 'turn_1', 'sevt_1', 'text', 1, 'second block'),
        toDeltaRecord(3, 'turn_1', 'sevt_2', 'thinking', 0, 'hm'),
        toDeltaRecord(4, 'turn_1', 'sevt_3', 'input', 0, '{"a":'),
        { ...toDeltaRecord(7, 'turn_1', 'sevt_3', 'input', 0, '1}'), firstSeq: 5 },
      ];
      await store.log.append({ sessionId: S, token, records: deltas.slice(0, 3) });
      await store.log.append({ sessionId: S, token, records: deltas.slice(3) });
      expect(await store.log.readDeltas(S, 0)).toEqual(deltas);
      expect(await store.log.readDeltas(S, 2)).toEqual(deltas.slice(2));
      expect(await store.log.read(S, all)).toEqual([]);
    });

    it('[LOG-5] trims the deltas of one session, and not those of another in the same moment', async () => {
      await store.sessions.create(aRow('sesn_two'));
      const one = { sessionId: S, token: await claim() };
      const two = { sessionId: 'sesn_two', token: await claim('sesn_two') };
      await Promise.all([
        store.log.append({ ...one, records: [aDelta(1), aDelta(2)] }),
        store.log.append({ ...two, records: [aDelta(1), aDelta(2)] }),
      ]);
      await store.log.append({ ...one, records: [anEvent(3)] });
      await store.log.append({ ...one, records: [aDelta(4)] });
      store.log.trimDeltas(S, 3);
      expect(seqsOf(await store.log.readDeltas(S, 0))).toEqual([4]);
      expect(seqsOf(await store.log.readDeltas('sesn_two', 0))).toEqual([1, 2]);
    });

    it('[LOG-1] goes on after the last delta when the store is opened again, trimmed or not', async () => {
      let token = await claim();
      await store.log.append({ sessionId: S, token, records: [anEvent(1), aDelta(2), aDelta(3)] });
      store.log.trimDeltas(S, 3);
      await store.close();
      store = await harness.reopen();
      token = await claim();
      expect(await reasonOf(store.log.append({ sessionId: S, token, records: [anEvent(3)] }))).toBe('store_failed');
      token = await claim();
      await store.log.append({ sessionId: S, token, records: [anEvent(4)] });
    });

    it('[NODE-2] has everything when it is opened again', async () => {
      const token = await claim();
      const row = { status: 'running', unfinished: true, updatedAt: 2_000, json: '{}' } as const;
      const answer = anAnswer(S, { acceptedAt: Date.now() });
      const records = [anEvent(1), aDelta(2), aDelta(3)];
      await store.log.append({ sessionId: S, token, records, answers: [answer], row });
      const { epoch } = store.log;
      await store.close();
      store = await harness.reopen();
      expect(store.log.epoch).toBe(epoch);
      expect(seqsOf(await store.log.read(S, all))).toEqual([1]);
      expect(await store.log.readDeltas(S, 0)).toEqual(records.slice(1));
      expect(await store.log.readDeltas(S, 2)).toEqual(records.slice(2));
      expect(await store.log.findAnswer(answer)).toEqual(answer);
      expect(await store.sessions.unfinished()).toEqual([S]);
    });

    it('flushes what is pending when it is closed, and takes nothing more', async () => {
      const token = await claim();
      const pending = store.log.append({ sessionId: S, token, records: [anEvent(1), aDelta(2)] });
      const closed = store.close();
      expect(await reasonOf(store.log.append({ sessionId: S, token, records: [anEvent(3)] }))).toBe('closed');
      await Promise.all([pending, closed]);
      expect(await reasonOf(store.log.read(S, all))).toBe('closed');
      store = await harness.reopen();
      expect(seqsOf(await store.log.read(S, all))).toEqual([1]);
    });
  });
}
