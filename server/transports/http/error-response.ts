/** Turns a failure into an HTTP answer: Anthropic's envelope with our fields. */
import type { ErrorRequestHandler, RequestHandler, Response } from 'express';
import { bodyOf, MidstreamError } from '../../../protocol/index.js';
import type { Logger } from '../../ports/logger.js';
import { type RefusalDeps, recordRefusal } from '../audited-refusal.js';
import { createClientAddress, type ReadClientAddress } from '../client-address.js';
import { retryAfterSeconds, toMidstreamError } from '../wire-error.js';
import { requestIdOf } from './request-context.js';

interface ErrorDeps extends RefusalDeps {
  readonly logger: Logger;
  readonly clientAddress?: ReadClientAddress;
}

/** When a store that is away is worth another try. */
const STORE_RETRY_SECONDS = 1;

export function sendError(res: Response, error: MidstreamError): void {
  const { row } = error;
  const retryAfter = retryAfterSeconds(error) ?? (error.code === 'store_unavailable' ? STORE_RETRY_SECONDS : undefined);
  if (retryAfter !== undefined) res.set('Retry-After', String(retryAfter));
  if (!row.retryable) res.set('x-should-retry', 'false');
  if (row.status === 401) res.set('WWW-Authenticate', 'Bearer');
  res.status(row.status).json({ type: 'error', error: bodyOf(error), request_id: requestIdOf(res) });
}

/** What Express and its body reader throw, by the names they give it. */
function fromExpress(thrown: unknown): MidstreamError | undefined {
  const { type, status, limit } = (thrown ?? {}) as { type?: unknown; status?: unknown; limit?: unknown };
  if (type === 'entity.too.large')
    return new MidstreamError('payload_too_large', `The body is larger than the ${String(limit)} bytes that are taken`);
  if (type === 'encoding.unsupported')
    return new MidstreamError('invalid_request', 'Send the body without Content-Encoding');
  if (thrown instanceof URIError || (typeof status === 'number' && status >= 400 && status < 500))
    return new MidstreamError('invalid_request', 'The request could not be read; check its path and its headers');
  return undefined;
}

export function handleErrors(deps: ErrorDeps): ErrorRequestHandler {
  const clientAddress = deps.clientAddress ?? createClientAddress([]);
  return (thrown: unknown, req, res, _next) => {
    const requestId = requestIdOf(res);
    const error = fromExpress(thrown) ?? toMidstreamError(thrown, deps.logger, requestId);
    recordRefusal(error, { requestId, clientAddress: clientAddress(req) }, deps);
    if (res.headersSent || res.destroyed) {
      res.destroy();
      return;
    }
    sendError(res, error);
  };
}

export const notFound: RequestHandler = (req) => {
  throw new MidstreamError('not_found', `There is no ${req.method} ${req.path.slice(0, 200)} here`);
};

/** Behind the routes of a path: another method than those it takes. */
export function only(...methods: readonly string[]): RequestHandler {
  return (req, res) => {
    res.set('Allow', methods.join(', '));
    throw new MidstreamError(
      'not_found',
      `${req.path.slice(0, 200)} takes ${methods.join(' and ')}, not ${req.method}`,
    );
  };
}
