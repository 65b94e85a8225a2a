/** The logs of all sessions on Redis: appended by one script a session and flush, read from two streams. */
import { setTimeout as delay } from 'node:timers/promises';
import { BOUNDS } from '../../../protocol/index.js';
import type { DeltaRecord, LogRecord } from '../../core/log-record.js';
import {
  type CommandAnswer,
  type EventLog,
  type LogAppend,
  type LogQuery,
  LogUnavailable,
  type StoredEvent,
} from '../../ports/event-log.js';
import { type AnswerKey, fromAnswerJson, toAnswerField } from './answer-json.js';
import type { AppendQueue } from './append-queue.js';
import { unpackDeltas } from './delta-pack.js';
import type { DeltaTrims } from './delta-trims.js';
import { keys } from './keys.js';
import { type Entry, seqOf, toStoredEvent } from './log-entries.js';
import type { MemberLists } from './member-lists.js';
import type { OwnerAnswers } from './owner-answers.js';
import { RedisUnavailable } from './redis-connection.js';
import { hasLapsed, type SessionHold, type SessionHolds } from './session-holds.js';
import type { StoreDoor } from './store-door.js';
import type { UnfinishedList } from './unfinished-list.js';

export interface RedisEventLogDeps {
  readonly door: StoreDoor;
  readonly holds: SessionHolds;
  readonly queue: AppendQueue;
  readonly trims: DeltaTrims;
  readonly unfinished: UnfinishedList;
  readonly members: MemberLists;
  readonly ownerAnswers: OwnerAnswers;
}

const PAGE = 1_000;
const RETRY_MS = 100;

export class RedisEventLog implements EventLog {
  /** Sessions have epochs of their own here, which their leases name. */
  readonly epoch = 'e0';
  readonly #deps: RedisEventLogDeps;

  constructor(deps: RedisEventLogDeps) {
    this.#deps = deps;
  }

  get waitingBytes(): number {
    return this.#deps.queue.backlogBytes;
  }

  append(append: LogAppend): Promise<void> {
    const { door, holds, queue, members } = this.#deps;
    if (door.refusal) return Promise.reject(door.refusal);
    const { sessionId, records, row } = append;
    const hold = holds.find(sessionId);
    if (!hold || hold.token !== append.token)
      return refuse('lease_lost', `Session ${sessionId} is written by another holder now.`);
    if (hasLapsed(hold)) {
      holds.lose(hold);
      return refuse('lease_lost', `The lease of session ${sessionId} was not renewed in time.`);
    }
    const defect = queue.isFull ? 'Too much waits for Redis.' : defectOf(hold, append);
    if (defect !== undefined) {
      hold.hasFailed = true;
      return refuse('store_failed', defect);
    }
    const memberIds = row?.memberIds;
    const listed = memberIds && untilLapse(hold, () => members.add(hold, memberIds));
    const first = [row?.unfinished && this.#list(hold), listed].filter((one) => one !== undefined && one !== false);
    const batch = queue.join(hold, append, first.length > 0 ? Promise.all(first) : undefined);
    if (listed)
      batch.promise
        .then(() => listed)
        .then((finish) => finish())
        .catch(() => undefined);
    if (records.length > 0) hold.head = (records[records.length - 1] as LogRecord).seq;
    if (row && !row.unfinished) this.#unlist(hold, batch.promise);
    return batch.promise;
  }

  async read(sessionId: string, query: LogQuery): Promise<readonly StoredEvent[]> {
    const { afterSeq, limit, types, order } = query;
    const events: StoredEvent[] = [];
    if (types?.length === 0) return events;
    const isDescending = order === 'desc';
    let from = afterSeq;
    for (;;) {
      const count = types ? PAGE : Math.min(PAGE, limit - events.length);
      const page = await this.#page(keys.events(sessionId), { from, count, isDescending });
      for (const entry of page) {
        const event = toStoredEvent(entry);
        from = event.seq;
        if (!types || types.includes(event.type)) events.push(event);
        if (events.length >= limit) return events;
      }
      if (page.length < count) return events;
    }
  }

  async floorOf(sessionId: string): Promise<number> {
    const floor = await this.#deps.door.do((redis) =>
      redis.do((client) => client.hget(keys.session(sessionId), 'floor')),
    );
    return Number(floor ?? 0);
  }

  async readDeltas(sessionId: string, afterSeq: number): Promise<readonly DeltaRecord[]> {
    const after = Math.max(afterSeq, this.#deps.trims.doneUpTo(sessionId));
    const deltas: DeltaRecord[] = [];
    let from = after;
    for (;;) {
      const page = await this.#page(keys.deltas(sessionId), { from, count: PAGE, isDescending: false });
      for (const [id, [, pack = '[]']] of page) {
        from = seqOf(id);
        // A pack that reaches back may begin before what is asked for.
        for (const record of unpackDeltas(pack)) if (record.seq > after) deltas.push(record);
      }
      if (page.length < PAGE) return deltas;
    }
  }

  trimDeltas(sessionId: string, upToSeq: number): void {
    this.#deps.trims.add(sessionId, upToSeq);
  }

  async findAnswer(key: AnswerKey): Promise<CommandAnswer | undefined> {
    const { door, ownerAnswers } = this.#deps;
    if (key.sessionId === '') return ownerAnswers.find(key);
    const { sessionId } = key;
    const args = [toAnswerField(key), BOUNDS.dedupeMs];
    const json = await door.run('answer-find', [keys.answers(sessionId), keys.answerTimes(sessionId)], args);
    return json === null ? undefined : fromAnswerJson(key, String(json)).answer;
  }

  #page(key: string, { from, count, isDescending }: { from: number; count: number; isDescending: boolean }) {
    return this.#deps.door.do((redis) =>
      redis.do(
        (client): Promise<Entry[]> =>
          isDescending
            ? client.xrevrange(key, from === 0 ? '+' : `(${from}-0`, '-', 'COUNT', count)
            : client.xrange(key, `${from + 1}-0`, '+', 'COUNT', count),
      ),
    );
  }

  /** Before the row says so: a crash in between leaves one that is listed too many, and none too few. */
  #list(hold: SessionHold): Promise<string> | undefined {
    if (hold.listed) return undefined;
    const listed = untilLapse(hold, () => this.#deps.unfinished.add(hold.sessionId));
    hold.listed = listed;
    listed.catch(() => {
      if (hold.listed === listed) hold.listed = undefined;
    });
    return listed;
  }

  /** When the row says so: not waited for, since whoever reads the list looks at the row. */
  #unlist(hold: SessionHold, appended: Promise<void>): void {
    const { listed } = hold;
    hold.listed = undefined;
    if (!listed) return;
    appended
      .then(() => listed)
      .then((at) => this.#deps.unfinished.drop(hold.sessionId, at))
      .catch(() => undefined);
  }
}

/** Does again what Redis did not answer, for as long as the session's lease lives. */
async function untilLapse<T>(hold: SessionHold, work: () => Promise<T>): Promise<T> {
  for (;;) {
    try {
      return await work();
    } catch (error) {
      const isAway = error instanceof LogUnavailable && error.cause instanceof RedisUnavailable;
      if (!isAway || hold.isLost || hasLapsed(hold)) throw error;
      await delay(RETRY_MS);
    }
  }
}

const refuse = (reason: LogUnavailable['reason'], message: string): Promise<never> =>
  Promise.reject(new LogUnavailable(reason, message));

/** Why an append can't be taken, as a sentence; undefined where it can. The script looks again. */
function defectOf(hold: SessionHold, { sessionId, records }: LogAppend): string | undefined {
  if (hold.hasFailed) return `An earlier append to session ${sessionId} failed; it must be claimed again.`;
  if (!hold.isStored) return `Session ${sessionId} is not in the store.`;
  let next = hold.head + 1;
  for (const record of records) {
    const first = record.kind === 'delta' ? record.firstSeq : record.seq;
    if (first !== next) return `Seq ${first} was appended to session ${sessionId} where ${next} is due.`;
    next = record.seq + 1;
  }
  return undefined;
}
