export { CATALOG, type MetricSpec, PREFIX } from './catalog.js';
export { createPrometheusMetrics, type PrometheusMetrics } from './prometheus-metrics.js';
