/** The node's view of the directory: on a store that a test makes fail, lag and speak for other nodes. */
import { silentLogger } from '../../server/adapters/winston/index.js';
import type {
  DirectoryChange,
  DirectoryStore,
  Revocation,
  SeenRoles,
  UserName,
} from '../../server/ports/directory-store.js';
import type { Identity } from '../../server/ports/token-verifier.js';
import { createCheckedVerifier } from '../../server/session/checked-verifier.js';
import { type Directory, openDirectory } from '../../server/session/directory.js';

const WHO = { user_id: 'ada', org_id: 'acme' };
const USER: UserName = { userId: 'ada', orgId: 'acme' };

const identity = (roles: string[], over: Partial<Identity> = {}, user_id = 'ada'): Identity => ({
  principal: { user_id, org_id: 'acme', roles },
  expiresAt: undefined,
  issuedAt: 1_000,
  credentialId: 'jti-1',
  ...over,
});

/** Its writes are done when the test says so; others' changes are told when the test says so. */
class HandStore implements DirectoryStore {
  readonly kept = new Map<string, SeenRoles>();
  readonly puts: { user: UserName; seen: SeenRoles; done: () => void; fail: () => void }[] = [];
  isCurrent = true;
  isAway = false;
  reads = 0;
  now = 5_000;
  tell: (change: DirectoryChange) => void = () => {};
  /** Before a read is answered. */
  onRead: () => void = () => {};

  putRoles(user: UserName, seen: SeenRoles): Promise<void> {
    return new Promise((resolve, reject) => {
      const done = (): void => {
        this.kept.set(user.userId, seen);
        this.tell({ kind: 'roles', ...user, ...seen });
        resolve();
      };
      this.puts.push({ user, seen, done, fail: () => reject(new Error('away')) });
    });
  }

  async rolesOf({ userId }: UserName): Promise<SeenRoles | undefined> {
    this.reads += 1;
    if (this.isAway) throw new Error('away');
    const found = this.kept.get(userId);
    await Promise.resolve();
    this.onRead();
    return found;
  }

  async revoke(revocation: Omit<Revocation, 'at'>): Promise<Revocation> {
    if (this.isAway) throw new Error('away');
    return { ...revocation, at: this.now };
  }

  async follow(onChange: (change: DirectoryChange) => void) {
    this.tell = onChange;
    const store = this;
    return {
      get isCurrent() {
        return store.isCurrent;
      },
      close: async () => {},
    };
  }
}

const settled = async (): Promise<void> => {
  for (let turn = 0; turn < 10; turn++) await Promise.resolve();
};

describe('the directory', () => {
  let store: HandStore;
  let directory: Directory;
  const open = (over: { maxUsers?: number } = {}): Promise<Directory> =>
    openDirectory({ store, logger: silentLogger, ...over });
  beforeEach(async () => {
    store = new HandStore();
    directory = await open();
  });

  it('[TOOL-1] knows the roles of the last credential at once, and waits for no write', () => {
    directory.saw(identity(['admin']));
    directory.saw(identity(['reader']));
    expect(directory.rolesOf(WHO)).toEqual(['reader']);
    expect(store.puts.map(({ seen }) => seen.roles)).toEqual([['admin'], ['reader']]);
  });

  it('writes only what changed', async () => {
    directory.saw(identity(['admin']));
    store.puts[0]?.done();
    await settled();
    directory.saw(identity(['admin']));
    expect(store.puts).toHaveLength(1);
    directory.saw(identity(['admin'], { credentialId: 'jti-2' }));
    directory.saw(identity(['admin'], { credentialId: 'jti-2', issuedAt: 2_000 }));
    expect(store.puts).toHaveLength(3);
  });

  it('tries a write that failed again when the user is seen again', async () => {
    directory.saw(identity(['admin']));
    store.puts[0]?.fail();
    await settled();
    expect(directory.rolesOf(WHO)).toEqual(['admin']);
    directory.saw(identity(['admin']));
    expect(store.puts).toHaveLength(2);
  });

  it('[TOOL-1] takes what another node saw', () => {
    directory.saw(identity(['admin']));
    store.puts[0]?.done();
    return settled().then(() => {
      store.tell({ kind: 'roles', ...USER, roles: ['reader'] });
      expect(directory.rolesOf(WHO)).toEqual(['reader']);
    });
  });

  it('[TOOL-1] does not bring taken roles back while older word of them is still on its way', async () => {
    directory.saw(identity(['admin']));
    directory.saw(identity(['reader']));
    store.puts[0]?.done();
    await settled();
    expect(directory.rolesOf(WHO)).toEqual(['reader']);
    store.puts[1]?.done();
    await settled();
    expect(directory.rolesOf(WHO)).toEqual(['reader']);
  });

  it('[TOOL-1] asks the store whose word was the last, where two nodes saw a user at once', async () => {
    directory.saw(identity(['admin']));
    store.tell({ kind: 'roles', ...USER, roles: ['reader'], issuedAt: 1_000 });
    expect(directory.rolesOf(WHO)).toEqual(['admin']);
    store.puts[0]?.done();
    store.kept.set('ada', { roles: ['reader'] });
    await settled();
    expect(directory.rolesOf(WHO)).toEqual(['reader']);
  });

  it('loads once what it does not know, and what was seen or told meanwhile is newer', async () => {
    store.kept.set('ada', { roles: ['old'] });
    const [first, second] = [directory.load(WHO), directory.load(WHO)];
    expect(second).toBe(first);
    await first;
    expect([store.reads, directory.load(WHO), directory.rolesOf(WHO)]).toEqual([1, undefined, ['old']]);
    store.kept.set('bob', { roles: ['old'] });
    store.onRead = () => store.tell({ kind: 'roles', userId: 'bob', orgId: 'acme', roles: ['told'] });
    await directory.load({ user_id: 'bob', org_id: 'acme' });
    expect(directory.rolesOf({ user_id: 'bob', org_id: 'acme' })).toEqual(['told']);
  });

  it('says that the store is away where it can’t load', async () => {
    store.isAway = true;
    await expect(directory.load(WHO)).rejects.toMatchObject({ code: 'store_unavailable' });
    expect(directory.rolesOf(WHO)).toEqual([]);
    await expect(directory.revoke({ kind: 'revoked_user', orgId: 'acme', id: 'ada' })).rejects.toMatchObject({
      code: 'store_unavailable',
    });
  });

  it('[TOOL-1] does not let who acts by an older credential bring its roles back', () => {
    directory.saw(identity(['reader']));
    directory.knows({ ...WHO, roles: ['admin'] });
    expect(directory.rolesOf(WHO)).toEqual(['reader']);
    directory.knows({ user_id: 'bob', org_id: 'acme', roles: ['clerk'] });
    expect(directory.rolesOf({ user_id: 'bob', org_id: 'acme' })).toEqual(['clerk']);
  });

  it('forgets who was not seen for the longest time, but nobody whom a turn needs', async () => {
    directory = await open({ maxUsers: 3 });
    directory.protect(() => [{ user_id: 'first', org_id: 'acme' }]);
    for (const user of ['first', 'second', 'third', 'fourth']) {
      directory.saw(identity([user], {}, user));
      store.puts.at(-1)?.done();
      await settled();
    }
    const known = ['first', 'second', 'third', 'fourth'].filter(
      (user_id) => directory.rolesOf({ user_id, org_id: 'acme' }).length > 0,
    );
    expect(known).toEqual(['first', 'third', 'fourth']);
    await directory.load({ user_id: 'second', org_id: 'acme' });
    expect(directory.rolesOf({ user_id: 'second', org_id: 'acme' })).toEqual(['second']);
  });

  describe('a revocation', () => {
    const cases: [string, Identity, boolean][] = [
      ['issued before it', identity([], { issuedAt: 4_999 }), true],
      ['issued in its very moment', identity([], { issuedAt: 5_000 }), true],
      ['issued after it', identity([], { issuedAt: 5_001 }), false],
      ['that does not say when it was issued', identity([], { issuedAt: undefined }), true],
      ['of another user', identity([], { issuedAt: 1 }, 'bob'), false],
      ['of another org', { ...identity([]), principal: { user_id: 'ada', org_id: 'other', roles: [] } }, false],
    ];
    it.each(cases)('of a user: a credential %s', (_, asked, isRevoked) => {
      store.tell({ kind: 'revoked_user', orgId: 'acme', id: 'ada', at: 5_000 });
      expect(directory.isRevoked(asked)).toBe(isRevoked);
    });

    it('of a key hits that one credential', () => {
      store.tell({ kind: 'revoked_key', orgId: 'acme', id: 'jti-1', at: 5_000 });
      expect(directory.isRevoked(identity([]))).toBe(true);
      expect(directory.isRevoked(identity([], { issuedAt: 5_001 }))).toBe(false);
      expect(directory.isRevoked(identity([], { credentialId: 'jti-2' }))).toBe(false);
      expect(directory.isRevoked(identity([], { credentialId: undefined }))).toBe(false);
      // A user of the same name is another thing.
      expect(directory.isRevoked(identity([], { credentialId: 'x' }, 'jti-1'))).toBe(false);
    });

    it('never moves back', () => {
      store.tell({ kind: 'revoked_user', orgId: 'acme', id: 'ada', at: 5_000 });
      store.tell({ kind: 'revoked_user', orgId: 'acme', id: 'ada', at: 10 });
      expect(directory.isRevoked(identity([], { issuedAt: 4_000 }))).toBe(true);
    });

    it('[TOOL-1] takes the roles away that its credential brought, until another brings some', async () => {
      directory.saw(identity(['admin']));
      store.tell({ kind: 'revoked_key', orgId: 'acme', id: 'jti-1', at: 5_000 });
      expect(directory.rolesOf(WHO)).toEqual([]);
      directory.knows({ ...WHO, roles: ['admin'] });
      expect(directory.rolesOf(WHO)).toEqual([]);
      directory.saw(identity(['reader'], { credentialId: 'jti-2' }));
      expect(directory.rolesOf(WHO)).toEqual(['reader']);
      store.tell({ kind: 'revoked_user', orgId: 'acme', id: 'ada', at: 6_000 });
      expect(directory.rolesOf(WHO)).toEqual([]);
    });

    it('[TOOL-1] takes away roles that are loaded later, and spares those of a later credential', async () => {
      store.tell({ kind: 'revoked_user', orgId: 'acme', id: 'ada', at: 5_000 });
      store.tell({ kind: 'revoked_user', orgId: 'acme', id: 'bob', at: 5_000 });
      store.kept.set('ada', { roles: ['admin'], issuedAt: 4_000 });
      store.kept.set('bob', { roles: ['admin'], issuedAt: 6_000 });
      await directory.load(WHO);
      await directory.load({ user_id: 'bob', org_id: 'acme' });
      expect(directory.rolesOf(WHO)).toEqual([]);
      expect(directory.rolesOf({ user_id: 'bob', org_id: 'acme' })).toEqual(['admin']);
    });

    it('is told to who listens, when it counts already', async () => {
      const heard: boolean[] = [];
      const end = directory.onRevoked(() => heard.push(directory.isRevoked(identity([]))));
      await directory.revoke({ kind: 'revoked_user', orgId: 'acme', id: 'ada' });
      expect(heard).toEqual([true]);
      end();
      store.now = 6_000;
      await directory.revoke({ kind: 'revoked_user', orgId: 'acme', id: 'ada' });
      expect(heard).toEqual([true]);
    });
  });

  describe('a verifier before it', () => {
    let given: Identity;
    const verify = () =>
      createCheckedVerifier({ required: true, verify: async () => given }, directory).verify('a credential');
    beforeEach(() => {
      given = identity(['admin']);
    });

    it('[TOOL-1] lets in who is not revoked, and notes the roles', async () => {
      expect(await verify()).toBe(given);
      expect(directory.rolesOf(WHO)).toEqual(['admin']);
    });

    it('[AUTH-1] refuses who is revoked, and notes nothing', async () => {
      store.tell({ kind: 'revoked_user', orgId: 'acme', id: 'ada', at: 5_000 });
      await expect(verify()).rejects.toMatchObject({ code: 'unauthenticated', message: 'The credential was revoked' });
      expect(store.puts).toEqual([]);
    });

    it('refuses everybody while nobody can say who was revoked', async () => {
      store.isCurrent = false;
      await expect(verify()).rejects.toMatchObject({ code: 'store_unavailable' });
      store.isCurrent = true;
      expect(await verify()).toBe(given);
    });
  });
});
