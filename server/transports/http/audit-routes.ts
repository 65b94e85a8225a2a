/** `GET /v1/audit`: one page of the audit log, the last record first. */
import type { Request, Router } from 'express';
import { AUDIT_KINDS, AUDIT_OUTCOMES, MidstreamError, PATHS } from '../../../protocol/index.js';
import type { AuditQuery } from '../../ports/audit-log.js';
import { only } from './error-response.js';
import type { HttpDeps } from './http-deps.js';
import { numberParam, textParam, timeParam } from './query.js';
import { callerOf } from './request-context.js';

const DEFAULT_PAGE = 100;
const MAX_PAGE = 1_000;

export function addAuditRoutes(router: Router, { api }: HttpDeps): void {
  router
    .route(PATHS.audit)
    .get(async (req, res) => {
      const { records, nextPage } = await api.listAudit(callerOf(res), readAuditQuery(req));
      res.json({ data: records, next_page: nextPage ?? null });
    })
    .all(only('GET'));
}

function readAuditQuery(req: Request): Omit<AuditQuery, 'orgId'> {
  const page = textParam(req, 'page');
  const userId = textParam(req, 'user_id');
  const kind = oneOf(req, 'kind', AUDIT_KINDS);
  const outcome = oneOf(req, 'outcome', AUDIT_OUTCOMES);
  const since = timeParam(req, 'since');
  const until = timeParam(req, 'until');
  return {
    limit: numberParam(req, 'limit', { min: 1, max: MAX_PAGE }) ?? DEFAULT_PAGE,
    ...(page !== undefined && { page }),
    ...(userId !== undefined && { userId }),
    ...(kind !== undefined && { kind }),
    ...(outcome !== undefined && { outcome }),
    ...(since !== undefined && { since }),
    ...(until !== undefined && { until }),
  };
}

function oneOf<T extends string>(req: Request, name: string, values: readonly T[]): T | undefined {
  const text = textParam(req, name);
  const value = values.find((known) => known === text);
  if (text !== undefined && value === undefined)
    throw new MidstreamError('invalid_request', `${name}: must be one of ${values.join(', ')}`);
  return value;
}
