/** Whatever a handler threw, as a failure of the table; what isn't one of ours is logged and becomes `internal`. */
import { MidstreamError } from '../../protocol/index.js';
import type { Logger } from '../ports/logger.js';

export function toMidstreamError(thrown: unknown, logger: Logger, requestId: string): MidstreamError {
  if (thrown instanceof MidstreamError) return thrown;
  const { stack } = thrown instanceof Error ? thrown : { stack: String(thrown) };
  logger.error('A request failed for a reason that has no place in the error table', { request_id: requestId, stack });
  return new MidstreamError('internal', `The server failed. Report it with the request id ${requestId}.`);
}

/** Whole seconds for a `Retry-After` header or field; undefined where there is no wait. */
export function retryAfterSeconds(error: { readonly retryAfterMs: number | undefined }): number | undefined {
  return error.retryAfterMs === undefined ? undefined : Math.max(1, Math.ceil(error.retryAfterMs / 1_000));
}
