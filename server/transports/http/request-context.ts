/** What every request carries through the handlers: its id, and who asks. */
import type { Request, RequestHandler, Response } from 'express';
import { MidstreamError } from '../../../protocol/index.js';
import type { NewId } from '../../ports/identity.js';
import type { TokenVerifier } from '../../ports/token-verifier.js';
import type { Caller } from '../../session/session-api.js';
import { readCredential } from '../credential.js';
import { setRateHeaders } from './rate-headers.js';

interface Context {
  requestId: string;
  caller?: Caller;
  expiresAt?: number | undefined;
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

/** When the credential ends, milliseconds since 1970; undefined where it doesn't. */
export const expiryOf = (res: Response): number | undefined => contextOf(res).expiresAt;

export function withRequestId(newId: NewId): RequestHandler {
  return (req, res, next) => {
    const given = req.get('X-Request-Id');
    contextOf(res).requestId = given !== undefined && SANE_ID.test(given) ? given : newId('req');
    // The second name is where the official SDK looks.
    res.set({ 'X-Request-Id': requestIdOf(res), 'request-id': requestIdOf(res) });
    next();
  };
}

export function authenticate(verifier: TokenVerifier): RequestHandler {
  return async (req, res, next) => {
    const credential = verifier.required ? readCredential(req.headers) : undefined;
    if (verifier.required && credential === undefined)
      throw new MidstreamError('unauthenticated', 'Send Authorization: Bearer … or X-API-Key');
    const { principal, expiresAt } = await verifier.verify(credential);
    contextOf(res).caller = {
      principal,
      requestId: requestIdOf(res),
      onCounted: (verdict) => setRateHeaders(res, verdict),
    };
    contextOf(res).expiresAt = expiresAt;
    next();
  };
}

/** A path parameter that the route always has. */
export function param(req: Request, name: string): string {
  const value = req.params[name];
  return typeof value === 'string' ? value : '';
}
