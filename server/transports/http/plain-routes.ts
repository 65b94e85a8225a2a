/** The small routes: feedback, and the two probes. */
import type { Router } from 'express';
import { feedbackSchema, parseBy } from '../../../protocol/index.js';
import { only } from './error-response.js';
import type { HttpDeps } from './http-deps.js';
import { callerOf } from './request-context.js';

export function addFeedbackRoute(router: Router, path: string, { api }: HttpDeps): void {
  router
    .route(path)
    .post(async (req, res) => {
      await api.recordFeedback(callerOf(res), parseBy(feedbackSchema, req.body));
      res.json({ status: 'recorded' });
    })
    .all(only('POST'));
}

/** Asked by load balancers, without a credential. */
export function addProbeRoutes(router: Router, { api, clock, probes }: HttpDeps): void {
  router
    .route('/health')
    .get((_req, res) => {
      res.json({
        status: 'healthy',
        timestamp: new Date(clock.now()).toISOString(),
        version: probes.version,
        active_sessions: api.activeSessions,
      });
    })
    .all(only('GET'));

  router
    .route('/ready')
    .get(async (_req, res) => {
      const { ok, checks } = await probes.ready();
      const drain = { ok: !api.draining, detail: api.draining ? 'shutting down' : 'not draining' };
      const ready = ok && drain.ok;
      res.status(ready ? 200 : 503).json({ status: ready ? 'ready' : 'not_ready', checks: { ...checks, drain } });
    })
    .all(only('GET'));
}
