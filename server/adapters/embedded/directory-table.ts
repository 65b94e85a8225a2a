/** The directory on SQLite: the roles of users, and what was revoked; told to whoever follows once it is durable. */
import type {
  DirectoryChange,
  DirectoryStore,
  Following,
  Revocation,
  SeenRoles,
  UserName,
} from '../../ports/directory-store.js';
import type { Database, Statement } from './database.js';
import type { GroupCommit } from './group-commit.js';

type RevocationRow = [kind: Revocation['kind'], orgId: string, id: string, at: number];

export class DirectoryTable implements DirectoryStore {
  readonly #commits: GroupCommit;
  readonly #now: () => number;
  readonly #followers = new Set<(change: DirectoryChange) => void>();
  readonly #putRoles: Statement;
  readonly #rolesOf: Statement<[seen: string]>;
  readonly #revoke: Statement<[at: number]>;
  readonly #revocations: Statement<RevocationRow>;

  constructor(database: Database, commits: GroupCommit, now: () => number) {
    this.#commits = commits;
    this.#now = now;
    this.#putRoles = database.prepare(
      'INSERT OR REPLACE INTO directory_roles (org_id, user_id, seen) VALUES (?, ?, ?)',
    );
    this.#rolesOf = database.prepare('SELECT seen FROM directory_roles WHERE org_id = ? AND user_id = ?');
    // Never back: a clock that jumped must not bring credentials to life again.
    this.#revoke = database.prepare(
      `INSERT INTO revocations (org_id, kind, id, at) VALUES (?, ?, ?, ?)
       ON CONFLICT (org_id, kind, id) DO UPDATE SET at = max(at, excluded.at) RETURNING at`,
    );
    this.#revocations = database.prepare('SELECT kind, org_id, id, at FROM revocations');
  }

  async putRoles({ userId, orgId }: UserName, { roles, issuedAt, credentialId }: SeenRoles): Promise<void> {
    const seen: SeenRoles = { roles, issuedAt, credentialId };
    await this.#commits.run(() => this.#putRoles.run(orgId, userId, JSON.stringify(seen)), 'relaxed');
    this.#tell({ kind: 'roles', userId, orgId, ...seen });
  }

  async rolesOf({ userId, orgId }: UserName): Promise<SeenRoles | undefined> {
    const row = this.#rolesOf.first(orgId, userId);
    return row && (JSON.parse(row[0]) as SeenRoles);
  }

  async revoke({ kind, orgId, id }: Omit<Revocation, 'at'>): Promise<Revocation> {
    const row = await this.#commits.run(() => this.#revoke.first(orgId, kind, id, this.#now()));
    if (row === undefined) throw new Error('A revocation was written and is not there');
    const revocation = { kind, orgId, id, at: row[0] };
    this.#tell(revocation);
    return revocation;
  }

  async follow(onChange: (change: DirectoryChange) => void): Promise<Following> {
    // A function of its own: the same one may follow twice.
    const follower = (change: DirectoryChange): void => onChange(change);
    this.#followers.add(follower);
    for (const [kind, orgId, id, at] of this.#revocations.all()) onChange({ kind, orgId, id, at });
    return {
      // There is no other node, and what is accepted here was told here.
      isCurrent: true,
      close: async () => void this.#followers.delete(follower),
    };
  }

  #tell(change: DirectoryChange): void {
    for (const follower of this.#followers) follower(change);
  }
}
