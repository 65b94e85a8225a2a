/** Who may write a session's log: one holder at a time, proven by a fencing token that the append checks. */
export interface Lease {
  /** Unique among all leases ever given; compared for equality. */
  readonly token: string;
  /** The epoch of this session's log (LOG-7), where sessions have epochs of their own; else it is `EventLog.epoch`. */
  readonly epoch?: string;
  /** Whether the holder before gave it back, and did not let it lapse: then nobody died. Left out where nobody can tell. */
  readonly wasGivenBack?: boolean;
  /** Whether that epoch began with this claim, of a log that had another. */
  readonly isEpochNew?: boolean;
}

export interface Leases {
  /** Claims the session for this node; undefined while another node holds it. Claiming again returns a new token. */
  claim(sessionId: string): Promise<Lease | undefined>;
  release(sessionId: string, lease: Lease): Promise<void>;
  /** Sessions with an unfinished turn that no node holds: one of the nodes is to claim them. Left out with one node. */
  orphans?(): Promise<readonly string[]>;
  /** Tells of a session that may be a new orphan, at once; not of all of them. */
  onOrphan?(listener: (sessionId: string) => void): void;
  /** Tells of each lease that is another's, or may be: its log takes nothing more. Left out where none can be lost. */
  onLost?(listener: (sessionId: string) => void): void;
}
