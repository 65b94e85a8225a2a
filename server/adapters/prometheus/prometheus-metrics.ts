/** Metrics as Prometheus reads them, in a registry of their own; with those of the process. */
import { Counter, collectDefaultMetrics, Histogram, Gauge as PromGauge, Registry } from 'prom-client';
import type { Gauge, Metrics, Reading, Total } from '../../ports/metrics.js';
import { CATALOG, type MetricName, type MetricSpec, PREFIX } from './catalog.js';

export interface PrometheusMetrics extends Metrics {
  readonly contentType: string;
  /** What Prometheus scrapes. */
  render(): Promise<string>;
  close(): void;
}

/** Users may name models where their role allows any: beyond so many names they are one. */
const MAX_MODELS = 100;
const MS_PER_S = 1_000;
const NANO_PER_USD = 1e9;

export function createPrometheusMetrics(): PrometheusMetrics {
  const registry = new Registry();
  collectDefaultMetrics({ register: registry });
  const optionsOf = (name: MetricName) => {
    const { help, labels = [] }: MetricSpec = CATALOG[name];
    return { name: PREFIX + name, help, labelNames: [...labels], registers: [registry] };
  };
  const counter = (name: MetricName): Counter => new Counter(optionsOf(name));
  const histogram = (name: MetricName): Histogram => {
    const { buckets = [] }: MetricSpec = CATALOG[name];
    return new Histogram({ ...optionsOf(name), buckets: [...buckets] });
  };
  /** Each value with its label, where the metric has one. */
  const spread = (name: MetricName, reading: Reading, set: (labels: Record<string, string>, value: number) => void) => {
    const { labels: [label] = [] }: MetricSpec = CATALOG[name];
    if (typeof reading === 'number') set({}, reading);
    else for (const [value, number] of Object.entries(reading)) set({ [label as string]: value }, number);
  };

  const turnsEnded = counter('turns_ended_total');
  const turnSeconds = histogram('turn_seconds');
  const turnsTakenUp = counter('turns_taken_up_total');
  const cancelSeconds = histogram('cancel_seconds');
  const denials = counter('denials_total');
  const modelRequests = counter('model_requests_total');
  const modelRetries = counter('model_retries_total');
  const firstContentSeconds = histogram('first_content_seconds');
  const modelRequestSeconds = histogram('model_request_seconds');
  const tokens = counter('tokens_total');
  const costUsd = counter('cost_usd_total');
  const toolCalls = counter('tool_calls_total');
  const toolSeconds = histogram('tool_seconds');
  const appendSeconds = histogram('log_append_seconds');
  const appendFailures = counter('log_append_failures_total');
  const logEpochs = counter('log_epochs_total');
  const leaseChanges = counter('lease_changes_total');
  const nodeAsks = counter('node_asks_total');
  const nodeAskSeconds = histogram('node_ask_seconds');

  const models = new Set<string>();
  const toModel = (model: string): string => {
    if (models.size < MAX_MODELS) models.add(model);
    return models.has(model) ? model : 'other';
  };

  return {
    contentType: registry.contentType,
    render: () => registry.metrics(),
    close: () => registry.clear(),
    gauge(name: Gauge, read): void {
      new PromGauge({
        ...optionsOf(name),
        async collect() {
          const reading = await read();
          this.reset();
          spread(name, reading, (labels, value) => this.set(labels, value));
        },
      });
    },
    total(name: Total, read): void {
      const full = `${name}_total` as const;
      new Counter({
        ...optionsOf(full),
        collect() {
          this.reset();
          spread(full, read(), (labels, value) => this.inc(labels, value));
        },
      });
    },
    turnEnded(stop_reason, durationMs) {
      turnsEnded.inc({ stop_reason });
      turnSeconds.observe(durationMs / MS_PER_S);
    },
    turnTakenUp: () => turnsTakenUp.inc(),
    denied: (reason) => denials.inc({ reason }),
    spent(name, usage, costNanoUsd) {
      const model = toModel(name);
      tokens.inc({ model, kind: 'input' }, usage.input_tokens);
      tokens.inc({ model, kind: 'output' }, usage.output_tokens);
      tokens.inc({ model, kind: 'cache_creation' }, usage.cache_creation_input_tokens);
      tokens.inc({ model, kind: 'cache_read' }, usage.cache_read_input_tokens);
      costUsd.inc({ model }, costNanoUsd / NANO_PER_USD);
    },
    firstContent: (name, ms) => firstContentSeconds.observe({ model: toModel(name) }, ms / MS_PER_S),
    modelEnded(name, attempt, result, ms) {
      const model = toModel(name);
      modelRequests.inc({ model, result });
      if (attempt > 1) modelRetries.inc({ model });
      modelRequestSeconds.observe({ model }, ms / MS_PER_S);
    },
    toolEnded: (tool, outcome) =>
      toolCalls.inc({ kind: tool.kind, tool: tool.kind === 'server' ? tool.name : '', outcome }),
    toolRan: (tool, ms) => toolSeconds.observe({ tool }, ms / MS_PER_S),
    cancelled: (ms) => cancelSeconds.observe(ms / MS_PER_S),
    appended: (contents, ms) => appendSeconds.observe({ contents }, ms / MS_PER_S),
    appendFailed: (reason) => appendFailures.inc({ reason }),
    leaseChanged: (change) => leaseChanges.inc({ change }),
    epochBegan: () => logEpochs.inc(),
    asked(outcome, ms) {
      nodeAsks.inc({ outcome });
      if (outcome === 'answered') nodeAskSeconds.observe(ms / MS_PER_S);
    },
  };
}
