/** What nodes ask of the one that has a session's actor, and what it answers. */
import {
  type ErrorBody,
  MidstreamError,
  type Principal,
  type SessionCommand,
  type ToolsRegister,
  type ToolsUnregister,
  toErrorBody,
  type TurnCommand,
} from '../../protocol/index.js';
import type { RateVerdict } from '../ports/rate-limiter.js';
import type { Caller } from './session-api.js';

export interface SentCaller {
  readonly principal: Principal;
  readonly connectionId?: string;
  readonly requestId: string;
}

export type NodeRequest = { readonly sessionId: string } & (
  | { readonly kind: 'command'; readonly caller: SentCaller; readonly command: SessionCommand }
  | { readonly kind: 'batch'; readonly caller: SentCaller; readonly commands: readonly TurnCommand[] }
  | { readonly kind: 'register'; readonly caller: SentCaller; readonly command: ToolsRegister | ToolsUnregister }
  | { readonly kind: 'leave'; readonly connectionId: string }
  | { readonly kind: 'delete'; readonly caller: SentCaller }
  | { readonly kind: 'registrations' }
);

export type NodeAnswer =
  | { readonly ok: true; readonly value: unknown; readonly counted?: RateVerdict }
  | { readonly ok: false; readonly error: ErrorBody; readonly counted?: RateVerdict }
  /** The actor is not here: whoever asked looks again. */
  | { readonly ok: 'gone' };

export function toSentCaller({ principal, connectionId, requestId }: Caller): SentCaller {
  return { principal, requestId, ...(connectionId !== undefined && { connectionId }) };
}

export function toErrorAnswer(error: unknown): ErrorBody {
  if (!(error instanceof MidstreamError)) return toErrorBody('internal');
  const { code, message, retryAfterMs, details } = error;
  return toErrorBody(code, message, {
    ...(retryAfterMs !== undefined && { retryAfterMs }),
    ...(details && { details }),
  });
}

export function fromErrorAnswer({ code, message, retry_after_ms, details }: ErrorBody): MidstreamError {
  return new MidstreamError(code, message, {
    ...(retry_after_ms !== undefined && { retryAfterMs: retry_after_ms }),
    ...(details && { details }),
  });
}
