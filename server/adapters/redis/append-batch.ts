/** The appends of one session that go out as one call of a script. */
import { BOUNDS } from '../../../protocol/index.js';
import type { LogRecord } from '../../core/log-record.js';
import type { CommandAnswer, LogAppend, LogUnavailable, RowChange } from '../../ports/event-log.js';
import { toAnswerField, toAnswerJson } from './answer-json.js';
import { DeltaPacker } from './delta-pack.js';
import { keys } from './keys.js';
import type { ScriptCall } from './redis-connection.js';
import type { SessionHold } from './session-holds.js';

/** What a record costs beside its text, in bytes, about. */
const RECORD_BYTES = 64;

export class AppendBatch {
  readonly hold: SessionHold;
  readonly promise: Promise<void>;
  resolve!: () => void;
  reject!: (error: LogUnavailable) => void;
  /** How much it holds in memory, about. */
  bytes = 0;
  /** What must be written elsewhere before it may go out. */
  blockers = 0;
  readonly #token: string;
  readonly #headBefore: number;
  readonly #deltas = new DeltaPacker();
  readonly #events: (string | number)[] = [];
  #answers: CommandAnswer[] | undefined;
  #row: RowChange | undefined;
  #memberIds: readonly string[] | undefined;
  #head: number;

  constructor(hold: SessionHold, token: string) {
    this.hold = hold;
    this.#token = token;
    this.#headBefore = hold.head;
    this.#head = hold.head;
    this.promise = new Promise((resolve, reject) => {
      this.resolve = resolve;
      this.reject = reject;
    });
    // Whoever appended is told; nobody else has to listen.
    this.promise.catch(() => undefined);
  }

  /** The seq of its last record, or of the head before it where it has none. */
  get headAfter(): number {
    return this.#head;
  }

  get isDeltasAlone(): boolean {
    return this.#events.length === 0 && !this.#answers && !this.#row;
  }

  isOf(token: string | undefined): boolean {
    return this.#token === token;
  }

  /** Returns how many bytes more it holds. */
  add({ records, answers, row }: LogAppend): number {
    const before = this.bytes;
    for (const record of records) this.#addRecord(record);
    if (answers && answers.length > 0) {
      this.#answers = [...(this.#answers ?? []), ...answers];
      this.bytes += answers.length * RECORD_BYTES;
    }
    if (row) {
      this.#row = row;
      this.#memberIds = row.memberIds ?? this.#memberIds;
      this.bytes += row.json.length;
    }
    return this.bytes - before;
  }

  toCall(): ScriptCall {
    const { sessionId } = this.hold;
    const deltas = this.#deltas.lastSeq ?? '';
    const head = [
      this.#token,
      this.#headBefore,
      this.#head,
      deltas,
      this.#deltas.pack(),
      BOUNDS.dedupeMs,
      keys.bell(sessionId),
    ];
    const args: (string | number)[] = [...head, this.#events.length / 4];
    if (this.#events.length > 0 || this.#answers || this.#row) {
      for (const field of this.#events) args.push(field);
      args.push(this.#answers?.length ?? 0);
      for (const answer of this.#answers ?? [])
        args.push(toAnswerField(answer), answer.acceptedAt, toAnswerJson(answer));
      if (this.#row) {
        const { status, unfinished, updatedAt, json } = this.#row;
        const members = this.#memberIds ? JSON.stringify(this.#memberIds) : '';
        args.push(status, unfinished ? 1 : 0, updatedAt, json, members);
      }
    }
    return { keys: sessionKeys(sessionId), args };
  }

  #addRecord(record: LogRecord): void {
    this.#head = record.seq;
    if (record.kind === 'delta') {
      this.#deltas.add(record);
      this.bytes += RECORD_BYTES + record.quoted.length;
    } else {
      this.#events.push(record.seq, record.type, record.turnId ?? '', record.json);
      this.bytes += RECORD_BYTES + record.json.length;
    }
  }
}

/** All keys of a session, in the order in which scripts take them. */
export const sessionKeys = (id: string): [string, string, string, string, string] => [
  keys.session(id),
  keys.events(id),
  keys.deltas(id),
  keys.answers(id),
  keys.answerTimes(id),
];
