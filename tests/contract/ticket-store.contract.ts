/** What every store of one-time tickets must do, on one node and on two. */
import type { TicketStore } from '../../server/ports/ticket-store.js';
import type { Identity } from '../../server/ports/token-verifier.js';

export interface TicketStoreHarness {
  /** Opens a store that holds nothing. */
  open(): Promise<TicketStore>;
  /** Another node on the store that is open; left out where only one may use it. */
  openSecondNode?(): Promise<TicketStore>;
  /** Resolves when so much time has passed by the store's clock. */
  pass(ms: number): Promise<void>;
  dispose(): Promise<void>;
}

const LIFE_MS = 30_000;
const SHORT_MS = 60;

const anIdentity = (userId = 'ada'): Identity => ({
  principal: { user_id: userId, org_id: 'acme', roles: ['analyst', 'näher'], key_id: 'ci' },
  expiresAt: Date.UTC(2040, 0, 1),
  issuedAt: Date.UTC(2026, 0, 1),
  credentialId: 'jti-1',
});

export function describeTicketStore(name: string, createHarness: () => TicketStoreHarness): void {
  describe(`${name}: tickets`, () => {
    let harness: TicketStoreHarness;
    let here: TicketStore;
    /** The other node, where there can be one. */
    let there: TicketStore;

    beforeEach(async () => {
      harness = createHarness();
      here = await harness.open();
      there = (await harness.openSecondNode?.()) ?? here;
    });
    afterEach(() => harness.dispose());

    it('[AUTH-1] gives what a ticket stands for, whole, once', async () => {
      await here.put('d1', anIdentity(), LIFE_MS);
      expect(await there.take('d1')).toEqual(anIdentity());
      expect(await there.take('d1')).toBeUndefined();
      expect(await here.take('d1')).toBeUndefined();
    });

    it('keeps an identity that says neither when it ends nor what it is named', async () => {
      const bare: Identity = { principal: { user_id: 'u', org_id: 'o', roles: [] }, expiresAt: undefined };
      await here.put('d1', bare, LIFE_MS);
      expect(await there.take('d1')).toEqual(bare);
    });

    it('[AUTH-1] lets exactly one of many at once have it', async () => {
      await here.put('d1', anIdentity(), LIFE_MS);
      const taken = await Promise.all(Array.from({ length: 32 }, (_, n) => (n % 2 === 0 ? here : there).take('d1')));
      expect(taken.filter((identity) => identity !== undefined)).toEqual([anIdentity()]);
    });

    it('knows nothing of a ticket that was never made', async () => {
      await here.put('d1', anIdentity(), LIFE_MS);
      expect(await there.take('d2')).toBeUndefined();
      expect(await there.take('d1')).toEqual(anIdentity());
    });

    it('keeps tickets apart', async () => {
      await Promise.all(['ada', 'bob', 'eve'].map((user) => here.put(`d-${user}`, anIdentity(user), LIFE_MS)));
      expect((await there.take('d-bob'))?.principal.user_id).toBe('bob');
      expect((await there.take('d-eve'))?.principal.user_id).toBe('eve');
      expect((await there.take('d-ada'))?.principal.user_id).toBe('ada');
    });

    it('[AUTH-1] ends it with its life', async () => {
      await here.put('short', anIdentity(), SHORT_MS);
      await here.put('long', anIdentity(), LIFE_MS);
      await harness.pass(SHORT_MS);
      expect(await there.take('short')).toBeUndefined();
      expect(await there.take('long')).toEqual(anIdentity());
    });
  });
}
