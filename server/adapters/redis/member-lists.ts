/**
 * Which sessions a user is a member of. The lists are under other tags than the sessions, so they may name too many,
 * never too few: a session is listed before its row names the member, and whoever reads a list asks the rows.
 */
import { keys } from './keys.js';
import type { SessionHold } from './session-holds.js';
import type { StoreDoor } from './store-door.js';

export class MemberLists {
  readonly #door: StoreDoor;

  constructor(door: StoreDoor) {
    this.#door = door;
  }

  /** To be done before the row says so. Resolves with what takes those off who are none any more, for afterwards. */
  async add(hold: SessionHold, memberIds: readonly string[]): Promise<() => Promise<void>> {
    hold.memberIds = memberIds;
    const { sessionId } = hold;
    const [orgId, owner, created, members] = await this.#door.do((redis) =>
      redis.do((client) => client.hmget(keys.session(sessionId), 'org', 'user', 'created', 'members')),
    );
    if (typeof orgId !== 'string' || typeof owner !== 'string') return async () => undefined;
    const before = toMemberIds(owner, members);
    await this.#each(orgId, memberIds, (key, client) => client.zadd(key, 'NX', Number(created), sessionId));
    return async () => {
      // Who was made a member again meanwhile stays.
      const gone = before.filter((userId) => !hold.memberIds?.includes(userId));
      await this.#each(orgId, gone, (key, client) => client.zrem(key, sessionId));
    };
  }

  async remove(orgId: string, memberIds: readonly string[], sessionId: string): Promise<void> {
    await this.#each(orgId, memberIds, (key, client) => client.zrem(key, sessionId));
  }

  async #each(
    orgId: string,
    userIds: readonly string[],
    change: (key: string, client: StoreDoor['redis']['client']) => Promise<unknown>,
  ): Promise<void> {
    await this.#door.do((redis) =>
      redis.do((client) =>
        Promise.all(userIds.map((userId) => change(keys.memberSessions({ orgId, userId }), client))),
      ),
    );
  }
}

/** A row that never said who its members are has the one who made it. */
export const toMemberIds = (owner: string, members: unknown): readonly string[] =>
  typeof members === 'string' ? (JSON.parse(members) as string[]) : [owner];
