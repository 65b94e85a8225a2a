/** A credential that was missing or refused, on whatever wire: one record of the audit. */
import type { MidstreamError } from '../../protocol/index.js';
import type { AuditSink } from '../ports/audit-log.js';
import type { Clock } from '../ports/clock.js';

export interface RefusalDeps {
  readonly audit: AuditSink;
  readonly clock: Clock;
}

export interface RefusedRequest {
  readonly requestId: string;
  readonly clientAddress: string | undefined;
}

/** Records an error that says who asks is not known; others are not about that. */
export function recordRefusal(
  error: MidstreamError,
  { requestId, clientAddress }: RefusedRequest,
  { audit, clock }: RefusalDeps,
): void {
  if (error.row.status !== 401) return;
  void audit.record({
    at: new Date(clock.now()).toISOString(),
    kind: 'authentication',
    rule: error.code,
    outcome: 'refused',
    request_id: requestId,
    ...(clientAddress !== undefined && { client_address: clientAddress }),
  });
}
