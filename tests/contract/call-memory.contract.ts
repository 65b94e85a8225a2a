/** What every memory of direct tool calls must do, whatever it is made of. */
import type { Store, StoreHarness } from '../support/store-harness.js';

const KEY = { userId: 'ada', orgId: 'acme', key: 'k1' };
const CLAIM = { callId: 'cmd_1', bodyHash: 'h1' };
const DAY_MS = 24 * 3_600_000;

export function describeCallMemory(name: string, createHarness: () => StoreHarness): void {
  describe(`${name}: call memory`, () => {
    let harness: StoreHarness;
    let store: Store;
    let nowMs: number;

    beforeEach(async () => {
      harness = createHarness();
      nowMs = Date.UTC(2026, 0, 1);
      store = await harness.openFresh(() => nowMs);
    });
    afterEach(() => harness.dispose());

    it('[CMD-2] lets exactly one of many claims at once have the key', async () => {
      const claims = await Promise.all(
        Array.from({ length: 8 }, (_, n) => store.calls.claim(KEY, { callId: `cmd_${n}`, bodyHash: 'h1' })),
      );
      expect(claims.filter((known) => known === undefined)).toHaveLength(1);
      expect(new Set(claims.map((known) => known?.callId)).size).toBe(2);
    });

    it('[CMD-2] keeps the first answer, also when it is opened again', async () => {
      expect(await store.calls.claim(KEY, CLAIM)).toBeUndefined();
      expect(await store.calls.claim(KEY, { callId: 'cmd_2', bodyHash: 'h2' })).toEqual({
        ...CLAIM,
        answer: undefined,
      });
      await store.calls.settle(KEY, 'cmd_other', '"of another call"');
      await store.calls.settle(KEY, CLAIM.callId, '"first"');
      await store.calls.settle(KEY, CLAIM.callId, '"second"');
      await store.close();
      store = await harness.reopen(() => nowMs);
      expect(await store.calls.claim(KEY, CLAIM)).toEqual({ ...CLAIM, answer: '"first"' });
    });

    it('keeps users, orgs and keys apart', async () => {
      await store.calls.claim(KEY, CLAIM);
      for (const other of [{ userId: 'eve' }, { orgId: 'other' }, { key: 'k2' }])
        expect(await store.calls.claim({ ...KEY, ...other }, CLAIM)).toBeUndefined();
    });

    it('[CMD-2] gives a key free after 24 h, and not before', async () => {
      await store.calls.claim(KEY, CLAIM);
      await store.calls.settle(KEY, CLAIM.callId, '"first"');
      nowMs += DAY_MS - 1;
      expect(await store.calls.claim(KEY, CLAIM)).toMatchObject({ answer: '"first"' });
      nowMs += 1;
      expect(await store.calls.claim(KEY, { callId: 'cmd_2', bodyHash: 'h2' })).toBeUndefined();
      expect(await store.calls.claim(KEY, CLAIM)).toEqual({ callId: 'cmd_2', bodyHash: 'h2', answer: undefined });
    });
  });
}
