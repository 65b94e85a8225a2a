/** Revokes credentials for who may: within their organisation, on record, and durable before it is answered. */
import { MidstreamError } from '../../protocol/index.js';
import { canInspect, type Policy } from '../core/permissions.js';
import type { AuditOutcome, AuditSink } from '../ports/audit-log.js';
import type { Clock } from '../ports/clock.js';
import type { Directory } from './directory.js';
import type { Caller, RevocationApi, RevocationRequest } from './session-api.js';

export interface RevocationDeskDeps {
  readonly directory: Directory;
  readonly policy: () => Policy;
  readonly audit: AuditSink;
  readonly clock: Clock;
}

export function createRevocationDesk({ directory, policy, audit, clock }: RevocationDeskDeps): RevocationApi {
  const record = ({ principal, requestId }: Caller, request: RevocationRequest, outcome: AuditOutcome) => {
    const { user_id, org_id } = principal;
    const reason = request.reason === undefined ? '' : `: ${request.reason}`;
    const rule = `${request.kind === 'user' ? 'user' : 'key'} ${request.id}${reason}`;
    const at = new Date(clock.now()).toISOString();
    return audit.record({ at, kind: 'revocation', user_id, org_id, rule, outcome, request_id: requestId });
  };
  return {
    async revoke(caller, request) {
      const { principal } = caller;
      directory.knows(principal);
      if (!canInspect(policy(), directory.rolesOf(principal))) {
        void record(caller, request, 'denied');
        throw new MidstreamError('forbidden', 'Only a role with inspect may revoke credentials.');
      }
      const kind = request.kind === 'user' ? 'revoked_user' : 'revoked_key';
      try {
        const { at } = await directory.revoke({ kind, orgId: principal.org_id, id: request.id });
        await record(caller, request, 'applied');
        return { at };
      } catch (error) {
        void record(caller, request, 'error');
        throw error;
      }
    },
  };
}
