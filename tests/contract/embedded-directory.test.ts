/** The contracts of tickets and of the directory on the embedded store, and what it promises beyond them. */
import type { EmbeddedStore } from '../../server/adapters/embedded/index.js';
import { MemoryTickets } from '../../server/adapters/embedded/memory-tickets.js';
import type { Identity } from '../../server/ports/token-verifier.js';
import { StoreDirectory } from '../support/store-directory.js';
import { describeDirectoryStore } from './directory-store.contract.js';
import { describeTicketStore } from './ticket-store.contract.js';

const IDENTITY: Identity = { principal: { user_id: 'u', org_id: 'o', roles: [] }, expiresAt: undefined };

function createHarness() {
  const directory = new StoreDirectory();
  let now = Date.UTC(2026, 0, 1);
  let store: EmbeddedStore | undefined;
  const open = async (): Promise<EmbeddedStore> => {
    await store?.close();
    store = await directory.open({ now: () => now });
    return store;
  };
  return {
    open,
    pass: async (ms: number) => {
      now += ms;
    },
    dispose: () => directory.dispose(),
  };
}

describeTicketStore('embedded', () => {
  const harness = createHarness();
  return { ...harness, open: async () => (await harness.open()).tickets };
});

describeDirectoryStore('embedded', () => {
  const harness = createHarness();
  const open = async () => (await harness.open()).directory;
  return { ...harness, open, reopen: open };
});

describe('embedded tickets', () => {
  it('refuses more than it may hold, and takes more once some have ended', async () => {
    let now = 0;
    const tickets = new MemoryTickets(() => now, 3);
    await tickets.put('long', IDENTITY, 1_000);
    await tickets.put('short', IDENTITY, 10);
    await tickets.put('used', IDENTITY, 1_000);
    await expect(tickets.put('d4', IDENTITY, 1_000)).rejects.toMatchObject({ code: 'overloaded', retryAfterMs: 1_000 });
    await tickets.take('used');
    await tickets.put('d5', IDENTITY, 1_000);
    await expect(tickets.put('d6', IDENTITY, 1_000)).rejects.toMatchObject({ code: 'overloaded' });
    now += 10;
    await tickets.put('d7', IDENTITY, 1_000);
    expect(await tickets.take('long')).toEqual(IDENTITY);
  });
});

describe('the embedded directory', () => {
  it('[TOOL-1] does not bring credentials to life again when the clock jumps back', async () => {
    const directory = new StoreDirectory();
    let now = 1_000_000;
    const store = await directory.open({ now: () => now });
    const revocation = { kind: 'revoked_user', orgId: 'o', id: 'u' } as const;
    expect((await store.directory.revoke(revocation)).at).toBe(1_000_000);
    now -= 60_000;
    expect((await store.directory.revoke(revocation)).at).toBe(1_000_000);
    await directory.dispose();
  });
});
