/** What every store of the directory must do: roles of users, revocations, and word of both to every node (TOOL-1). */
import {
  DIRECTORY_TIMES,
  type DirectoryChange,
  type DirectoryStore,
  type Following,
  type Revocation,
} from '../../server/ports/directory-store.js';

export interface DirectoryStoreHarness {
  /** Opens a store that holds nothing. */
  open(): Promise<DirectoryStore>;
  /** The store that is open, as after the death of the process that had it open. */
  reopen(): Promise<DirectoryStore>;
  /** Another node on the store that is open; left out where only one may use it. */
  openSecondNode?(): Promise<DirectoryStore>;
  /** Resolves when so much time has passed by the store's clock. */
  pass(ms: number): Promise<void>;
  dispose(): Promise<void>;
}

const ADA = { userId: 'ada', orgId: 'acme' };
const BOB = { userId: 'bob', orgId: 'acme' };
const USER: Omit<Revocation, 'at'> = { kind: 'revoked_user', orgId: 'acme', id: 'ada' };
const KEY: Omit<Revocation, 'at'> = { kind: 'revoked_key', orgId: 'acme', id: 'ci' };

/** What one node was told, and a way to wait for more. */
class Told {
  readonly changes: DirectoryChange[] = [];
  #wake: (() => void) | undefined;

  readonly hear = (change: DirectoryChange): void => {
    this.changes.push(change);
    this.#wake?.();
  };

  /** Resolves once it was told such a change; rejects where that takes longer than it may. */
  async until(matches: (change: DirectoryChange) => boolean): Promise<void> {
    const late = performance.now() + DIRECTORY_TIMES.staleMs;
    while (!this.changes.some(matches)) {
      const leftMs = late - performance.now();
      if (leftMs <= 0) throw new Error(`not told in time; told: ${JSON.stringify(this.changes)}`);
      await new Promise<void>((resolve) => {
        const timer = setTimeout(resolve, leftMs);
        this.#wake = () => {
          clearTimeout(timer);
          resolve();
        };
      });
    }
  }
}

const isRoles =
  (role: string) =>
  (change: DirectoryChange): boolean =>
    change.kind === 'roles' && change.roles[0] === role;

export function describeDirectoryStore(name: string, createHarness: () => DirectoryStoreHarness): void {
  describe(`${name}: directory`, () => {
    let harness: DirectoryStoreHarness;
    let here: DirectoryStore;
    /** The other node, where there can be one. */
    let there: DirectoryStore;
    let followings: Following[];

    beforeEach(async () => {
      harness = createHarness();
      here = await harness.open();
      there = (await harness.openSecondNode?.()) ?? here;
      followings = [];
    });
    afterEach(async () => {
      for (const following of followings) await following.close();
      await harness.dispose();
    });

    const follow = async (node: DirectoryStore): Promise<Told & { readonly following: Following }> => {
      const told = new Told();
      const following = await node.follow(told.hear);
      followings.push(following);
      return Object.assign(told, { following });
    };

    it('[TOOL-1] keeps the last roles of each user of each org, for every node', async () => {
      expect(await there.rolesOf(ADA)).toBeUndefined();
      await here.putRoles(ADA, { roles: ['analyst'], issuedAt: 7, credentialId: 'jti-1' });
      await there.putRoles(ADA, { roles: ['admin', 'näher'] });
      await here.putRoles(BOB, { roles: [], issuedAt: Date.UTC(2026, 0, 1), credentialId: 'ci' });
      // Nothing of the credential before stays.
      expect(await here.rolesOf(ADA)).toEqual({ roles: ['admin', 'näher'] });
      expect(await there.rolesOf(BOB)).toEqual({ roles: [], issuedAt: Date.UTC(2026, 0, 1), credentialId: 'ci' });
      expect(await there.rolesOf({ userId: 'ada', orgId: 'other' })).toBeUndefined();
    });

    it('does not take one user for another, whatever the names are made of', async () => {
      const twins = [
        { userId: 'b:c', orgId: 'a' },
        { userId: 'c', orgId: 'a:b' },
        { userId: 'c}', orgId: '{a' },
        { userId: '__proto__', orgId: 'a' },
      ];
      await Promise.all(twins.map((twin, n) => here.putRoles(twin, { roles: [`role-${n}`] })));
      for (const [n, twin] of twins.entries()) expect(await there.rolesOf(twin)).toEqual({ roles: [`role-${n}`] });
    });

    it('[TOOL-1] tells every node that follows of new roles, in their order', async () => {
      const [near, far] = [await follow(here), await follow(there)];
      for (const role of ['one', 'two', 'three'])
        await here.putRoles(ADA, { roles: [role], issuedAt: 7, credentialId: 'jti-1' });
      for (const told of [near, far]) {
        await told.until(isRoles('three'));
        const roles = told.changes.flatMap((change) => (change.kind === 'roles' ? change.roles : []));
        expect([...new Set(roles)]).toEqual(['one', 'two', 'three']);
        const first = { kind: 'roles', ...ADA, roles: ['one'], issuedAt: 7, credentialId: 'jti-1' };
        expect(told.changes[0]).toEqual(first);
      }
    });

    it('[TOOL-1] tells every node of a revocation in time, whichever made it', async () => {
      const [near, far] = [await follow(here), await follow(there)];
      const revocation = await there.revoke(USER);
      expect(revocation).toEqual({ ...USER, at: expect.any(Number) });
      for (const told of [near, far]) {
        await told.until((change) => change.kind === 'revoked_user');
        expect(told.changes[0]).toEqual(revocation);
        expect(told.following.isCurrent).toBe(true);
      }
    });

    it('tells who begins to follow of every revocation there is, before anything else', async () => {
      const made = [await here.revoke(USER), await here.revoke(KEY), await here.revoke({ ...USER, orgId: 'other' })];
      const late = await follow(there);
      const revoked = late.changes.filter((change) => change.kind !== 'roles');
      expect(revoked).toHaveLength(3);
      expect(revoked).toEqual(expect.arrayContaining(made));
      expect(late.following.isCurrent).toBe(true);
    });

    it('moves the time on when it revokes again, and tells once more', async () => {
      const told = await follow(there);
      const first = await here.revoke(USER);
      await harness.pass(5);
      const second = await here.revoke(USER);
      expect(second.at).toBeGreaterThan(first.at);
      await told.until((change) => change.kind === 'revoked_user' && change.at === second.at);
      const late = await follow(there);
      expect(late.changes.filter((change) => change.kind === 'revoked_user')).toEqual([second]);
    });

    it('keeps what was revoked and the roles when it is opened again', async () => {
      await here.putRoles(ADA, { roles: ['analyst'] });
      const revocation = await here.revoke(KEY);
      here = await harness.reopen();
      expect(await here.rolesOf(ADA)).toEqual({ roles: ['analyst'] });
      expect((await follow(here)).changes).toEqual([revocation]);
    });

    it('tells nothing more once it is no longer followed', async () => {
      const [gone, stays] = [await follow(there), await follow(there)];
      await gone.following.close();
      await here.putRoles(ADA, { roles: ['analyst'] });
      await stays.until(isRoles('analyst'));
      expect(gone.changes).toEqual([]);
    });

    it('tells a hundred changes of two nodes at once, none left out', async () => {
      const told = await follow(there);
      await Promise.all(
        Array.from({ length: 100 }, (_, n) => {
          const node = n % 2 === 0 ? here : there;
          return n % 5 === 0
            ? node.revoke({ ...KEY, id: `key-${n}` })
            : node.putRoles({ ...ADA, userId: `u${n}` }, { roles: ['r'] });
        }),
      );
      for (let n = 0; n < 100; n++)
        await told.until((change) =>
          n % 5 === 0
            ? change.kind === 'revoked_key' && change.id === `key-${n}`
            : change.kind === 'roles' && change.userId === `u${n}`,
        );
    });
  });
}
