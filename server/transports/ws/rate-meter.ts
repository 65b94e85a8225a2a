/** Counts the commands of one connection: a bucket that holds one second's worth. */

/** How long a connection may stay over its rate before it is closed. */
export const OVERUSE_MS = 10_000;
/** A second without a refusal ends an overuse. */
const CALM_MS = 1_000;

export type RateVerdict =
  | { readonly kind: 'allowed' }
  | { readonly kind: 'overuse' }
  | { readonly kind: 'limited'; readonly retryAfterMs: number };

const ALLOWED: RateVerdict = { kind: 'allowed' };

export class RateMeter {
  private tokens: number;
  private filledAt: number;
  private overSince: number | undefined;
  private refusedAt = 0;

  constructor(
    private readonly perSecond: number,
    nowMs: number,
  ) {
    this.tokens = perSecond;
    this.filledAt = nowMs;
  }

  take(nowMs: number): RateVerdict {
    const passedMs = Math.max(0, nowMs - this.filledAt);
    this.tokens = Math.min(this.perSecond, this.tokens + (passedMs / 1_000) * this.perSecond);
    this.filledAt = nowMs;
    if (this.tokens >= 1) {
      this.tokens -= 1;
      return ALLOWED;
    }
    if (this.overSince === undefined || nowMs - this.refusedAt > CALM_MS) this.overSince = nowMs;
    this.refusedAt = nowMs;
    if (nowMs - this.overSince >= OVERUSE_MS) return { kind: 'overuse' };
    return { kind: 'limited', retryAfterMs: Math.max(1, Math.ceil(((1 - this.tokens) / this.perSecond) * 1_000)) };
  }
}
