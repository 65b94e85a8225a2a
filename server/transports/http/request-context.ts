/** What every request carries through the handlers: its id, and who asks. */
import type { Request, RequestHandler, Response } from 'express';
import { MidstreamError } from '../../../protocol/index.js';
import type { NewId } from '../../ports/identity.js';
import type { Identity, TokenVerifier } from '../../ports/token-verifier.js';
import type { Caller, TicketApi } from '../../session/session-api.js';
import { readCredential } from '../credential.js';
import { textParam } from './query.js';
import { setRateHeaders } from './rate-headers.js';

interface Context {
  requestId: string;
  caller?: Caller;
  identity?: Identity;
}

/** Ids of callers are taken where they are short and plain, so that they are safe in logs and headers. */
const SANE_ID = /^[A-Za-z0-9_.:-]{1,128}$/;

const contextOf = (res: Response): Context => res.locals as Context;

export const requestIdOf = (res: Response): string => contextOf(res).requestId;

/** Who asks; only behind `authenticate`. */
export function callerOf(res: Response): Caller {
  const { caller } = contextOf(res);
  if (caller === undefined) throw new Error('A route asks for its caller without being behind authenticate');
  return caller;
}

/** What the credential says; only behind `authenticate`. */
export function identityOf(res: Response): Identity {
  const { identity } = contextOf(res);
  if (identity === undefined) throw new Error('A route asks for an identity without being behind authenticate');
  return identity;
}

export function withRequestId(newId: NewId): RequestHandler {
  return (req, res, next) => {
    const given = req.get('X-Request-Id');
    contextOf(res).requestId = given !== undefined && SANE_ID.test(given) ? given : newId('req');
    // The second name is where the official SDK looks.
    res.set({ 'X-Request-Id': requestIdOf(res), 'request-id': requestIdOf(res) });
    next();
  };
}

/** The one route whose clients, browsers' `EventSource`, can send no header; nowhere else a URL holds a credential. */
const STREAM = /^\/v1\/sessions\/[^/]+\/events\/stream$/;

export function authenticate(deps: {
  readonly verifier: TokenVerifier;
  readonly tickets: Pick<TicketApi, 'redeem'>;
}): RequestHandler {
  return async (req, res, next) => {
    const identity = await identify(req, deps);
    contextOf(res).caller = {
      principal: identity.principal,
      requestId: requestIdOf(res),
      onCounted: (verdict) => setRateHeaders(res, verdict),
    };
    contextOf(res).identity = identity;
    next();
  };
}

async function identify(
  req: Request,
  { verifier, tickets }: { readonly verifier: TokenVerifier; readonly tickets: Pick<TicketApi, 'redeem'> },
): Promise<Identity> {
  if (!verifier.required) return verifier.verify(undefined);
  const credential = readCredential(req.headers);
  if (credential !== undefined) return verifier.verify(credential);
  const isStream = req.method === 'GET' && STREAM.test(req.baseUrl + req.path);
  const ticket = isStream ? textParam(req, 'ticket') : undefined;
  if (ticket !== undefined) return tickets.redeem(ticket);
  throw new MidstreamError('unauthenticated', 'Send Authorization: Bearer … or X-API-Key');
}

/** A path parameter that the route always has. */
export function param(req: Request, name: string): string {
  const value = req.params[name];
  return typeof value === 'string' ? value : '';
}
