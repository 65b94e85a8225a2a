/** The ledger's contract on the embedded store, and what the embedded one promises beyond it. */
import { openEmbeddedStore, type EmbeddedStore } from '../../server/adapters/embedded/index.js';
import { cpSync, mkdtempSync, rmSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { describeLedger, type LedgerHarness } from './ledger.contract.js';

/** A crash is a copy of the files as they are: what a killed process leaves behind. */
function createHarness(): LedgerHarness {
  const root = mkdtempSync(join(tmpdir(), 'midstream-ledger-'));
  const stores: EmbeddedStore[] = [];
  let runs = 0;
  const open = async (now: () => number, ledgerWaitMs: number) => {
    const dataDir = join(root, `${++runs}`);
    if (runs > 1) {
      // What was asked for is written by the next turn of the loop; a settlement resolves before.
      await stores.at(-1)?.sessions.putCheckpoint('none', { seq: 0, json: '' });
      cpSync(join(root, `${runs - 1}`), dataDir, { recursive: true });
    }
    const store = await openEmbeddedStore({ dataDir, fsync: 'off', now, ledgerWaitMs });
    stores.push(store);
    return store.ledger;
  };
  return {
    openFresh: open,
    reopen: open,
    async dispose() {
      for (const store of stores) await store.close();
      rmSync(root, { recursive: true, force: true });
    },
  };
}

describeLedger('embedded', createHarness);

it('refuses everything once it is closed, also to who waits', async () => {
  const dataDir = mkdtempSync(join(tmpdir(), 'midstream-ledger-'));
  const store = await openEmbeddedStore({ dataDir, fsync: 'off' });
  const request = {
    userId: 'u',
    orgId: 'o',
    sessionId: 's',
    turnId: 't',
    step: 1,
    attempt: 1,
    model: 'm',
    tags: [],
    amounts: { tokens: 10, nanoUsd: 0 },
    limits: [{ scope: 'user', window: 'day', unit: 'tokens', limit: 10 } as const],
  };
  expect((await store.ledger.reserve(request)).granted).toBe(true);
  const waiting = store.ledger.reserve(request);
  waiting.catch(() => undefined);
  await store.close();
  await expect(waiting).rejects.toMatchObject({ reason: 'closed' });
  await expect(store.ledger.reserve(request)).rejects.toMatchObject({ reason: 'closed' });
  rmSync(dataDir, { recursive: true, force: true });
});
