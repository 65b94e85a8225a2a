/** `POST /v1/ws-tickets`: what a browser opens a socket or an event stream with. */
import type { Router } from 'express';
import { PATHS, parseBy, ticketBodySchema } from '../../../protocol/index.js';
import { only } from './error-response.js';
import type { HttpDeps } from './http-deps.js';
import { identityOf } from './request-context.js';

export function addTicketRoutes(router: Router, { tickets }: HttpDeps): void {
  router
    .route(PATHS.tickets)
    .post(async (req, res) => {
      parseBy(ticketBodySchema, req.body);
      const { ticket, expiresAt } = await tickets.issue(identityOf(res));
      res.json({ ticket, expires_at: new Date(expiresAt).toISOString() });
    })
    .all(only('POST'));
}
