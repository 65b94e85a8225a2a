/** `/v1/sessions/:id/members`: who shares a session. */
import type { Request, Response, Router } from 'express';
import { type MemberUpdate, memberBodySchema, parseBy } from '../../../protocol/index.js';
import { only } from './error-response.js';
import type { HttpDeps } from './http-deps.js';
import { readIdempotencyKey, toCommandId } from './idempotency.js';
import { callerOf, param } from './request-context.js';

export function addMemberRoutes(router: Router, { api, newId }: HttpDeps): void {
  const update = async (req: Request, res: Response, change: Pick<MemberUpdate, 'user_id' | 'role'>): Promise<void> => {
    const key = readIdempotencyKey(req);
    const id = key === undefined ? newId('cmd') : toCommandId(key);
    await api.dispatch(callerOf(res), { type: 'session.member_update', id, session_id: param(req, 'id'), ...change });
  };

  router
    .route('/v1/sessions/:id/members')
    .get(async (req, res) => {
      const { members } = await api.getSession(callerOf(res), param(req, 'id'));
      res.json({ data: members, next_page: null });
    })
    .post(async (req, res) => {
      const member = parseBy(memberBodySchema, req.body);
      await update(req, res, member);
      res.json(member);
    })
    .all(only('GET', 'POST'));

  router
    .route('/v1/sessions/:id/members/:user_id')
    .delete(async (req, res) => {
      const user_id = param(req, 'user_id');
      await update(req, res, { user_id, role: null });
      res.json({ user_id, role: null });
    })
    .all(only('DELETE'));
}
