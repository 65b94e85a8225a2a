/** The logs of all sessions: the only truth. What is not in it reaches no client and causes no effect (LOG-2). */
import type { CommandResult } from '../../protocol/index.js';
import type { DeltaRecord, LogRecord } from '../core/log-record.js';

/** The first answer to an accepted command, kept for 24 h (CMD-2). */
export interface CommandAnswer {
  /** The session of the command; for `session.create` the empty string. */
  readonly sessionId: string;
  readonly userId: string;
  readonly orgId: string;
  readonly commandId: string;
  /** Digest of the parsed body without `id` and `session_id`. */
  readonly bodyHash: string;
  readonly appliedAtSeq: number | undefined;
  readonly result: CommandResult;
  /** Milliseconds since 1970. */
  readonly acceptedAt: number;
}

/** What changes in the session's row together with an append. */
export interface RowChange {
  readonly status: 'idle' | 'running';
  /** Whether a turn runs or waits in the queue: such a session is taken up again at the next start. */
  readonly unfinished: boolean;
  readonly updatedAt: number;
  /** The session resource, as JSON. */
  readonly json: string;
  /** Set where they changed: the users, of the session's org, whose list it is in from now on. */
  readonly memberIds?: readonly string[];
}

export interface LogAppend {
  readonly sessionId: string;
  /** The lease's fencing token; an append with another than the current one is refused with `lease_lost` (NODE-3). */
  readonly token: string;
  /** Ascending, the first one seq after the head; may be empty where only answers are kept. */
  readonly records: readonly LogRecord[];
  readonly answers?: readonly CommandAnswer[];
  readonly row?: RowChange;
}

export class LogUnavailable extends Error {
  override readonly name = 'LogUnavailable';
  constructor(
    readonly reason: 'lease_lost' | 'store_failed' | 'closed',
    message: string,
    options?: ErrorOptions,
  ) {
    super(message, options);
  }
}

export interface EventLog {
  /** Changes when the store can't prove that its tail is whole (LOG-7). A session whose lease names another has that. */
  readonly epoch: string;
  /** Whether that epoch began with this start, of logs that had another. */
  readonly isEpochNew?: boolean;
  /** How much waits to be appended or is under way, about; left out where nothing waits long. */
  readonly waitingBytes?: number;

  /**
   * Appends, atomically: records, answers and row change are all there or none is.
   * Appends to one session become visible and durable in the order of the calls. The promise may be shared by all
   * appends of one group commit. It resolves when the append survives a crash of the process, and, where it holds
   * anything but deltas, a crash of the machine (as far as the store is configured to). It rejects with `LogUnavailable`;
   * then the outcome is unknown, and no later append of this session succeeds until it is claimed again.
   */
  append(append: LogAppend): Promise<void>;

  /**
   * Completed events with `seq > afterSeq`, ascending, at most `limit`; no deltas. May lack what retention took.
   * `types` and `order: 'desc'` (then `seq < afterSeq` where it isn't 0) serve the REST listing.
   */
  read(sessionId: string, query: LogQuery): Promise<readonly StoredEvent[]>;

  /** The highest seq that retention took from this log; 0 where it took none. A cursor below it can't be replayed (LOG-4). */
  floorOf(sessionId: string): Promise<number>;

  /** The deltas after `afterSeq` that were not trimmed, ascending; for recovery after a crash. */
  readDeltas(sessionId: string, afterSeq: number): Promise<readonly DeltaRecord[]>;

  /** Says that deltas up to `seq` are completed and may be trimmed. A hint: nothing waits for it. */
  trimDeltas(sessionId: string, upToSeq: number): void;

  /** The answer to an accepted command of the last 24 h. */
  findAnswer(
    key: Pick<CommandAnswer, 'sessionId' | 'userId' | 'orgId' | 'commandId'>,
  ): Promise<CommandAnswer | undefined>;
}

export interface LogQuery {
  readonly afterSeq: number;
  readonly limit: number;
  readonly order?: 'asc' | 'desc';
  readonly types?: readonly string[];
}

export interface StoredEvent {
  readonly seq: number;
  readonly type: string;
  readonly turnId: string | undefined;
  readonly json: string;
}
