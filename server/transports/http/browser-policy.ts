/** What a browser may do with this server: which pages may call it, and what its answers may be used for (AUTH-4). */
import type { RequestHandler } from 'express';
import { MidstreamError } from '../../../protocol/index.js';
import type { OriginPolicy } from '../origin-policy.js';

/** Headers of every answer; the page sets its own content policy. */
export const securityHeaders: RequestHandler = (_req, res, next) => {
  res.set({
    'X-Content-Type-Options': 'nosniff',
    'X-Frame-Options': 'DENY',
    'Referrer-Policy': 'no-referrer',
    'Cross-Origin-Resource-Policy': 'same-origin',
    'Content-Security-Policy': "default-src 'none'; frame-ancestors 'none'",
    'Cache-Control': 'no-store',
  });
  next();
};

const ALLOW = {
  'Access-Control-Allow-Methods': 'GET, POST, DELETE',
  'Access-Control-Max-Age': '600',
} as const;
const ALLOWED_HEADERS = 'Authorization, Content-Type, Idempotency-Key, Last-Event-ID, X-API-Key, X-Request-Id';
const EXPOSED_HEADERS = 'X-Request-Id, Retry-After, RateLimit, RateLimit-Policy, x-should-retry';

export function browserPolicy(policy: OriginPolicy): RequestHandler {
  return (req, res, next) => {
    if (!policy.hostAllowed(req.headers))
      throw new MidstreamError('forbidden', 'Without authentication this server answers to localhost only');
    const { origin } = req.headers;
    res.vary('Origin');
    if (origin !== undefined && policy.isListed(origin)) {
      res.set({ 'Access-Control-Allow-Origin': origin, 'Access-Control-Expose-Headers': EXPOSED_HEADERS });
      res.set('Cross-Origin-Resource-Policy', 'cross-origin');
      if (req.method === 'OPTIONS' && req.headers['access-control-request-method'] !== undefined) {
        res.set(ALLOW).set('Access-Control-Allow-Headers', ALLOWED_HEADERS).status(204).end();
        return;
      }
    } else if (policy.refusesForeignRequests && !policy.originAllowed(req.headers)) {
      throw new MidstreamError('forbidden', 'Without authentication this server answers to its own page only');
    }
    next();
  };
}
