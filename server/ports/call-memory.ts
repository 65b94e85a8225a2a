/** What is done under a key of its caller's, as a tool called without the model: each at most once in 24 h (CMD-2). */

export interface CallKey {
  readonly userId: string;
  readonly orgId: string;
  readonly key: string;
}

export interface CallClaim {
  /** The id of the call, for the tool: the same when an idempotent tool is run again. */
  readonly callId: string;
  /** Digest of the tool's name and input. */
  readonly bodyHash: string;
}

export interface KnownCall extends CallClaim {
  /** The first answer, as JSON; undefined while it runs, and where its server died before it was kept. */
  readonly answer: string | undefined;
}

export interface CallMemory {
  /**
   * Claims a key, of several claims at once exactly one. Undefined where it was free, and durable then; else what
   * stands under it; where another node may be at it, that waits a little for its answer. A key is free again 24 h after it was claimed. Rejects with `LogUnavailable`.
   */
  claim(key: CallKey, claim: CallClaim): Promise<KnownCall | undefined>;
  /** Keeps the answer of a claimed call; of several the first. Durable when it resolves. Rejects with `LogUnavailable`. */
  settle(key: CallKey, callId: string, answer: string): Promise<void>;
}
