/** Session rows, checkpoints and feedback on Redis. */
import type { Feedback } from '../../../protocol/index.js';
import type { CommandAnswer } from '../../ports/event-log.js';
import type { Checkpoint, SessionPage, SessionRow, SessionStore } from '../../ports/session-store.js';
import type { AppendQueue } from './append-queue.js';
import { keys } from './keys.js';
import { toMemberIds } from './member-lists.js';
import type { OwnerAnswers } from './owner-answers.js';
import { newEpoch } from './redis-leases.js';
import type { SessionHolds } from './session-holds.js';
import { type SessionSweep, shareOf } from './session-sweep.js';
import type { StoreDoor } from './store-door.js';
import type { UnfinishedList } from './unfinished-list.js';

export interface RedisSessionStoreDeps {
  readonly door: StoreDoor;
  readonly holds: SessionHolds;
  readonly queue: AppendQueue;
  readonly unfinished: UnfinishedList;
  readonly ownerAnswers: OwnerAnswers;
  readonly sweep: SessionSweep;
  readonly close: () => Promise<void>;
}

type Place = readonly [id: string, createdAt: number];

const COLUMNS = ['user', 'org', 'status', 'unfinished', 'created', 'updated', 'json', 'members'] as const;
/** A session that was listed so long ago, in milliseconds, and is not there, is not being made. */
const STALE_MS = 600_000;

export class RedisSessionStore implements SessionStore {
  readonly #deps: RedisSessionStoreDeps;

  constructor(deps: RedisSessionStoreDeps) {
    this.#deps = deps;
  }

  /** Listed first, made then: a crash in between leaves an entry without a session, which readers step over. */
  async create(row: SessionRow, answer?: CommandAnswer): Promise<void> {
    const { door, ownerAnswers, unfinished } = this.#deps;
    const admitted = await ownerAnswers.admit(row, answer);
    await Promise.all([
      door.do((redis) => redis.do((client) => client.zadd(shareOf(row.id), 'NX', row.updatedAt, row.id))),
      row.unfinished && unfinished.add(row.id),
    ]);
    const { userId, orgId, status, createdAt, updatedAt, json } = row;
    const columns = [userId, orgId, status, row.unfinished ? 1 : 0, createdAt, updatedAt, json];
    if ((await door.run('session-create', [keys.session(row.id)], [newEpoch(), ...columns])) !== 1) {
      await ownerAnswers.withdraw(row, answer, admitted);
      throw new Error(`Session ${row.id} is there already.`);
    }
    // Not waited for: whoever finds the answer unsettled finds the session.
    if (answer) ownerAnswers.settle(row, answer).catch(() => undefined);
  }

  async get(sessionId: string): Promise<SessionRow | undefined> {
    return (await this.#read(sessionId))?.row;
  }

  async #read(sessionId: string): Promise<{ row: SessionRow; memberIds: readonly string[] } | undefined> {
    const values = await this.#deps.door.do((redis) =>
      redis.do((client) => client.hmget(keys.session(sessionId), ...COLUMNS)),
    );
    const [userId, orgId, status, unfinished, created, updated, json, members] = values;
    // A claim leaves a lease for a moment where no session is.
    if (typeof userId !== 'string' || typeof orgId !== 'string' || typeof json !== 'string') return undefined;
    const row: SessionRow = {
      id: sessionId,
      userId,
      orgId,
      status: status === 'running' ? 'running' : 'idle',
      unfinished: unfinished === '1',
      createdAt: Number(created),
      updatedAt: Number(updated),
      json,
    };
    return { row, memberIds: toMemberIds(userId, members) };
  }

  async list(member: { userId: string; orgId: string }, query: { limit: number; page?: string }): Promise<SessionPage> {
    const rows: SessionRow[] = [];
    let after = parsePage(query.page);
    for (;;) {
      const wanted = query.limit + 1 - rows.length;
      const places = await this.#placesOf(member, after, wanted);
      const found = await Promise.all(places.map(([id]) => this.#read(id)));
      for (const [n, row] of found.entries()) {
        if (!row) await this.#forget(member, places[n] as Place);
        else if (row.memberIds.includes(member.userId)) rows.push(row.row);
      }
      after = places.at(-1);
      if (places.length < wanted || rows.length > query.limit) break;
    }
    const shown = rows.slice(0, query.limit);
    const last = rows.length > query.limit ? shown.at(-1) : undefined;
    return { rows: shown, nextPage: last && toPage(last) };
  }

  unfinished(): Promise<readonly string[]> {
    return this.#deps.unfinished.read();
  }

  async remove(sessionId: string): Promise<void> {
    const { door, holds, queue, sweep } = this.#deps;
    if (door.refusal) throw door.refusal;
    // At once: an append after this call finds its lease gone; what was queued before is removed with the rest.
    const hold = holds.find(sessionId);
    if (hold) {
      holds.drop(hold);
      await queue.settled(hold);
    }
    await sweep.remove(sessionId);
  }

  async putCheckpoint(sessionId: string, { seq, json }: Checkpoint): Promise<void> {
    await this.#deps.door.run('session-checkpoint', [keys.session(sessionId)], [seq, json]);
  }

  async getCheckpoint(sessionId: string): Promise<Checkpoint | undefined> {
    const [seq, json] = await this.#deps.door.do((redis) =>
      redis.do((client) => client.hmget(keys.session(sessionId), 'checkpoint_seq', 'checkpoint')),
    );
    return typeof json === 'string' ? { seq: Number(seq), json } : undefined;
  }

  async putFeedback(feedback: Feedback & { userId: string; orgId: string; at: number }): Promise<void> {
    await this.#deps.door.do((redis) =>
      redis.do((client) => client.rpush(keys.feedback(feedback.orgId), JSON.stringify(feedback))),
    );
  }

  async sweep(cut: { sessionsBefore?: number; eventsBefore?: number }): Promise<readonly string[]> {
    const { sweep, holds } = this.#deps;
    const removed = cut.sessionsBefore === undefined ? [] : await sweep.sweepSessions(cut.sessionsBefore);
    for (const id of removed) {
      const hold = holds.find(id);
      if (hold) holds.drop(hold);
    }
    if (cut.eventsBefore !== undefined) await sweep.sweepEvents(cut.eventsBefore);
    return removed;
  }

  close(): Promise<void> {
    return this.#deps.close();
  }

  async ping(): Promise<void> {
    await this.#deps.door.do((redis) => redis.ping());
  }

  /** The next places in an owner's list, newest first; sessions of the same moment by their ids. */
  async #placesOf(
    owner: { userId: string; orgId: string },
    after: Place | undefined,
    wanted: number,
  ): Promise<readonly Place[]> {
    const places: Place[] = [];
    const from = after ? after[1] : '+inf';
    for (let offset = 0; ; offset += wanted) {
      const page = await this.#deps.door.do((redis) =>
        redis.do((client) =>
          client.zrevrangebyscore(keys.memberSessions(owner), from, '-inf', 'WITHSCORES', 'LIMIT', offset, wanted),
        ),
      );
      for (let at = 0; at < page.length && places.length < wanted; at += 2) {
        const place = [page[at] as string, Number(page[at + 1])] as const;
        if (!after || place[1] < after[1] || place[0] < after[0]) places.push(place);
      }
      if (places.length >= wanted || page.length < 2 * wanted) return places;
    }
  }

  async #forget(owner: { userId: string; orgId: string }, [id, createdAt]: Place): Promise<void> {
    if (Date.now() - createdAt < STALE_MS) return;
    await this.#deps.door.do((redis) => redis.do((client) => client.zrem(keys.memberSessions(owner), id)));
  }
}

const toPage = ({ id, createdAt }: SessionRow): string => Buffer.from(`${createdAt}.${id}`).toString('base64url');

function parsePage(page: string | undefined): Place | undefined {
  const match = /^(\d{1,15})\.(.+)$/s.exec(Buffer.from(page ?? '', 'base64url').toString());
  return match ? [match[2] as string, Number(match[1])] : undefined;
}
