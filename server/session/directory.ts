/** The node's view of the directory: the roles of the last credential verified for each user, unless it was revoked (TOOL-1). */
import { MidstreamError, type Principal } from '../../protocol/index.js';
import type {
  DirectoryChange,
  DirectoryStore,
  Following,
  Revocation,
  RolesChange,
  SeenRoles,
  UserName,
} from '../ports/directory-store.js';
import type { Logger } from '../ports/logger.js';
import type { RevokedCredentials } from '../ports/revoked-credentials.js';
import type { Identity } from '../ports/token-verifier.js';
import { RevocationBook } from './revocation-book.js';

export type Who = Pick<Principal, 'user_id' | 'org_id'>;

export interface Directory extends RevokedCredentials {
  /** A credential was verified just now. Kept at once; written to the store where it changed, which nobody waits for. */
  saw(identity: Identity): void;
  /** Somebody acts whose credential was verified some time ago: what was seen since stands. */
  knows(principal: Principal): void;
  /** `knows`, after what the store knows of them was brought; undefined where that was here. Rejects as `load` does. */
  meet(principal: Principal): Promise<void> | undefined;
  /**
   * Brings from the store what this node doesn't know; undefined where it knows. Rejects with `store_unavailable`. Must
   * have been called for who takes part in a turn before `rolesOf` decides about it.
   */
  load(who: Who): Promise<void> | undefined;
  /** None where the credential that named them was revoked. */
  rolesOf(who: Who): readonly string[];
  /** Names those who must not be forgotten, whoever else comes: those of turns that run or wait here. */
  protect(needed: () => Iterable<Who>): void;
  /** False while the store can't say who was revoked: then nobody may do what a revocation would forbid. */
  readonly isCurrent: boolean;
  /** Durable when it resolves, and known here. Rejects with `store_unavailable`. */
  revoke(revocation: Omit<Revocation, 'at'>): Promise<Revocation>;
  close(): Promise<void>;
}

export interface DirectoryOptions {
  readonly store: DirectoryStore;
  readonly logger: Logger;
  /** Who needs no credential: their roles are always these. */
  readonly known?: readonly Principal[];
  /** How many users are remembered; the others are in the store. */
  readonly maxUsers?: number;
}

const DEFAULT_MAX_USERS = 50_000;
/** How much of them is forgotten at a time, so that it is not done at each request. */
const FORGET_SHARE = 0.1;

interface Entry {
  seen: SeenRoles;
  /** Whether the store has been given it. */
  isStored: boolean;
  /** Writes under way. */
  writing: number;
  /** Another node was heard of meanwhile: whose word was the last, only the store can tell. */
  isDoubtful: boolean;
}

/** Follows the store. Rejects where it can't be reached. */
export async function openDirectory(options: DirectoryOptions): Promise<Directory> {
  const directory = new NodeDirectory(options.known ?? [], options);
  await directory.follow();
  return directory;
}

/** Without a store: what is known ends with the process. */
export function createDirectory(known: readonly Principal[] = []): Directory {
  return new NodeDirectory(known, undefined);
}

class NodeDirectory implements Directory {
  readonly #fixed: ReadonlyMap<string, readonly string[]>;
  readonly #options: DirectoryOptions | undefined;
  /** The least recently seen first. */
  readonly #users = new Map<string, Entry>();
  readonly #loading = new Map<string, Promise<void>>();
  readonly #book = new RevocationBook();
  readonly #needed: (() => Iterable<Who>)[] = [];
  #following: Following | undefined;

  constructor(known: readonly Principal[], options: DirectoryOptions | undefined) {
    this.#fixed = new Map(known.map((principal) => [toKey(principal), principal.roles]));
    this.#options = options;
  }

  async follow(): Promise<void> {
    this.#following = await this.#options?.store.follow((change) => this.#told(change));
  }

  saw({ principal, issuedAt, credentialId }: Identity): void {
    const key = toKey(principal);
    const seen: SeenRoles = { roles: principal.roles, issuedAt, credentialId };
    const entry = this.#users.get(key);
    if (entry === undefined) {
      this.#remember(key, seen);
    } else {
      this.#users.delete(key);
      this.#users.set(key, entry);
      if (entry.isStored && isSame(entry.seen, seen)) return;
      entry.seen = seen;
    }
    void this.#write(key, toUser(principal));
  }

  meet(principal: Principal): Promise<void> | undefined {
    const loading = this.load(principal)?.then(() => this.knows(principal));
    if (loading === undefined) this.knows(principal);
    return loading;
  }

  knows(principal: Principal): void {
    const key = toKey(principal);
    if (!this.#users.has(key)) this.#remember(key, { roles: principal.roles, credentialId: principal.key_id });
  }

  load(who: Who): Promise<void> | undefined {
    const key = toKey(who);
    const store = this.#options?.store;
    if (store === undefined || this.#users.has(key) || this.#fixed.has(key)) return undefined;
    let loading = this.#loading.get(key);
    if (loading === undefined) {
      loading = this.#load(store, key, toUser(who)).finally(() => this.#loading.delete(key));
      this.#loading.set(key, loading);
    }
    return loading;
  }

  rolesOf(who: Who): readonly string[] {
    const key = toKey(who);
    const fixed = this.#fixed.get(key);
    if (fixed !== undefined) return fixed;
    const seen = this.#users.get(key)?.seen;
    return seen === undefined || this.#book.isRevoked({ principal: who, ...seen }) ? NONE : seen.roles;
  }

  protect(needed: () => Iterable<Who>): void {
    this.#needed.push(needed);
  }

  get isCurrent(): boolean {
    return this.#options === undefined || this.#following?.isCurrent === true;
  }

  isRevoked(identity: Identity): boolean {
    return this.#book.isRevoked(identity);
  }

  onRevoked(listener: () => void): () => void {
    return this.#book.onRevoked(listener);
  }

  async revoke(asked: Omit<Revocation, 'at'>): Promise<Revocation> {
    const { store, logger } = this.#options ?? {};
    try {
      if (store === undefined) throw new Error('There is no store');
      const revocation = await store.revoke(asked);
      this.#book.add(revocation);
      return revocation;
    } catch (cause) {
      logger?.error('a revocation could not be kept', { error: cause });
      throw Object.assign(new MidstreamError('store_unavailable'), { cause });
    }
  }

  async close(): Promise<void> {
    await this.#following?.close();
  }

  #told(change: DirectoryChange): void {
    if (change.kind === 'roles') this.#toldRoles(change);
    else this.#book.add(change);
  }

  #toldRoles({ userId, orgId, roles, issuedAt, credentialId }: RolesChange): void {
    const key = toKey({ user_id: userId, org_id: orgId });
    const seen: SeenRoles = { roles, issuedAt, credentialId };
    const entry = this.#users.get(key);
    if (entry === undefined) {
      // Of others nothing is kept here; who is being loaded may be loaded as they were before.
      if (this.#loading.has(key)) this.#remember(key, seen).isStored = true;
    } else if (entry.writing > 0) {
      if (!isSame(entry.seen, seen)) entry.isDoubtful = true;
    } else {
      Object.assign(entry, { seen, isStored: true });
    }
  }

  async #load(store: DirectoryStore, key: string, user: UserName): Promise<void> {
    const seen = await store.rolesOf(user).catch((cause: unknown) => {
      this.#options?.logger.warn('the roles of a user could not be read', { error: cause });
      throw Object.assign(new MidstreamError('store_unavailable'), { cause });
    });
    // What was seen or told meanwhile is newer.
    if (seen !== undefined && !this.#users.has(key)) this.#remember(key, seen).isStored = true;
  }

  async #write(key: string, user: UserName): Promise<void> {
    const { store, logger } = this.#options ?? {};
    const entry = this.#users.get(key);
    if (store === undefined || logger === undefined || entry === undefined) return;
    const { seen } = entry;
    entry.isStored = true;
    entry.writing += 1;
    try {
      await store.putRoles(user, seen);
    } catch (error) {
      entry.isStored = false;
      logger.warn('the roles of a user could not be kept; they are tried again when they are seen again', { error });
    }
    entry.writing -= 1;
    if (entry.writing === 0 && entry.isDoubtful) await this.#readAgain(store, entry, user);
  }

  /** Two nodes saw this user at once; the one that the store heard last is right. */
  async #readAgain(store: DirectoryStore, entry: Entry, user: UserName): Promise<void> {
    entry.isDoubtful = false;
    const before = entry.seen;
    try {
      const seen = await store.rolesOf(user);
      if (seen !== undefined && entry.seen === before) entry.seen = seen;
    } catch {
      entry.isStored = false;
    }
  }

  #remember(key: string, seen: SeenRoles): Entry {
    const entry: Entry = { seen, isStored: false, writing: 0, isDoubtful: false };
    this.#users.set(key, entry);
    if (this.#users.size > (this.#options?.maxUsers ?? DEFAULT_MAX_USERS)) this.#forget();
    return entry;
  }

  #forget(): void {
    const needed = new Set<string>();
    for (const list of this.#needed) for (const who of list()) needed.add(toKey(who));
    let count = Math.ceil(this.#users.size * FORGET_SHARE);
    for (const [key, { writing }] of this.#users) {
      if (count === 0) return;
      if (needed.has(key) || writing > 0) continue;
      this.#users.delete(key);
      count -= 1;
    }
  }
}

const NONE: readonly string[] = [];

const toKey = ({ user_id, org_id }: Who): string => `${org_id}\n${user_id}`;
const toUser = ({ user_id, org_id }: Who): UserName => ({ userId: user_id, orgId: org_id });

const isSame = (a: SeenRoles, b: SeenRoles): boolean =>
  a.issuedAt === b.issuedAt &&
  a.credentialId === b.credentialId &&
  a.roles.length === b.roles.length &&
  a.roles.every((role, at) => role === b.roles[at]);
