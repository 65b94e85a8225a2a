/** Metrics as Prometheus reads them, in a registry of their own; with those of the process. */
import { Counter, collectDefaultMetrics, Histogram, Gauge as PromGauge, Registry } from 'prom-client';
import type { ErrorCode, StopReason, Usage } from '../../../protocol/index.js';
import type { Gauge, Metrics } from '../../ports/metrics.js';

export interface PrometheusMetrics extends Metrics {
  readonly contentType: string;
  /** What Prometheus scrapes. */
  render(): Promise<string>;
  close(): void;
}

const GAUGES: Readonly<Record<Gauge, string>> = {
  turns_running: 'Turns that run on this node; those that wait for a client or an approver aside.',
  turns_waiting: 'Sessions whose next turn waits for a place on this node.',
  turn_capacity: 'Turns that may run on this node at a time.',
  sessions_open: 'Sessions in the memory of this node.',
  sockets_open: 'Open WebSockets.',
  budget_holds_open: 'Holds of model requests that run.',
};

const FIRST_CONTENT_S = [0.05, 0.1, 0.2, 0.4, 0.8, 1.5, 3, 6, 12, 30, 60, 120];
/** Users may name models where their role allows any: beyond so many names they are one. */
const MAX_MODELS = 100;

export function createPrometheusMetrics(): PrometheusMetrics {
  const registry = new Registry();
  const registers = [registry];
  collectDefaultMetrics({ register: registry });
  const counter = <T extends string>(name: string, help: string, ...labelNames: T[]) =>
    new Counter({ name: `midstream_${name}`, help, labelNames, registers });
  const ended = counter('turns_ended_total', 'Turns that ended, by why.', 'stop_reason');
  const denials = counter('denials_total', 'What a gate refused, by the code of its error.', 'reason');
  const tokens = counter('tokens_total', 'Tokens of settled model requests.', 'model', 'kind');
  const cost = counter('cost_usd_total', 'Cost of settled model requests in US dollars.', 'model');
  const firstContent = new Histogram({
    name: 'midstream_first_content_seconds',
    help: 'From a model request to the first content of its answer.',
    labelNames: ['model'],
    buckets: FIRST_CONTENT_S,
    registers,
  });
  const models = new Set<string>();
  const toModel = (model: string): string => {
    if (models.size < MAX_MODELS) models.add(model);
    return models.has(model) ? model : 'other';
  };
  return {
    contentType: registry.contentType,
    render: () => registry.metrics(),
    close: () => registry.clear(),
    gauge(name: Gauge, read: () => number): void {
      new PromGauge({
        name: `midstream_${name}`,
        help: GAUGES[name],
        registers,
        collect() {
          this.set(read());
        },
      });
    },
    turnEnded: (stop_reason: StopReason) => ended.inc({ stop_reason }),
    denied: (reason: ErrorCode) => denials.inc({ reason }),
    spent(name: string, usage: Usage, costNanoUsd: number): void {
      const model = toModel(name);
      tokens.inc({ model, kind: 'input' }, usage.input_tokens);
      tokens.inc({ model, kind: 'output' }, usage.output_tokens);
      tokens.inc({ model, kind: 'cache_creation' }, usage.cache_creation_input_tokens);
      tokens.inc({ model, kind: 'cache_read' }, usage.cache_read_input_tokens);
      cost.inc({ model }, costNanoUsd / 1e9);
    },
    firstContent: (name: string, ms: number) => firstContent.observe({ model: toModel(name) }, ms / 1_000),
  };
}
