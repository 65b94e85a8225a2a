/** Stands between a room and its store: slow at random, failing when told to, and watched by a witness. */
import { type EventLog, type LogAppend, LogUnavailable } from '../../../server/ports/event-log.js';
import type { SessionStore } from '../../../server/ports/session-store.js';
import type { Random } from '../../core/support/random.js';
import { turns } from './event-loop.js';
import type { Witness } from './witness.js';

/** `lost`: an append that fails wrote nothing. `landed`: it is in the log, and nobody was told. */
export type Fault = 'lost' | 'landed';

export const MAX_DELAY_TURNS = 4;
/** Long enough for somebody to come while a session is put to rest. */
const CHECKPOINT_TURNS = 10;

export class FaultyStore {
  /** While set, every append fails. */
  fault: Fault | undefined;
  /** Whether anything has failed. */
  hasFailed = false;
  /** After a failed append nothing more is taken under its token (the port's contract). */
  readonly #refused = new Set<string>();
  #isRetired = false;

  constructor(
    private readonly random: Random,
    private readonly witness: Witness,
  ) {}

  get isRetired(): boolean {
    return this.#isRetired;
  }

  /** The process died: what happens to its store from here on, nobody sees. */
  retire(): void {
    this.#isRetired = true;
  }

  wrapLog(log: EventLog): EventLog {
    return {
      epoch: log.epoch,
      append: (append) => this.#append(log, append),
      read: async (sessionId, query) => {
        const events = await log.read(sessionId, query);
        if (!this.#isRetired) for (const event of events) this.witness.noteEvent(event);
        await this.#delay();
        return events;
      },
      floorOf: async (sessionId) => {
        await this.#delay();
        return log.floorOf(sessionId);
      },
      readDeltas: (sessionId, afterSeq) => log.readDeltas(sessionId, afterSeq),
      trimDeltas: (sessionId, upToSeq) => log.trimDeltas(sessionId, upToSeq),
      findAnswer: async (key) => {
        await this.#delay();
        return log.findAnswer(key);
      },
    };
  }

  wrapSessions(sessions: SessionStore): SessionStore {
    return {
      create: (row, answer) => sessions.create(row, answer),
      get: (sessionId) => sessions.get(sessionId),
      list: (owner, query) => sessions.list(owner, query),
      unfinished: () => sessions.unfinished(),
      remove: (sessionId) => sessions.remove(sessionId),
      putCheckpoint: async (sessionId, checkpoint) => {
        await turns(this.random.int(CHECKPOINT_TURNS));
        await sessions.putCheckpoint(sessionId, checkpoint);
      },
      getCheckpoint: (sessionId) => sessions.getCheckpoint(sessionId),
      putFeedback: (feedback) => sessions.putFeedback(feedback),
      sweep: (cut) => sessions.sweep(cut),
      close: () => sessions.close(),
      ping: () => sessions.ping(),
    };
  }

  async #append(log: EventLog, append: LogAppend): Promise<void> {
    const { fault } = this;
    if (!this.#isRetired) for (const record of append.records) this.witness.offer(record);
    if (fault === undefined && !this.#refused.has(append.token)) {
      await log.append(append);
      this.#note(append);
      return;
    }
    this.hasFailed = true;
    const isFirst = !this.#refused.has(append.token);
    this.#refused.add(append.token);
    if (fault === 'landed' && isFirst) await log.append(append).then(() => this.#note(append));
    await this.#delay();
    throw new LogUnavailable('store_failed', 'as the test wants it');
  }

  #note({ records }: LogAppend): void {
    if (!this.#isRetired) for (const record of records) this.witness.note(record);
  }

  #delay(): Promise<void> {
    return turns(this.random.int(MAX_DELAY_TURNS));
  }
}
