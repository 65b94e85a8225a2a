/** `GET /metrics`: what operators watch, without a credential; it names no user. */
import type { Router } from 'express';
import { only } from './error-response.js';

export interface MetricsPage {
  readonly contentType: string;
  render(): Promise<string>;
}

export function addMetricsRoute(router: Router, metrics: MetricsPage): void {
  router
    .route('/metrics')
    .get(async (_req, res) => {
      res.set('Content-Type', metrics.contentType).end(await metrics.render());
    })
    .all(only('GET'));
}
