/** What an upgrade request must satisfy before it becomes a WebSocket; a refusal is a plain HTTP answer. */
import { type IncomingMessage, STATUS_CODES } from 'node:http';
import type { Duplex } from 'node:stream';
import { bodyOf, MidstreamError, PATHS, SUBPROTOCOL } from '../../../protocol/index.js';
import type { Identity, TokenVerifier } from '../../ports/token-verifier.js';
import type { TicketApi } from '../../session/session-api.js';
import { readCredential } from '../credential.js';
import type { OriginPolicy } from '../origin-policy.js';
import { retryAfterSeconds } from '../wire-error.js';

export interface UpgradeDeps {
  readonly verifier: TokenVerifier;
  readonly tickets: Pick<TicketApi, 'redeem'>;
  readonly policy: OriginPolicy;
  readonly isDraining: () => boolean;
}

/** A browser can send no header but this one: the ticket goes where subprotocols are offered. */
const TICKET_PREFIX = 'ticket.';

const offers = (req: IncomingMessage): readonly string[] =>
  (req.headers['sec-websocket-protocol'] ?? '')
    .split(',')
    .map((name) => name.trim())
    .filter(Boolean);

/** Who asks; undefined where the first frame has to say it. Rejects with the refusal. */
export async function admitUpgrade(req: IncomingMessage, deps: UpgradeDeps): Promise<Identity | undefined> {
  const { verifier, tickets, policy } = deps;
  if (req.url?.split('?', 1)[0] !== PATHS.ws)
    throw new MidstreamError('not_found', `There is no WebSocket here; connect to ${PATHS.ws}`);
  if (!policy.hostAllowed(req.headers))
    throw new MidstreamError('forbidden', 'Without authentication this server answers to localhost only');
  if (!policy.originAllowed(req.headers))
    throw new MidstreamError('forbidden', 'This origin is not on the list; add it to MIDSTREAM_ORIGINS');
  if (deps.isDraining()) throw new MidstreamError('draining');
  // Who offers none gets the one there is; who asks for another is told.
  const offered = offers(req);
  if (offered.length > 0 && !offered.includes(SUBPROTOCOL))
    throw new MidstreamError('invalid_request', `Offer the subprotocol ${SUBPROTOCOL} (Sec-WebSocket-Protocol)`);
  if (!verifier.required) return verifier.verify(undefined);
  if (new URLSearchParams(req.url.split('?')[1]).has('ticket'))
    throw new MidstreamError('unauthenticated', 'Offer the ticket as a subprotocol, ticket.<value>, not in the URL');
  const credential = readCredential(req.headers);
  if (credential !== undefined) return verifier.verify(credential);
  const ticket = offered.find((name) => name.startsWith(TICKET_PREFIX))?.slice(TICKET_PREFIX.length);
  return ticket === undefined ? undefined : tickets.redeem(ticket);
}

/** Answers an upgrade request with an error and ends its socket. */
export function refuseUpgrade(socket: Duplex, error: MidstreamError, requestId: string): void {
  const { status } = error.row;
  const body = JSON.stringify({ type: 'error', error: bodyOf(error), request_id: requestId });
  const retryAfter = retryAfterSeconds(error);
  const head = [
    `HTTP/1.1 ${status} ${STATUS_CODES[status] ?? 'Error'}`,
    'Connection: close',
    'Content-Type: application/json',
    'X-Content-Type-Options: nosniff',
    `Content-Length: ${Buffer.byteLength(body)}`,
    `X-Request-Id: ${requestId}`,
    ...(status === 401 ? ['WWW-Authenticate: Bearer'] : []),
    ...(retryAfter === undefined ? [] : [`Retry-After: ${retryAfter}`]),
    ...(error.row.retryable ? [] : ['x-should-retry: false']),
  ];
  socket.end(`${head.join('\r\n')}\r\n\r\n${body}`);
}
