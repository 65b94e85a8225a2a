/** The HTTP wire: every route, in the order in which a request meets them. */
import express, { type Express, type Router } from 'express';
import { MidstreamError, PATHS } from '../../../protocol/index.js';
import { addAuditRoutes } from './audit-routes.js';
import { BodyMeter, meterBody } from './body-meter.js';
import { browserPolicy, securityHeaders } from './browser-policy.js';
import { addChatRoutes } from './chat-routes.js';
import { handleErrors, notFound } from './error-response.js';
import { addEventRoutes } from './event-routes.js';
import type { HttpDeps } from './http-deps.js';
import { jsonBody } from './json-body.js';
import { addMemberRoutes } from './member-routes.js';
import { addMetricsRoute } from './metrics-route.js';
import { addPageRoutes } from './page-routes.js';
import { addFeedbackRoute, addProbeRoutes } from './plain-routes.js';
import { authenticate, callerOf, withRequestId } from './request-context.js';
import { addRevocationRoutes } from './revocation-routes.js';
import { addConversationRoutes, addSessionRoutes } from './session-routes.js';
import { addTicketRoutes } from './ticket-routes.js';
import { addToolRoutes } from './tool-routes.js';
import { addUsageRoute } from './usage-routes.js';

export function createHttpApp(deps: HttpDeps): Express {
  const app = express();
  app.disable('x-powered-by');
  app.disable('etag');
  app.use(withRequestId(deps.newId), securityHeaders, browserPolicy(deps.policy));

  addProbeRoutes(app, deps);
  if (deps.metrics) addMetricsRoute(app, deps.metrics);
  if (deps.page !== undefined && !deps.verifier.required) addPageRoutes(app, deps.page);

  // Who asks is settled before a byte of the body is read.
  const ofApi = ['/v1', '/chat', '/feedback', '/conversation'];
  app.use(ofApi, authenticate(deps));
  if (deps.verifier.required)
    app.use(
      ofApi,
      meterBody(new BodyMeter(deps.limits), deps.limits, (res) => callerOf(res).principal),
    );
  app.use(ofApi, jsonBody(deps.limits));
  addApiRoutes(app, deps);

  app.use(notFound);
  app.use(handleErrors(deps));
  return app;
}

function addApiRoutes(router: Router, deps: HttpDeps): void {
  router.get(PATHS.ws, () => {
    throw new MidstreamError('invalid_request', 'This path takes WebSocket clients: send Upgrade: websocket');
  });
  addSessionRoutes(router, deps);
  addMemberRoutes(router, deps);
  addEventRoutes(router, deps);
  addToolRoutes(router, deps);
  if (deps.usage) addUsageRoute(router, deps.usage);
  addAuditRoutes(router, deps);
  addTicketRoutes(router, deps);
  if (deps.revocations) addRevocationRoutes(router, deps, deps.revocations);
  for (const path of [PATHS.chat, '/chat']) addChatRoutes(router, path, deps);
  for (const path of [PATHS.feedback, '/feedback']) addFeedbackRoute(router, path, deps);
  for (const path of ['/v1/conversations/:id', '/conversation/:id']) addConversationRoutes(router, path, deps);
}
