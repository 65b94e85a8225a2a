/** Leases on Redis: held on by one timer for all of them, and lost where that can't be done in time. */
import { randomBytes } from 'node:crypto';
import type { Lease, Leases } from '../../ports/lease.js';
import type { Logger } from '../../ports/logger.js';
import type { AppendQueue } from './append-queue.js';
import type { ChangeNotes } from './change-notes.js';
import type { DeltaTrims } from './delta-trims.js';
import { keys } from './keys.js';
import { hasLapsed, type SessionHold, type SessionHolds } from './session-holds.js';
import type { StoreDoor } from './store-door.js';
import type { UnfinishedList } from './unfinished-list.js';

export interface LeaseTimes {
  /** How long a lease lives when nobody renews it, in milliseconds. */
  readonly leaseMs: number;
  /** How often it is renewed, in milliseconds. */
  readonly renewMs: number;
}

export const LEASE_TIMES: LeaseTimes = { leaseMs: 10_000, renewMs: 3_000 };

export interface RedisLeasesDeps {
  readonly door: StoreDoor;
  readonly holds: SessionHolds;
  readonly queue: AppendQueue;
  readonly trims: DeltaTrims;
  readonly unfinished: UnfinishedList;
  readonly notes: ChangeNotes;
  readonly nodeId: string;
  readonly times: LeaseTimes;
  readonly logger: Logger | undefined;
}

const TICKS_PER_RENEWAL = 6;
/** How often what is listed as unfinished is seen to be listed, in renewals. */
const RENEWALS_PER_LISTING = 3;

export class RedisLeases implements Leases {
  readonly #deps: RedisLeasesDeps;
  readonly #tickMs: number;
  readonly #timer: NodeJS.Timeout;
  #ticks = 0;

  constructor(deps: RedisLeasesDeps) {
    this.#deps = deps;
    this.#tickMs = deps.times.renewMs / TICKS_PER_RENEWAL;
    this.#timer = setInterval(() => this.#tick(), this.#tickMs).unref();
  }

  async claim(sessionId: string): Promise<Lease | undefined> {
    const { door, holds, queue, trims, notes, nodeId, times } = this.#deps;
    if (door.refusal) throw door.refusal;
    const token = randomBytes(16).toString('hex');
    const hold = holds.begin(sessionId, token);
    const give = (): void => {
      if (hold.token === token) holds.drop(hold);
    };
    // What the holder before had queued is written; the new one reads after it.
    await queue.settled(hold);
    const askedAt = performance.now();
    const begun = newEpoch();
    const reply = await door
      .run('lease-claim', [keys.session(sessionId)], [token, nodeId, times.leaseMs, begun, keys.bell(sessionId)])
      .catch((error: unknown) => {
        give();
        notes.note(sessionId);
        throw error;
      });
    if (reply === null) {
      give();
      return undefined;
    }
    notes.note(sessionId);
    const [head, epoch, isStored, wasGivenBack] = reply as [number, string, number, number];
    if (epoch === begun) trims.forget(sessionId);
    if (hold.token === token) {
      Object.assign(hold, {
        head,
        sent: head,
        acked: head,
        isStored: isStored === 1,
        isClaimed: true,
        hasFailed: false,
      });
      this.#prove(hold, askedAt);
    }
    return { token, epoch, wasGivenBack: wasGivenBack === 1, isEpochNew: isStored === 1 && epoch === begun };
  }

  async release(sessionId: string, { token }: Lease): Promise<void> {
    const { door, holds, queue, notes } = this.#deps;
    const hold = holds.find(sessionId);
    if (hold?.token !== token) return;
    holds.drop(hold);
    await queue.settled(hold);
    await door
      .run('lease-release', [keys.session(sessionId)], releaseArgs(sessionId, token))
      .finally(() => notes.note(sessionId));
  }

  /** Those that are listed as unfinished and whose lease lapsed or was given back. */
  async orphans(): Promise<readonly string[]> {
    const { holds, unfinished } = this.#deps;
    return unfinished.readOrphans((sessionId) => holds.find(sessionId)?.isClaimed === true);
  }

  onOrphan(listener: (sessionId: string) => void): void {
    const { door, unfinished, logger } = this.#deps;
    door.redis
      .listen(keys.orphanChannel, (sessionId) => {
        unfinished.forget(sessionId);
        listener(sessionId);
      })
      .catch((error: unknown) => logger?.warn('orphans are looked for by time alone', { error }));
  }

  onLost(listener: (sessionId: string) => void): void {
    this.#deps.holds.onLost(listener);
  }

  /** Gives every lease back. */
  async close(): Promise<void> {
    clearInterval(this.#timer);
    const { door, holds, notes, logger } = this.#deps;
    const held = holds.all.map((hold) => {
      const call = {
        keys: [keys.session(hold.sessionId)] as const,
        args: releaseArgs(hold.sessionId, hold.token ?? ''),
      };
      holds.drop(hold);
      notes.note(hold.sessionId);
      return call;
    });
    const outcomes = await door.redis.runAll('lease-release', held);
    const failed = outcomes.filter(({ error }) => error !== undefined);
    if (failed.length > 0) logger?.warn('leases were not given back; they lapse', { count: failed.length });
  }

  #prove(hold: SessionHold, askedAt: number): void {
    hold.provenAt = Math.max(hold.provenAt, askedAt);
    hold.lapsesAt = hold.provenAt + this.#deps.times.leaseMs;
  }

  #tick(): void {
    void this.#renewDue();
    this.#ticks += 1;
    if (this.#ticks % (TICKS_PER_RENEWAL * RENEWALS_PER_LISTING) === 0) void this.#listAgain();
  }

  /** The list is under another tag than the sessions: it may have lost what they have. */
  async #listAgain(): Promise<void> {
    const { holds, unfinished } = this.#deps;
    const running = holds.all.filter(({ listed }) => listed !== undefined).map(({ sessionId }) => sessionId);
    // What fails is done the next time.
    await unfinished.keep(running).catch(() => undefined);
  }

  async #renewDue(): Promise<void> {
    const { door, holds, times, logger } = this.#deps;
    const askedAt = performance.now();
    const due: SessionHold[] = [];
    for (const hold of holds.all) {
      if (hasLapsed(hold)) {
        logger?.warn('a lease could not be renewed in time', { session_id: hold.sessionId });
        holds.lose(hold);
      } else if (hold.isClaimed && !hold.isRenewing && askedAt - hold.provenAt >= times.renewMs - this.#tickMs) {
        hold.isRenewing = true;
        due.push(hold);
      }
    }
    if (due.length === 0) return;
    const tokens = due.map(({ token }) => token);
    const calls = due.map(({ sessionId, acked, sent }, n) => ({
      keys: [keys.session(sessionId)] as const,
      args: [tokens[n] ?? '', times.leaseMs, acked, sent],
    }));
    const outcomes = await door.redis.runAll('lease-renew', calls);
    for (const [n, hold] of due.entries()) {
      hold.isRenewing = false;
      const outcome = outcomes[n];
      // Released or claimed again meanwhile: what was asked is no longer about this lease.
      if (hold.token !== tokens[n] || !outcome || outcome.error !== undefined) continue;
      if ((outcome as { reply: unknown }).reply === 1) this.#prove(hold, askedAt);
      else holds.lose(hold);
    }
  }
}

const releaseArgs = (sessionId: string, token: string): string[] => [
  token,
  keys.bell(sessionId),
  keys.orphanChannel,
  sessionId,
];

/** Random: an epoch that was lost with its tail is never given again. */
export const newEpoch = (): string => `e${randomBytes(6).toString('hex')}`;
