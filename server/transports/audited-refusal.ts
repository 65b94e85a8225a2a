/** A credential that was missing or refused, on whatever wire: one record of the audit. */
import type { MidstreamError, Principal } from '../../protocol/index.js';
import type { AuditSink } from '../ports/audit-log.js';
import type { Clock } from '../ports/clock.js';

export interface RefusalDeps {
  readonly audit: AuditSink;
  readonly clock: Clock;
}

export interface RefusedRequest {
  readonly requestId: string;
  readonly clientAddress: string | undefined;
  /** Whose connection it is, where that was known before: a renewal was refused. */
  readonly principal?: Principal | undefined;
}

/** Records an error that says who asks is not known, or is not who they were; others are not about that. */
export function recordRefusal(
  error: MidstreamError,
  { requestId, clientAddress, principal }: RefusedRequest,
  { audit, clock }: RefusalDeps,
): void {
  const isOther = principal !== undefined && error.code === 'forbidden';
  if (error.row.status !== 401 && !isOther) return;
  void audit.record({
    at: new Date(clock.now()).toISOString(),
    kind: 'authentication',
    ...(principal && { user_id: principal.user_id, org_id: principal.org_id }),
    rule: error.code,
    outcome: 'refused',
    request_id: requestId,
    ...(clientAddress !== undefined && { client_address: clientAddress }),
  });
}
