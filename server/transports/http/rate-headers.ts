/** `RateLimit` and `RateLimit-Policy`, as structured fields (draft-ietf-httpapi-ratelimit-headers-10). */
import type { Response } from 'express';
import type { RateVerdict } from '../../ports/rate-limiter.js';

/** Of the last thing that was counted for this request; an answer that has begun keeps what it began with. */
export function setRateHeaders(res: Response, { limit, remaining, retryAfterMs, resetMs }: RateVerdict): void {
  if (res.headersSent) return;
  // Where nothing is left, until something is; else until everything is.
  const seconds = Math.ceil((remaining === 0 ? retryAfterMs : resetMs) / 1_000);
  res.set({ 'RateLimit-Policy': `"requests";q=${limit};w=60`, RateLimit: `"requests";r=${remaining};t=${seconds}` });
}
