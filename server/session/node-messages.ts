/** What nodes ask of the one that has a session's actor, and what it answers. */
import type {
  ErrorBody,
  Principal,
  SessionCommand,
  ToolsRegister,
  ToolsUnregister,
  TurnCommand,
} from '../../protocol/index.js';
import type { RateVerdict } from '../ports/rate-limiter.js';
import type { Caller } from './session-api.js';

export interface SentCaller {
  readonly principal: Principal;
  readonly connectionId?: string;
  readonly requestId: string;
}

/** `token`: of the lease under which the node was found to have the actor. */
export type NodeRequest = { readonly sessionId: string; readonly token: string } & (
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
