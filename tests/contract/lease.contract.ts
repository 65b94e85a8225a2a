/** What every adapter of leases must do: one writer at a time, proven by the token that the append checks. */
import type { LogStore, StoreHarness } from '../support/store-harness.js';
import { anEvent, aRow } from '../support/store-records.js';

const S = 'sesn_one';

export function describeLeases(name: string, createHarness: () => StoreHarness<LogStore>): void {
  describe(`${name}: leases`, () => {
    let harness: StoreHarness<LogStore>;
    let store: LogStore;

    beforeEach(async () => {
      harness = createHarness();
      store = await harness.openFresh();
      await store.sessions.create(aRow(S));
    });
    afterEach(() => harness.dispose());

    const append = (token: string, seq: number) => store.log.append({ sessionId: S, token, records: [anEvent(seq)] });

    it('gives a new token for each claim, also when the store is opened again', async () => {
      const tokens = new Set<string>();
      for (let run = 0; run < 2; run++) {
        for (const id of [S, S, 'sesn_other']) tokens.add((await store.leases.claim(id))?.token ?? '');
        await store.close();
        store = await harness.reopen();
      }
      tokens.delete('');
      expect(tokens.size).toBe(6);
    });

    it('lets the last of several claims at once write, and no other', async () => {
      const leases = await Promise.all([1, 2, 3].map(() => store.leases.claim(S)));
      const tokens = leases.map((lease) => lease?.token ?? '');
      await expect(append(tokens[0] as string, 1)).rejects.toMatchObject({ reason: 'lease_lost' });
      await expect(append(tokens[1] as string, 1)).rejects.toMatchObject({ reason: 'lease_lost' });
      await append(tokens[2] as string, 1);
    });

    it('[NODE-3] refuses an append after the release, but writes what was queued before it', async () => {
      const lease = await store.leases.claim(S);
      if (lease === undefined) throw new Error('not claimed');
      const queued = append(lease.token, 1);
      const released = store.leases.release(S, lease);
      await expect(append(lease.token, 2)).rejects.toMatchObject({ reason: 'lease_lost' });
      await Promise.all([queued, released]);
      const next = await store.leases.claim(S);
      await append(next?.token ?? '', 2);
      expect((await store.log.read(S, { afterSeq: 0, limit: 10 })).map((e) => e.seq)).toEqual([1, 2]);
    });

    it('ignores the release of a lease that is not the current one', async () => {
      const old = await store.leases.claim(S);
      const current = await store.leases.claim(S);
      if (old === undefined) throw new Error('not claimed');
      await store.leases.release(S, old);
      await append(current?.token ?? '', 1);
    });

    it('[NODE-3] refuses a token of an earlier run of the server', async () => {
      const lease = await store.leases.claim(S);
      await store.close();
      store = await harness.reopen();
      await store.leases.claim(S);
      await expect(append(lease?.token ?? '', 1)).rejects.toMatchObject({ reason: 'lease_lost' });
    });

    const probe = createHarness();
    if (probe.openSecondNode !== undefined) {
      it('gives nothing to a second node while the first one holds it', async () => {
        const other = await harness.openSecondNode?.();
        const lease = await store.leases.claim(S);
        if (lease === undefined || other === undefined) throw new Error('not claimed');
        expect(await other.leases.claim(S)).toBeUndefined();
        await store.leases.release(S, lease);
        expect(await other.leases.claim(S)).toBeDefined();
      });
    }
  });
}
