/** `/v1/tools`: what I may use, and one of them called without the model. */
import type { RequestHandler, Response, Router } from 'express';
import { parseBy, toolCallBodySchema } from '../../../protocol/index.js';
import type { SessionApi } from '../../session/session-api.js';
import { only } from './error-response.js';
import type { HttpDeps } from './http-deps.js';
import { readIdempotencyKey, toCommandId } from './idempotency.js';
import { callerOf, param } from './request-context.js';

/** The gate before a route that runs the tool of its `:name`: nothing passes that a session would deny (TOOL-1). */
export function toolGate(api: SessionApi): RequestHandler {
  return (req, res, next) => {
    const { input } = parseBy(toolCallBodySchema, req.body);
    api.checkTool(callerOf(res), param(req, 'name'), input);
    next();
  };
}

export function addToolRoutes(router: Router, { api }: HttpDeps): void {
  router
    .route('/v1/tools')
    .get((_req, res) => {
      const data = api
        .listTools(callerOf(res))
        .map(({ name, description, input_schema, label }) => ({ name, description, input_schema, label }));
      res.json({ data, next_page: null });
    })
    .all(only('GET'));

  router
    .route('/v1/tools/:name/call')
    .post(toolGate(api), async (req, res) => {
      const { input } = parseBy(toolCallBodySchema, req.body);
      const key = readIdempotencyKey(req);
      const result = await api.callTool(callerOf(res), param(req, 'name'), input, {
        signal: goneSignal(res),
        ...(key !== undefined && { idempotencyKey: toCommandId(key) }),
      });
      res.json(result);
    })
    .all(only('POST'));
}

/** Aborts when the client goes before its answer. */
function goneSignal(res: Response): AbortSignal {
  const gone = new AbortController();
  res.once('close', () => {
    if (!res.writableFinished) gone.abort();
  });
  if (res.destroyed) gone.abort();
  return gone.signal;
}
