/** The ledger's contract on the embedded store, and what the embedded one promises beyond it. */
import { cpSync, mkdtempSync, rmSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { NO_USAGE } from '../../protocol/index.js';
import { Database } from '../../server/adapters/embedded/database.js';
import { type EmbeddedStore, openEmbeddedStore } from '../../server/adapters/embedded/index.js';
import { LedgerTable } from '../../server/adapters/embedded/ledger-table.js';
import { windowsAt } from '../../server/core/budget-math.js';
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

it('[BUD-2] counts a record once, however often it is written', () => {
  const dataDir = mkdtempSync(join(tmpdir(), 'midstream-ledger-'));
  const database = Database.open(dataDir, undefined);
  const table = new LedgerTable(database);
  const at = Date.UTC(2026, 0, 1);
  const who = { userId: 'u', orgId: 'o' };
  const windows = windowsAt(at, who);
  const hold = {
    ...who,
    ...{ id: 'h', sessionId: 's', turnId: 't', step: 1, attempt: 1, model: 'm', tags: [], limits: [], owner: 'n' },
    ...{ amounts: { tokens: 10, nanoUsd: 0 }, windows, heldAt: at, leaseExpiresAt: at },
  };
  const settlement = { usage: { ...NO_USAGE, input_tokens: 4 }, estimated: false, costNanoUsd: 6 };
  for (let time = 0; time < 2; time++) database.transaction(() => table.settle({ hold, settlement, warned: [] }));
  for (const { key } of windows) expect(table.window(key).used).toEqual({ tokens: 4, nanoUsd: 6 });
  database.close();
  rmSync(dataDir, { recursive: true, force: true });
});
