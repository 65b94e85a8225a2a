/** Which browser pages may talk to this server (AUTH-4), the same on every wire. */
import type { IncomingHttpHeaders } from 'node:http';

export interface OriginPolicyOptions {
  /** Origins beside the server's own, as a browser writes them: `https://app.example`. */
  readonly origins: readonly string[];
  /** `loopback`: `Host` must name this machine, so that no foreign name can be rebound to it (dev). */
  readonly hosts: 'loopback' | 'any';
}

export interface OriginPolicy {
  hostAllowed(headers: IncomingHttpHeaders): boolean;
  /** True where there is no `Origin`: then it is no browser, or its own page. */
  originAllowed(headers: IncomingHttpHeaders): boolean;
  /** Whether this origin gets CORS headers. */
  isListed(origin: string): boolean;
  /** Whether a plain HTTP request of a foreign page is refused too, not only left without CORS headers. */
  readonly refusesForeignRequests: boolean;
}

const LOOPBACK = /^(?:localhost|127\.0\.0\.1|\[::1\])(?::\d{1,5})?$/i;

/** `host[:port]` of an origin, without the default port of its scheme. */
function hostOf(origin: string): string | undefined {
  return URL.canParse(origin) ? new URL(origin).host.toLowerCase() : undefined;
}

export function createOriginPolicy({ origins, hosts }: OriginPolicyOptions): OriginPolicy {
  const listed = new Set(origins.map((origin) => origin.toLowerCase().replace(/\/$/, '')));
  const isListed = (origin: string): boolean => listed.has(origin.toLowerCase());
  return {
    hostAllowed: ({ host }) => hosts === 'any' || (host !== undefined && LOOPBACK.test(host)),
    originAllowed: ({ origin, host }) => {
      if (origin === undefined || isListed(origin)) return true;
      const own = host?.toLowerCase().replace(/:(?:80|443)$/, '');
      return own !== undefined && hostOf(origin)?.replace(/:(?:80|443)$/, '') === own;
    },
    isListed,
    refusesForeignRequests: hosts === 'loopback',
  };
}
