/** The one table of failures: what each code means on every wire, and what to do about it. Free of zod, so that clients may import it. */

/** Anthropic's outer error types, as the SDKs of the Messages API know them. */
export type AnthropicErrorType =
  | 'invalid_request_error'
  | 'authentication_error'
  | 'permission_error'
  | 'not_found_error'
  | 'conflict_error'
  | 'request_too_large'
  | 'rate_limit_error'
  | 'api_error'
  | 'overloaded_error'
  | 'timeout_error';

export interface ErrorRow {
  /** HTTP status. */
  readonly status: number;
  readonly type: AnthropicErrorType;
  /** Whether the same request, sent again unchanged, may succeed. */
  readonly retryable: boolean;
  /** WebSocket close code where the failure ends the connection. */
  readonly close?: number;
  /** What to do next, as a sentence for the developer who reads it. */
  readonly advice: string;
}

const row = (status: number, type: AnthropicErrorType, retryable: boolean, advice: string, close?: number): ErrorRow =>
  close === undefined ? { status, type, retryable, advice } : { status, type, retryable, advice, close };

export const ERRORS = {
  invalid_request: row(
    400,
    'invalid_request_error',
    false,
    'Mend the field that the message names and send it again.',
    4400,
  ),
  context_window_exceeded: row(
    400,
    'invalid_request_error',
    false,
    'The conversation no longer fits the model. Send less, or go on in a new session.',
  ),
  unauthenticated: row(401, 'authentication_error', false, 'Send a valid credential.', 4401),
  token_expired: row(401, 'authentication_error', false, 'Get a new token and connect again.', 4401),
  forbidden: row(
    403,
    'permission_error',
    false,
    'Ask an owner of the session, or an operator, for the permission.',
    4403,
  ),
  forbidden_tool: row(403, 'permission_error', false, 'Your role may not call this tool with this input.'),
  session_not_found: row(404, 'not_found_error', false, 'Check the session id, or create a session.'),
  turn_not_found: row(404, 'not_found_error', false, 'Check the id; it names no turn of this session.'),
  tool_call_not_found: row(404, 'not_found_error', false, 'Check the id; it names no tool call of this session.'),
  not_found: row(404, 'not_found_error', false, 'Check the method and the path.'),
  busy: row(409, 'conflict_error', true, 'A turn is running. Wait for turn.ended, or choose another on_busy.'),
  already_resolved: row(409, 'conflict_error', false, 'The call has its result already; nothing is left to do.'),
  idempotency_conflict: row(409, 'conflict_error', false, 'This id was used for another body. Use a new id.'),
  last_owner: row(409, 'conflict_error', false, 'A session keeps an owner. Make somebody else an owner first.'),
  turn_not_active: row(409, 'conflict_error', false, 'No turn is running. Send a user.message instead.'),
  payload_too_large: row(413, 'request_too_large', false, 'Send less; the message names the limit.', 1009),
  rate_limited: row(429, 'rate_limit_error', true, 'Wait for retry_after_ms, then send it again.', 4429),
  budget_exhausted: row(429, 'rate_limit_error', false, 'The budget is spent until resets_at.'),
  budget_held: row(
    429,
    'rate_limit_error',
    true,
    'Running requests hold the rest of the budget. Wait for retry_after_ms.',
  ),
  budget_too_small: row(
    429,
    'rate_limit_error',
    false,
    'The request alone is larger than the budget. Lower max_tokens or send less.',
  ),
  queue_full: row(429, 'rate_limit_error', true, 'The queue of this session is full. Wait for a turn to end.'),
  internal: row(
    500,
    'api_error',
    true,
    'Our fault. Send it again under the same id; report it with the request id.',
    4500,
  ),
  upstream_error: row(502, 'api_error', true, 'The model failed. Send the prompt again.'),
  upstream_truncated: row(
    502,
    'api_error',
    true,
    'The model’s stream was cut. What was produced is kept; ask it to go on.',
  ),
  upstream_refused: row(
    502,
    'invalid_request_error',
    false,
    'The model’s API refused the request; its words are in the message.',
  ),
  upstream_auth: row(
    502,
    'api_error',
    false,
    'The operator’s key for the model is missing or refused. Tell the operator.',
  ),
  overloaded: row(503, 'overloaded_error', true, 'The server is at its limit. Wait for retry_after_ms.'),
  draining: row(503, 'overloaded_error', true, 'The server is going down. Connect again; another takes over.', 1001),
  store_unavailable: row(503, 'api_error', true, 'The store did not answer. Send it again under the same id.'),
  circuit_open: row(503, 'overloaded_error', true, 'The model keeps failing and gets a rest. Wait for retry_after_ms.'),
  upstream_overloaded: row(
    503,
    'overloaded_error',
    true,
    'The model is overloaded. Wait a little and send the prompt again.',
  ),
  upstream_rate_limited: row(
    503,
    'rate_limit_error',
    true,
    'The operator’s rate limit at the model is reached. Wait for retry_after_ms.',
  ),
  upstream_timeout: row(504, 'timeout_error', true, 'The model did not answer in time. Send the prompt again.'),
} as const satisfies Record<string, ErrorRow>;

export type ErrorCode = keyof typeof ERRORS;

/** The inner object of every error: `error` of the HTTP envelope and of `command.rejected`. */
export interface ErrorBody {
  type: AnthropicErrorType;
  code: ErrorCode;
  message: string;
  retryable: boolean;
  retry_after_ms?: number;
  details?: Record<string, unknown>;
}

export interface ErrorExtras {
  retryAfterMs?: number;
  details?: Record<string, unknown>;
}

/** A failure with its place in the table: what the server throws at a door, and what a client rejects with. */
export class MidstreamError extends Error {
  override readonly name = 'MidstreamError';
  readonly code: ErrorCode;
  readonly retryAfterMs: number | undefined;
  readonly details: Record<string, unknown> | undefined;

  constructor(code: ErrorCode, message: string = ERRORS[code].advice, extras: ErrorExtras = {}) {
    super(message);
    this.code = code;
    this.retryAfterMs = extras.retryAfterMs;
    this.details = extras.details;
  }

  get row(): ErrorRow {
    return ERRORS[this.code];
  }
}

/** The wire form of an error. */
export function toErrorBody(
  code: ErrorCode,
  message: string = ERRORS[code].advice,
  extras: ErrorExtras = {},
): ErrorBody {
  const { type, retryable } = ERRORS[code];
  const body: ErrorBody = { type, code, message, retryable };
  if (extras.retryAfterMs !== undefined) body.retry_after_ms = extras.retryAfterMs;
  if (extras.details !== undefined) body.details = extras.details;
  return body;
}

/** The wire form of what was thrown at a door; what has no place in the table is `internal`, and its words stay here. */
export function bodyOf(thrown: unknown): ErrorBody {
  return thrown instanceof MidstreamError ? toErrorBody(thrown.code, thrown.message, thrown) : toErrorBody('internal');
}

/** What `bodyOf` was made of. */
export function fromErrorBody({ code, message, retry_after_ms: retryAfterMs, details }: ErrorBody): MidstreamError {
  return new MidstreamError(code, message, { retryAfterMs, details });
}
