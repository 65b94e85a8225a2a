/** What all nodes must know of users: the roles of their last credential, and which credentials were revoked (TOOL-1). */

export interface UserName {
  readonly userId: string;
  readonly orgId: string;
}

/** Roles, and what is known of the credential that named them: whatever revokes it takes them away. */
export interface SeenRoles {
  readonly roles: readonly string[];
  /** As in `Identity`. */
  readonly issuedAt?: number | undefined;
  readonly credentialId?: string | undefined;
}

export interface RolesChange extends UserName, SeenRoles {
  readonly kind: 'roles';
}

export interface Revocation {
  readonly kind: 'revoked_user' | 'revoked_key';
  readonly orgId: string;
  /** The user's, or the credential's. */
  readonly id: string;
  /** Credentials issued at or before this are dead; milliseconds since 1970, by the store's clock. */
  readonly at: number;
}

export type DirectoryChange = RolesChange | Revocation;

export interface Following {
  /**
   * Whether everything that was accepted on any node more than `DIRECTORY_TIMES.staleMs` ago has been told here. False
   * while the store is away: then nobody can say who was revoked.
   */
  readonly isCurrent: boolean;
  close(): Promise<void>;
}

export interface DirectoryStore {
  /** The last call, of all nodes, stands. Rejects where the store can't be reached. */
  putRoles(user: UserName, seen: SeenRoles): Promise<void>;
  /** Undefined where this user was never seen. Rejects where the store can't be reached. */
  rolesOf(user: UserName): Promise<SeenRoles | undefined>;
  /**
   * Durable when it resolves, and then told to every node that follows within `DIRECTORY_TIMES.staleMs`. Revoking again
   * moves `at` on. Rejects where the store can't be reached.
   */
  revoke(revocation: Omit<Revocation, 'at'>): Promise<Revocation>;
  /**
   * Tells every revocation there is, before it resolves; from then on every change that any node makes, in the order of
   * the store, at least once. Rejects where the store can't be reached.
   */
  follow(onChange: (change: DirectoryChange) => void): Promise<Following>;
}

/** How long a change may be on its way, in milliseconds. */
export const DIRECTORY_TIMES = { staleMs: 1_000 } as const;
