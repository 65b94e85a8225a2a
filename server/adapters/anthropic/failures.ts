/** What the API, the SDK and the socket say went wrong → a failure of the port, and whether sending again may help. */
import { APIConnectionError, APIConnectionTimeoutError, APIError } from '@anthropic-ai/sdk';
import type { ErrorCode } from '../../../protocol/index.js';
import type { ModelFailure } from '../../ports/model.js';
import { MalformedEvent, type WireObject } from './model-events.js';
import { SseEventTooLarge } from './sse-reader.js';
import type { WatchPhase } from './watchdog.js';

const MAX_MESSAGE_CHARS = 1_000;

const failure = (code: ErrorCode, message: string, retryable: boolean, retryAfterMs?: number): ModelFailure => ({
  code,
  message: message.slice(0, MAX_MESSAGE_CHARS),
  retryable,
  ...(retryAfterMs === undefined ? {} : { retryAfterMs }),
});

/** The operator's account can't pay: it comes as 400, 402 or 429, and waiting for seconds doesn't help. */
const SPEND_CODES: ReadonlySet<string> = new Set([
  'enforced_spend_limit_reached',
  'contract_spend_limit_reached',
  'linked_organization_spend_limit_reached',
]);
const SPEND_WORDS = /credit balance is too low|(?:api usage|spend(?:ing)?) limits?\b/i;
const CONTEXT_WORDS =
  /prompt is too long|exceeds? (?:the )?(?:model'?s )?(?:maximum )?context (?:limit|window|length)/i;

/** A failure before the stream began, as the SDK threw it. `nowMs`: milliseconds since 1970. */
export function toRequestFailure(error: unknown, nowMs: number): ModelFailure {
  if (error instanceof APIConnectionTimeoutError) {
    return failure('upstream_timeout', 'the connection to the model’s API timed out', true);
  }
  if (error instanceof APIConnectionError || !(error instanceof APIError) || error.status === undefined) {
    return failure('upstream_error', `could not reach the model’s API: ${reasonOf(error)}`, true);
  }
  const found = toStatusFailure(error as APIError<number>, retryAfterOf(error.headers, nowMs));
  return error.headers?.get('x-should-retry') === 'false' ? { ...found, retryable: false } : found;
}

function toStatusFailure(error: APIError<number>, retryAfterMs: number | undefined): ModelFailure {
  const { status, errorCode } = error;
  const words = wordsOf(error);
  if (isSpent(status, errorCode, words)) return failure('upstream_auth', words, false);
  switch (status) {
    case 401:
    case 403:
      return failure('upstream_auth', words, false);
    case 408:
    case 504:
      return failure('upstream_timeout', words, true, retryAfterMs);
    case 429:
      return failure('upstream_rate_limited', words, true, retryAfterMs);
    case 503:
    case 529:
      return failure('upstream_overloaded', words, true, retryAfterMs);
    case 409:
      return failure('upstream_error', words, true, retryAfterMs);
  }
  if (status >= 500) return failure('upstream_error', words, true, retryAfterMs);
  if (status >= 400) return toRefusal(words);
  return failure('upstream_error', words, false);
}

function toRefusal(words: string): ModelFailure {
  return failure(CONTEXT_WORDS.test(words) ? 'context_window_exceeded' : 'upstream_refused', words, false);
}

function isSpent(status: number | undefined, errorCode: string | null, words: string): boolean {
  if (errorCode !== null && SPEND_CODES.has(errorCode)) return true;
  return status === 402 || (status === 400 && SPEND_WORDS.test(words));
}

/** An `error` event of a stream that had begun. */
export function toEventFailure(event: WireObject): ModelFailure {
  const error = isObject(event['error']) ? event['error'] : {};
  const type = String(error['type'] ?? 'error');
  const words = typeof error['message'] === 'string' ? error['message'] : 'the model’s API ended the stream';
  const message = `${type}: ${words}`;
  const code = isObject(error['details']) ? error['details']['error_code'] : undefined;
  if (isSpent(undefined, typeof code === 'string' ? code : null, words))
    return failure('upstream_auth', message, false);
  switch (type) {
    case 'overloaded_error':
      return failure('upstream_overloaded', message, true);
    case 'rate_limit_error':
      return failure('upstream_rate_limited', message, true);
    case 'timeout_error':
      return failure('upstream_timeout', message, true);
    case 'authentication_error':
    case 'permission_error':
    case 'billing_error':
      return failure('upstream_auth', message, false);
    case 'invalid_request_error':
    case 'not_found_error':
    case 'request_too_large':
      return toRefusal(message);
    default:
      return failure('upstream_error', message, true);
  }
}

/** A body that broke: the socket's error, or the reader's. */
export function toBodyFailure(error: unknown): ModelFailure {
  const code = codeOf(error);
  if (error instanceof MalformedEvent || error instanceof SseEventTooLarge) {
    return failure('upstream_error', `the model’s stream is not valid: ${error.message}`, true);
  }
  // The peer's FIN in the middle of a chunked body.
  if (code === 'UND_ERR_SOCKET') return TRUNCATED;
  if (code === 'ECONNRESET') return failure('upstream_error', 'connection reset by the model’s API', true);
  return failure('upstream_error', `the model’s stream broke: ${reasonOf(error)}`, true);
}

export const TRUNCATED: ModelFailure = failure(
  'upstream_truncated',
  'the model’s stream ended before message_stop',
  true,
);

export function toTimeoutFailure(phase: WatchPhase, limitMs: number): ModelFailure {
  const missing = {
    headers: 'no response headers',
    first_content: 'no content',
    silence: 'nothing but pings',
    body_end: 'no end',
  }[phase];
  return failure('upstream_timeout', `${missing} from the model’s API for ${limitMs} ms`, true);
}

/** A 2xx that is no event stream: the base URL names something else than the Messages API. */
export function toNotAStreamFailure(status: number, contentType: string | null): ModelFailure {
  const what = contentType ?? 'no content type';
  return failure('upstream_error', `HTTP ${status} with ${what} instead of an event stream: check the base URL`, false);
}

/** The provider's own words; a page of HTML from something on the way is none. */
function wordsOf(error: APIError): string {
  if (typeof error.apiMessage === 'string' && error.apiMessage !== '')
    return `HTTP ${error.status}: ${error.apiMessage}`;
  const text = error.message.replace(/^\d+ /, '').trim();
  return text === '' || text.startsWith('<') || text.startsWith('{')
    ? `HTTP ${error.status} without an error of the API`
    : `HTTP ${error.status}: ${text.slice(0, 200)}`;
}

function retryAfterOf(headers: Headers | undefined, nowMs: number): number | undefined {
  const ms = Number(headers?.get('retry-after-ms') ?? Number.NaN);
  if (ms >= 0 && Number.isFinite(ms)) return Math.ceil(ms);
  const after = headers?.get('retry-after');
  if (after === undefined || after === null || after.trim() === '') return undefined;
  const seconds = Number(after);
  if (seconds >= 0 && Number.isFinite(seconds)) return Math.ceil(seconds * 1_000);
  const at = Date.parse(after);
  return Number.isNaN(at) ? undefined : Math.max(0, at - nowMs);
}

/** The first code in the chain of causes, else the words of the innermost error. */
function reasonOf(error: unknown): string {
  let words = 'unknown';
  for (const { code, message } of causesOf(error)) {
    if (typeof code === 'string') return code;
    if (typeof message === 'string') words = message;
  }
  return words;
}

const codeOf = (error: unknown): unknown => causesOf(error).find(({ code }) => typeof code === 'string')?.['code'];

function causesOf(error: unknown): WireObject[] {
  const causes: WireObject[] = [];
  for (let at = error; isObject(at) && causes.length < 5; at = at['cause']) causes.push(at);
  return causes;
}

const isObject = (value: unknown): value is WireObject =>
  typeof value === 'object' && value !== null && !Array.isArray(value);
