/** Between the machine's replies and what callers get: acceptances, and refusals as errors. */
import { fromErrorBody, MidstreamError } from '../../protocol/index.js';
import type { Reply, Sender } from '../core/transition.js';
import type { Accepted, Caller } from './session-api.js';

/** Which of several commands was refused; `cause` is why. */
export class Refused extends Error {
  constructor(
    readonly index: number,
    cause: unknown,
  ) {
    super('refused', { cause });
  }

  /** Why, with the place as `details.index`. */
  withIndex(): unknown {
    const { cause, index } = this;
    // Of a session that may not exist nothing is told (AUTH-3).
    if (!(cause instanceof MidstreamError) || cause.code === 'session_not_found') return cause;
    const { code, message, retryAfterMs, details } = cause;
    return new MidstreamError(code, message, { retryAfterMs, details: { ...details, index } });
  }
}

/** The actor was put to rest or failed before it did anything: another one, opened from the log, can. */
export class ActorGone extends Error {
  override readonly name = 'ActorGone';
}

/** The store failed under a command: whether it took effect is not known (CMD-3). */
export const unavailable = (): MidstreamError =>
  new MidstreamError('store_unavailable', undefined, { details: { outcome: 'unknown' } });

export const isUnavailable = (error: unknown): boolean =>
  error instanceof MidstreamError && error.code === 'store_unavailable';

export const toSender = ({ principal, connectionId }: Caller): Sender => ({ principal, connectionId });

export function toAccepted(reply: Reply): Accepted {
  if (!reply.ok) throw toRefusal(reply);
  return { applied_at_seq: reply.appliedAtSeq, result: reply.result };
}

export function toRefusal(reply: Reply | undefined): MidstreamError {
  if (!reply || reply.ok) return unavailable();
  return fromErrorBody(reply.error);
}
