/** The model, with how its requests end and how long they take. */
import type { Metrics } from '../../ports/metrics.js';
import type { Model } from '../../ports/model.js';
import type { Stopwatch } from './measured-deps.js';

export function measureModel(model: Model, metrics: Metrics, now: Stopwatch): Model {
  const { countTokens } = model;
  return {
    async stream(request, onEvents, signal) {
      const askedAt = now();
      const end = await model.stream(request, onEvents, signal);
      const result = end.type === 'failed' ? end.failure.code : end.type;
      metrics.modelEnded(request.model, request.attempt, result, now() - askedAt);
      return end;
    },
    ...(countTokens && { countTokens: countTokens.bind(model) }),
    status: () => model.status(),
  };
}
