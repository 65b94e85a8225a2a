/** `POST /v1/revocations`: what was issued until now is dead. */
import type { Router } from 'express';
import { MidstreamError, PATHS, parseBy, revocationBodySchema } from '../../../protocol/index.js';
import type { RevocationApi } from '../../session/session-api.js';
import { only } from './error-response.js';
import type { HttpDeps } from './http-deps.js';
import { callerOf } from './request-context.js';

export function addRevocationRoutes(router: Router, { verifier }: HttpDeps, revocations: RevocationApi): void {
  router
    .route(PATHS.revocations)
    .post(async (req, res) => {
      const { user_id, key_id, reason } = parseBy(revocationBodySchema, req.body);
      if (!verifier.required)
        throw new MidstreamError('invalid_request', 'In dev there are no credentials that could be revoked');
      const kind = user_id === undefined ? 'key' : 'user';
      const { at } = await revocations.revoke(callerOf(res), { kind, id: user_id ?? key_id ?? '', reason });
      res.json({ ...(user_id === undefined ? { key_id } : { user_id }), revoked_at: new Date(at).toISOString() });
    })
    .all(only('POST'));
}
