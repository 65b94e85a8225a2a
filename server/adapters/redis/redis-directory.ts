/** The directory on Redis: changes under versions, read by every node; a message wakes readers and never feeds them. */
import {
  DIRECTORY_TIMES,
  type DirectoryChange,
  type DirectoryStore,
  type Following,
  type Revocation,
  type SeenRoles,
  type UserName,
} from '../../ports/directory-store.js';
import type { Logger } from '../../ports/logger.js';
import { DirectoryFollower } from './directory-follower.js';
import { keys } from './keys.js';
import type { RedisConnection } from './redis-connection.js';

const KEPT_CHANGES = 10_000;
const { directoryRoles: ROLES, directoryRevocations: REVOCATIONS } = keys;
const { directoryChanges: CHANGES, directoryVersion: VERSION, directoryChannel: CHANNEL } = keys;

export class RedisDirectory implements DirectoryStore {
  constructor(
    private readonly redis: RedisConnection,
    private readonly logger: Logger | undefined,
  ) {}

  async putRoles({ userId, orgId }: UserName, { roles, issuedAt, credentialId }: SeenRoles): Promise<void> {
    const seen: SeenRoles = { roles, issuedAt, credentialId };
    const change: DirectoryChange = { kind: 'roles', userId, orgId, ...seen };
    const args = [JSON.stringify([orgId, userId]), JSON.stringify(seen), JSON.stringify(change), KEPT_CHANGES];
    await this.redis.run('directory-put', [ROLES, CHANGES, VERSION], args);
    this.#wake();
  }

  async rolesOf({ userId, orgId }: UserName): Promise<SeenRoles | undefined> {
    const json = await this.redis.do((client) => client.hget(ROLES, JSON.stringify([orgId, userId])));
    return json === null ? undefined : (JSON.parse(json) as SeenRoles);
  }

  async revoke({ kind, orgId, id }: Omit<Revocation, 'at'>): Promise<Revocation> {
    const args = [JSON.stringify([kind, orgId, id]), KEPT_CHANGES];
    const at = await this.redis.run('directory-revoke', [REVOCATIONS, CHANGES, VERSION], args);
    this.#wake();
    return { kind, orgId, id, at: Number(at) };
  }

  follow(onChange: (change: DirectoryChange) => void): Promise<Following> {
    const { redis, logger } = this;
    return DirectoryFollower.start({ redis, logger, onChange, staleMs: DIRECTORY_TIMES.staleMs });
  }

  /** Not waited for: who misses it reads soon. */
  #wake(): void {
    this.redis.do((client) => client.publish(CHANNEL, '')).catch(() => undefined);
  }
}
