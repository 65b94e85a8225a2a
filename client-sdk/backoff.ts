/** How long to wait before the next attempt: exponential, jittered, bounded. */
export interface Backoff {
  readonly baseMs: number;
  readonly maxMs: number;
}

export const DEFAULT_BACKOFF: Backoff = { baseMs: 500, maxMs: 20_000 };

/** The wait before attempt `attempt` (0 is the first retry): 25 % to 100 % of the doubled base, so that many clients spread. */
export function backoffMs({ baseMs, maxMs }: Backoff, attempt: number, random: () => number): number {
  const ceilingMs = Math.min(maxMs, baseMs * 2 ** Math.min(attempt, 30));
  return Math.round(ceilingMs * (0.25 + 0.75 * random()));
}
