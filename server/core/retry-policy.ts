/** When a failed model request is sent again: only before anything was delivered, with backoff and full jitter. */
const FIRST_DELAY_MS = 500;
const MAX_DELAY_MS = 20_000;
/** A provider that asks for more than this gets a failed turn: nobody watches a spinner for longer. */
const MAX_RETRY_AFTER_MS = 60_000;

export interface FailedAttempt {
  /** 1 for the first request. */
  readonly attempt: number;
  readonly maxAttempts: number;
  readonly retryable: boolean;
  readonly delivered: boolean;
  readonly retryAfterMs: number | undefined;
  /** 0 ≤ random < 1. */
  readonly random: number;
}

/** Milliseconds to wait before the next attempt; undefined where there is none. Never earlier than the provider asked. */
export function toRetryDelayMs(failed: FailedAttempt): number | undefined {
  if (!failed.retryable || failed.delivered || failed.attempt >= failed.maxAttempts) return undefined;
  const ceiling = Math.min(MAX_DELAY_MS, FIRST_DELAY_MS * 2 ** (failed.attempt - 1));
  const jittered = ceiling / 2 + (failed.random * ceiling) / 2;
  if (failed.retryAfterMs === undefined) return Math.round(jittered);
  if (failed.retryAfterMs > MAX_RETRY_AFTER_MS) return undefined;
  return Math.round(failed.retryAfterMs + (failed.random * ceiling) / 4);
}
