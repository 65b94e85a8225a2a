/** What is removed, by whom and by retention: a session under its tag first, then where it is listed. */
import { sessionKeys } from './append-batch.js';
import type { ChangeNotes } from './change-notes.js';
import { slotOf } from './key-slot.js';
import { keys } from './keys.js';
import { type MemberLists, toMemberIds } from './member-lists.js';
import type { StoreDoor } from './store-door.js';

const SHARES = 16;
const SESSIONS_AT_ONCE = 100;
const EVENTS_PER_SLICE = 500;

type Removal = ['removed' | 'kept', user: string, org: string, updated: string, members: string] | null;

/** All sessions, in shares, so that no key has them all. A session is listed before it is made. */
export const shareOf = (sessionId: string): string => keys.sessionShare(slotOf(sessionId) % SHARES);

export interface SessionSweepDeps {
  readonly door: StoreDoor;
  readonly members: MemberLists;
  readonly notes: ChangeNotes;
  readonly nodeId: string;
}

export class SessionSweep {
  readonly #door: StoreDoor;
  readonly #members: MemberLists;
  readonly #notes: ChangeNotes;
  readonly #nodeId: string;

  constructor({ door, members, notes, nodeId }: SessionSweepDeps) {
    this.#door = door;
    this.#members = members;
    this.#notes = notes;
    this.#nodeId = nodeId;
  }

  async remove(sessionId: string): Promise<void> {
    await this.#remove(sessionId, '');
  }

  /** Removes idle sessions that were not updated since. */
  async sweepSessions(before: number): Promise<string[]> {
    const removed: string[] = [];
    for (let share = 0; share < SHARES; share++) {
      const key = keys.sessionShare(share);
      // Those that stay listed as old are stepped over.
      let kept = 0;
      for (;;) {
        const ids = await this.#door.do((redis) =>
          redis.do((client) => client.zrangebyscore(key, '-inf', `(${before}`, 'LIMIT', kept, SESSIONS_AT_ONCE)),
        );
        const outcomes = await Promise.all(ids.map((id) => this.#sweepSession(id, before)));
        for (const [n, outcome] of outcomes.entries()) {
          if (outcome === 'removed') removed.push(ids[n] as string);
          if (outcome === 'kept') kept++;
        }
        if (ids.length < SESSIONS_AT_ONCE) break;
      }
    }
    return removed;
  }

  /** Removes events written before, as far as checkpoints cover them. */
  async sweepEvents(before: number): Promise<void> {
    for (let share = 0; share < SHARES; share++) {
      for (let from = 0; ; from += SESSIONS_AT_ONCE) {
        const ids = await this.#door.do((redis) =>
          redis.do((client) => client.zrange(keys.sessionShare(share), `${from}`, `${from + SESSIONS_AT_ONCE - 1}`)),
        );
        await Promise.all(ids.map((id) => this.#sweepLog(id, before)));
        if (ids.length < SESSIONS_AT_ONCE) break;
      }
    }
  }

  async #sweepSession(sessionId: string, before: number): Promise<'removed' | 'kept' | 'moved'> {
    const removal = await this.#remove(sessionId, before);
    if (!removal) return 'moved';
    const [outcome, , , updated] = removal;
    if (outcome === 'removed' || Number(updated) < before) return outcome;
    // The list doesn't follow the rows; now that it was read, it does.
    await this.#door.do((redis) =>
      redis.do((client) => client.zadd(shareOf(sessionId), 'XX', 'GT', updated, sessionId)),
    );
    return 'moved';
  }

  async #sweepLog(sessionId: string, before: number): Promise<void> {
    const touched = [keys.session(sessionId), keys.events(sessionId)];
    while ((await this.#door.run('log-sweep', touched, [before, EVENTS_PER_SLICE])) === 1);
  }

  async #remove(sessionId: string, before: number | ''): Promise<Removal> {
    const removal = (await this.#door.run('session-remove', sessionKeys(sessionId), [before, this.#nodeId])) as Removal;
    if (removal?.[0] === 'kept') return removal;
    this.#notes.note(sessionId);
    await this.#door.do((redis) =>
      redis.do((client) =>
        Promise.all([client.zrem(shareOf(sessionId), sessionId), client.zrem(keys.unfinished, sessionId)]),
      ),
    );
    if (removal) {
      const [, user, org, , members] = removal;
      await this.#members.remove(org, toMemberIds(user, members || undefined), sessionId);
    }
    return removal;
  }
}
