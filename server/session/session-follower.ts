/**
 * A session whose log another node writes, as this node follows it: the fold of its state, and a feed of its records for
 * those who watch it here.
 */
import type { EventOf } from '../../protocol/index.js';
import type { EventRecord, LogRecord } from '../core/log-record.js';
import type { SessionState } from '../core/session-state.js';
import type { Clock, Timer } from '../ports/clock.js';
import type { LogOwner, LogTail, TailRead } from '../ports/log-tail.js';
import type { Logger } from '../ports/logger.js';
import { SessionFeed } from './session-feed.js';
import { applyRecord } from './session-fold.js';

export interface FollowerDeps {
  readonly tail: LogTail;
  readonly clock: Clock;
  readonly logger: Logger;
  /** It follows no more: the session is gone, or its log began a new epoch. */
  readonly onOver: () => void;
}

/** Folded when somebody asks, and before there are more than this. */
const MAX_UNFOLDED = 1_024;
const RETRY_MS = 1_000;

export class SessionFollower {
  readonly feed: SessionFeed;
  readonly #deps: FollowerDeps;
  readonly #ownerListeners = new Set<() => void>();
  #state: SessionState;
  #unfolded: LogRecord[] = [];
  #seq: number;
  #owner: LogOwner | undefined;
  /** The seq before the blocks that are still open. */
  #openSince: number | undefined;
  #reading: Promise<void> | undefined;
  /** A reading that waits for the one under way. */
  #next: Promise<void> | undefined;
  #unwatch: (() => void) | undefined;
  #retry: Timer | undefined;
  #isOver = false;
  #isDeleted = false;
  #uses = 0;

  /** `state`: what its fold begins with. `feed`: one that showed this session before, with who watches it. */
  constructor(deps: FollowerDeps, state: SessionState, feed: SessionFeed | undefined) {
    this.#deps = deps;
    this.#state = state;
    this.#seq = state.seq;
    this.feed = feed ?? new SessionFeed(state.sessionId, state.seq);
  }

  get state(): SessionState {
    for (const record of this.#unfolded.splice(0)) this.#state = applyRecord(this.#state, record);
    return this.#state;
  }

  /** Who writes the log, as far as is known. */
  get owner(): LogOwner | undefined {
    return this.#owner;
  }

  get isOver(): boolean {
    return this.#isOver;
  }

  /** The session is gone. */
  get isDeleted(): boolean {
    return this.#isDeleted;
  }

  /** Somebody relies on what it tells of the owner. */
  get isInUse(): boolean {
    return this.#uses > 0;
  }

  /** It is followed on until the returned function is called, once. */
  use(): () => void {
    this.#uses++;
    return () => void this.#uses--;
  }

  /** Resolves when it has read all that there is. */
  async start(): Promise<void> {
    const { tail } = this.#deps;
    const { sessionId } = this.#state;
    this.#unwatch = tail.watch(sessionId, (head) => {
      if (head === undefined || head > this.#seq) this.look();
    });
    await this.catchUp();
  }

  /** Reads on; where it can't, again a moment later, until it can. */
  look(): void {
    const { logger } = this.#deps;
    this.catchUp().catch((error: unknown) => {
      logger.debug('a session could not be followed; soon again', { session_id: this.#state.sessionId, error });
      this.#lookLater();
    });
  }

  #lookLater(): void {
    if (this.#isOver) return;
    this.#retry ??= this.#deps.clock.schedule(RETRY_MS, () => {
      this.#retry = undefined;
      this.look();
    });
  }

  stop(): void {
    if (this.#isOver) return;
    this.#isOver = true;
    this.#unwatch?.();
    this.#retry?.cancel();
    this.#setOwner(undefined);
  }

  /** Resolves when all that was in the log before the call is here. */
  catchUp(): Promise<void> {
    if (this.#next) return this.#next;
    if (!this.#reading) return this.#begin();
    const next = this.#reading
      .catch(() => undefined)
      .then(() => {
        this.#next = undefined;
        return this.#begin();
      });
    this.#next = next;
    return next;
  }

  onOwner(listener: () => void): () => void {
    this.#ownerListeners.add(listener);
    return () => this.#ownerListeners.delete(listener);
  }

  #begin(): Promise<void> {
    const reading = this.#read().finally(() => {
      if (this.#reading === reading) this.#reading = undefined;
    });
    this.#reading = reading;
    return reading;
  }

  async #read(): Promise<void> {
    while (!this.#isOver) {
      const read = await this.#deps.tail.read(this.#state.sessionId, this.#seq);
      if (this.#isOver) return;
      if (!read) return this.#endDeleted();
      const isShort = read.upTo < this.#seq;
      if (read.epoch !== this.#state.epoch || (isShort && !read.owner))
        return this.#end(() => this.feed.reset(read.epoch));
      // Its owner will find that the tail is lost; then another epoch begins, or its lease lapses without a word.
      if (isShort) return this.#lookLater();
      this.#take(read);
      if (read.isWhole) return;
    }
  }

  #take({ records, upTo, owner, isWhole }: TailRead): void {
    this.#seq = upTo;
    for (const record of records) this.#unfolded.push(record);
    if (this.#unfolded.length > MAX_UNFOLDED) this.#state = this.state;
    const events = records.filter((record): record is EventRecord => record.kind === 'event');
    for (const event of events) this.#track(event);
    // Before what follows is shown.
    for (const event of events) if (event.type === 'session.member_updated') this.#endMembership(event);
    this.#publish(records.filter(({ seq }) => seq > this.feed.head));
    if (isWhole && upTo > this.feed.head) this.feed.skipTo(upTo);
    if (events.some(({ type }) => type === 'session.deleted')) this.#endDeleted();
    if (isWhole) this.#setOwner(owner);
  }

  /** The feed has no holes: what comes after one is where it begins anew. */
  #publish(records: readonly LogRecord[]): void {
    let whole = 0;
    let head = this.feed.head;
    let base: number | undefined;
    for (const [at, { seq }] of records.entries()) {
      if (seq !== head + 1) {
        whole = at;
        base = seq - 1;
      }
      head = seq;
    }
    if (base !== undefined) this.feed.skipTo(base);
    if (records.length > 0) this.feed.publish(records.slice(whole), this.#openSince);
  }

  #track({ type, seq }: EventRecord): void {
    if (type === 'event_start') this.#openSince ??= seq - 1;
    else if (this.#openSince !== undefined && (this.state.turn?.open.length ?? 0) === 0) this.#openSince = undefined;
  }

  #endMembership({ json }: EventRecord): void {
    const { user_id, role } = JSON.parse(json) as EventOf<'session.member_updated'>;
    if (role === null) this.feed.endFor(user_id);
  }

  #setOwner(owner: LogOwner | undefined): void {
    if (owner?.token === this.#owner?.token) return;
    this.#owner = owner;
    for (const listener of [...this.#ownerListeners]) listener();
  }

  #endDeleted(): void {
    this.#isDeleted = true;
    this.#end(() => this.feed.end('deleted'));
  }

  #end(tell: () => void): void {
    this.stop();
    tell();
    this.#deps.onOver();
  }
}
