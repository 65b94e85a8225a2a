/** The sessions that this node follows: while somebody watches or asks, and a little longer. */
import { MidstreamError } from '../../protocol/index.js';
import type { Clock, Timer } from '../ports/clock.js';
import type { LogTail } from '../ports/log-tail.js';
import type { Logger } from '../ports/logger.js';
import type { SessionStore } from '../ports/session-store.js';
import type { SessionFeed } from './session-feed.js';
import { SessionFollower } from './session-follower.js';
import { toFirstState } from './session-fold.js';

export interface FollowersDeps {
  readonly tail: LogTail;
  readonly sessions: SessionStore;
  readonly clock: Clock;
  readonly logger: Logger;
  /** Whether a session is followed also while nobody watches it here: it matters here when its owner dies. */
  readonly isNeeded: (sessionId: string) => boolean;
  readonly onOwner: (follower: SessionFollower) => void;
}

/** A feed, and the epoch of what it shows. */
export interface Shown {
  readonly feed: SessionFeed;
  readonly epoch: string;
}

interface Entry {
  readonly opening: Promise<SessionFollower>;
  /** The feed that it goes on with. */
  readonly shown: Shown | undefined;
  follower: SessionFollower | undefined;
  usedAt: number;
}

/** How often sessions are looked at whose owner may have died: a lease lapses without a word. */
const LOOK_MS = 1_000;
const SWEEP_MS = 5_000;
const UNUSED_MS = 10_000;
const FIRST_RETRY_MS = 100;
const MAX_RETRY_MS = 5_000;

export class Followers {
  readonly #deps: FollowersDeps;
  readonly #entries = new Map<string, Entry>();
  /** Whose watchers wait to be followed, by session. */
  readonly #waiting = new Map<string, Shown>();
  /** Others of the same sessions, for who watched before: until nobody does. */
  readonly #aside = new Set<Entry>();
  #look: Timer | undefined;
  #sweep: Timer | undefined;
  #isClosed = false;

  constructor(deps: FollowersDeps) {
    this.#deps = deps;
    this.#scheduleLook();
    this.#scheduleSweep();
  }

  /** Rejects with `session_not_found`, or with what the store rejects with. */
  async get(sessionId: string): Promise<SessionFollower> {
    const known = this.#entries.get(sessionId);
    if (known) known.usedAt = this.#deps.clock.now();
    return (known ?? this.#open(sessionId)).opening;
  }

  get feeds(): readonly SessionFeed[] {
    return [...this.#entries.values(), ...this.#aside].flatMap(({ follower }) => follower?.feed ?? []);
  }

  /** Where it is followed already. */
  find(sessionId: string): SessionFollower | undefined {
    return this.#entries.get(sessionId)?.follower;
  }

  /** Another node writes the session from now on; who watches it here stays where it is. */
  take(shown: Shown): void {
    const { sessionId, watchers } = shown.feed;
    if (this.#isClosed || watchers.size === 0) return;
    this.#waiting.set(sessionId, shown);
    this.#followWaiting(sessionId, FIRST_RETRY_MS);
  }

  /** This node writes the session from now on: gives the feed, brought up to the head of a log that nobody else writes. */
  async handOver(sessionId: string, epoch: string): Promise<SessionFeed | undefined> {
    const known = this.#entries.get(sessionId);
    const entry = known ?? (this.#waiting.has(sessionId) ? this.#open(sessionId) : undefined);
    const follower = await entry?.opening.catch(() => undefined);
    if (!follower) return undefined;
    await follower.catchUp();
    if (follower.isOver || follower.state.epoch !== epoch) return undefined;
    follower.stop();
    this.#entries.delete(sessionId);
    return follower.feed;
  }

  close(): void {
    this.#isClosed = true;
    this.#look?.cancel();
    this.#sweep?.cancel();
    for (const { follower } of [...this.#entries.values(), ...this.#aside]) follower?.stop();
    this.#entries.clear();
    this.#waiting.clear();
    this.#aside.clear();
  }

  #followWaiting(sessionId: string, delayMs: number): void {
    const shown = this.#waiting.get(sessionId);
    if (this.#isClosed || !shown) return;
    const { feed } = shown;
    if (feed.watchers.size === 0) {
      this.#waiting.delete(sessionId);
      return;
    }
    const known = this.#entries.get(sessionId);
    const { opening } = known?.shown === shown ? known : this.#open(sessionId);
    opening.catch((error: unknown) => {
      if (error instanceof MidstreamError && error.code === 'session_not_found') {
        if (this.#waiting.get(sessionId) === shown) this.#waiting.delete(sessionId);
        feed.end('deleted');
        return;
      }
      this.#deps.logger.warn('a session could not be followed yet', { session_id: sessionId, error });
      this.#deps.clock.schedule(delayMs, () => this.#followWaiting(sessionId, Math.min(delayMs * 2, MAX_RETRY_MS)));
    });
  }

  /** Goes on with the feed that waits, where one does. */
  #open(sessionId: string): Entry {
    const before = this.#entries.get(sessionId);
    if (before) this.#aside.add(before);
    const shown = this.#waiting.get(sessionId);
    const opening = this.#follow(sessionId, shown);
    const entry: Entry = { opening, shown, follower: undefined, usedAt: this.#deps.clock.now() };
    this.#entries.set(sessionId, entry);
    opening.then(
      (follower) => {
        entry.follower = follower;
        if (follower.isOver) this.#forget(sessionId, entry);
        if (shown && this.#waiting.get(sessionId) === shown) this.#waiting.delete(sessionId);
      },
      () => this.#forget(sessionId, entry),
    );
    return entry;
  }

  async #follow(sessionId: string, shown: Shown | undefined): Promise<SessionFollower> {
    const { sessions, tail, clock, logger, onOwner } = this.#deps;
    const [row, checkpoint, read] = await Promise.all([
      sessions.get(sessionId),
      sessions.getCheckpoint(sessionId),
      tail.read(sessionId, Number.MAX_SAFE_INTEGER),
    ]);
    if (!row || !read) throw new MidstreamError('session_not_found');
    const covered = checkpoint && checkpoint.seq <= read.upTo ? checkpoint : undefined;
    const state = toFirstState(row, covered, read.epoch);
    const isSame = shown?.epoch === read.epoch;
    if (!isSame) shown?.feed.reset(read.epoch);
    const onOver = (): void => {
      for (const entry of [this.#entries.get(sessionId), ...this.#aside])
        if (entry?.follower === follower) this.#forget(sessionId, entry);
    };
    const follower: SessionFollower = new SessionFollower(
      { tail, clock, logger, onOver },
      state,
      isSame ? shown?.feed : undefined,
    );
    try {
      await follower.start();
    } catch (error) {
      follower.stop();
      throw error;
    }
    follower.onOwner(() => onOwner(follower));
    return follower;
  }

  #forget(sessionId: string, entry: Entry | undefined): void {
    if (this.#entries.get(sessionId) === entry) this.#entries.delete(sessionId);
    if (entry) this.#aside.delete(entry);
  }

  #scheduleLook(): void {
    this.#look = this.#deps.clock.schedule(LOOK_MS, () => {
      for (const [sessionId, { follower }] of this.#entries) if (this.#deps.isNeeded(sessionId)) follower?.look();
      if (!this.#isClosed) this.#scheduleLook();
    });
  }

  #scheduleSweep(): void {
    this.#sweep = this.#deps.clock.schedule(SWEEP_MS, () => {
      this.#rest();
      if (!this.#isClosed) this.#scheduleSweep();
    });
  }

  #rest(): void {
    const { clock, isNeeded } = this.#deps;
    for (const entry of this.#aside) {
      if (!entry.follower || entry.follower.feed.watchers.size > 0) continue;
      entry.follower.stop();
      this.#aside.delete(entry);
    }
    for (const [sessionId, { follower, usedAt }] of [...this.#entries]) {
      if (!follower || follower.isInUse || follower.feed.watchers.size > 0 || isNeeded(sessionId)) continue;
      if (clock.now() - usedAt < UNUSED_MS) continue;
      follower.stop();
      this.#entries.delete(sessionId);
    }
  }
}
