/** How many turns and direct tool calls a user may begin in a minute, whichever node they come to. */

export interface RateKey {
  readonly userId: string;
  readonly orgId: string;
}

export interface RateVerdict {
  readonly allowed: boolean;
  /** Of one minute, as it was asked for. */
  readonly limit: number;
  /** What may still be begun at once. */
  readonly remaining: number;
  /** Until one more may be begun, in milliseconds; 0 where `remaining` is not 0. */
  readonly retryAfterMs: number;
  /** Until all of the limit may be begun again, in milliseconds. */
  readonly resetMs: number;
}

export interface RateLimiter {
  /**
   * Takes one by the generic cell rate algorithm: `perMinute` at once, then one every `60 000 / perMinute` ms. A refusal
   * takes nothing. `perMinute` is at least 1 and may differ from call to call. Atomic over all nodes, by the store's
   * clock. Rejects where the store can't be reached.
   */
  take(key: RateKey, perMinute: number): Promise<RateVerdict>;
  /** Gives one back that a later gate refused. Never rejects; what can't be given back comes back with time. */
  giveBack(key: RateKey, perMinute: number): Promise<void>;
}
