/** The logs of sessions as nodes read them that don't write them. Left out where there is one node. */
import type { LogRecord } from '../core/log-record.js';

/** Who may write a session's log. */
export interface LogOwner {
  readonly nodeId: string;
  /** Another one for each claim, also of the same node. */
  readonly token: string;
}

/** A log as of one moment. */
export interface TailRead {
  readonly epoch: string;
  /** Whose lease lives. */
  readonly owner: LogOwner | undefined;
  /** Events and deltas after the seq that was asked for, ascending; deltas that were trimmed are missing. */
  readonly records: readonly LogRecord[];
  /** The seq up to which this tells. */
  readonly upTo: number;
  /** Whether that is the head. */
  readonly isWhole: boolean;
}

export interface LogTail {
  /** Undefined where there is no such session. */
  read(sessionId: string, afterSeq: number): Promise<TailRead | undefined>;
  /**
   * Calls when the log or its owner may have changed, within a second of the change also where messages are lost. `head`
   * where it is known. A lease that lapses is no change: nobody is called. Returns how to hear no more.
   */
  watch(sessionId: string, onChange: (head: number | undefined) => void): () => void;
}
