/** The failures that a script can order, as the port names them. */
import type { ModelEnd, ModelFailure } from '../../ports/model.js';
import type { ScriptFailure } from './script.js';

type Failing = Exclude<ScriptFailure['kind'], 'stall'>;

const FAILURES: Readonly<Record<Failing, ModelFailure>> = {
  overloaded: { code: 'upstream_overloaded', message: 'Overloaded', retryable: true },
  rate_limited: { code: 'upstream_rate_limited', message: 'Rate limit reached', retryable: true },
  timeout: { code: 'upstream_timeout', message: 'The model did not answer in time', retryable: true },
  cut: { code: 'upstream_truncated', message: 'The stream ended before message_stop', retryable: true },
  reset: { code: 'upstream_error', message: 'The connection was reset', retryable: true },
  refused: { code: 'upstream_refused', message: 'The request was refused', retryable: false },
  auth: { code: 'upstream_auth', message: 'The key was refused', retryable: false },
  context_window: { code: 'context_window_exceeded', message: 'The prompt is too long', retryable: false },
};

/** Undefined for a stall, which has no end of its own. */
export function toEnd(failure: ScriptFailure): ModelEnd | undefined {
  if (failure.kind === 'stall') return undefined;
  const { message, retry_after_ms: retryAfterMs } = failure;
  const base = FAILURES[failure.kind];
  return {
    type: 'failed',
    failure: { ...base, ...(message ? { message } : {}), ...(retryAfterMs === undefined ? {} : { retryAfterMs }) },
  };
}
