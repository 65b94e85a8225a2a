/** `/v1/sessions`: create, list, read, delete, and the history as messages. */
import type { Request, Router } from 'express';
import { parseBy, sessionCreateBodySchema } from '../../../protocol/index.js';
import { only } from './error-response.js';
import type { HttpDeps } from './http-deps.js';
import { readIdempotencyKey, toCommandId } from './idempotency.js';
import { numberParam, textParam } from './query.js';
import { callerOf, param } from './request-context.js';
import { withoutSdkFields } from './sdk-session-fields.js';
import { toSessionResource } from './session-resource.js';

const DEFAULT_PAGE = 20;
const MAX_PAGE = 100;

function readCreate(req: Request, deps: HttpDeps) {
  const { agent, title, metadata } = parseBy(sessionCreateBodySchema, withoutSdkFields(req.body as object));
  const key = readIdempotencyKey(req);
  return {
    type: 'session.create' as const,
    id: key === undefined ? deps.newId('cmd') : toCommandId(key),
    ...(agent === undefined ? {} : { agent }),
    ...(title === undefined ? {} : { title }),
    ...(metadata === undefined ? {} : { metadata }),
  };
}

export function addSessionRoutes(router: Router, deps: HttpDeps): void {
  const { api } = deps;

  router
    .route('/v1/sessions')
    .post(async (req, res) => {
      const { result } = await api.dispatch(callerOf(res), readCreate(req, deps));
      if (result.session === undefined) throw new Error('session.create was accepted without a session');
      res.status(201).json(toSessionResource(result.session));
    })
    .get(async (req, res) => {
      const limit = numberParam(req, 'limit', { min: 1, max: MAX_PAGE }) ?? DEFAULT_PAGE;
      const page = textParam(req, 'page');
      const { data, nextPage } = await api.listSessions(callerOf(res), {
        limit,
        ...(page === undefined ? {} : { page }),
      });
      res.json({ data: data.map(toSessionResource), next_page: nextPage ?? null, prev_page: null });
    })
    .all(only('POST', 'GET'));

  router
    .route('/v1/sessions/:id')
    .get(async (req, res) => {
      res.json(toSessionResource(await api.getSession(callerOf(res), param(req, 'id'))));
    })
    .delete(async (req, res) => {
      const id = param(req, 'id');
      await api.deleteSession(callerOf(res), id);
      res.json({ id, type: 'session_deleted' });
    })
    .all(only('GET', 'DELETE'));

  router
    .route('/v1/sessions/:id/messages')
    .get(async (req, res) => {
      res.json({ data: await api.listMessages(callerOf(res), param(req, 'id')), next_page: null });
    })
    .all(only('GET'));
}

/** The simple view of a session, at `path` with `:id`. */
export function addConversationRoutes(router: Router, path: string, { api }: HttpDeps): void {
  router
    .route(path)
    .get(async (req, res) => {
      const id = param(req, 'id');
      const messages = await api.listMessages(callerOf(res), id);
      res.json({ conversation_id: id, messages, message_count: messages.length });
    })
    .delete(async (req, res) => {
      await api.deleteSession(callerOf(res), param(req, 'id'));
      res.json({ status: 'deleted' });
    })
    .all(only('GET', 'DELETE'));
}
