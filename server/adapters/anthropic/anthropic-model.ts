/** The Messages API as a model of the port: the official SDK makes the request, we read the stream. */
import Anthropic, { APIError, type ClientOptions } from '@anthropic-ai/sdk';
import { Agent } from 'undici';
import type { Logger } from '../../ports/logger.js';
import type { Model, ModelEnd, ModelEvent, ModelFailure, ModelRequest } from '../../ports/model.js';
import { Exchange, type StreamLimits } from './exchange.js';
import { toCountBody, toRequestBody } from './request-body.js';
import { createUndiciFetch, type NodeResponse } from './undici-fetch.js';

export interface AnthropicModelParts {
  readonly apiKey: string;
  /** Default: Anthropic's. */
  readonly baseURL?: string;
  readonly limits: StreamLimits;
  readonly logger: Logger;
  /** For a count of tokens, connecting included. */
  readonly countTimeoutMs?: number;
}

export interface AnthropicModel extends Model {
  /** Closes every upstream connection; running streams end with `upstream_error`. */
  close(): Promise<void>;
}

const ANTHROPIC_URL = 'https://api.anthropic.com';
/** Below the idle timeout of the usual load balancers, so that we seldom send on a connection that is being closed. */
const KEEP_ALIVE_MS = 30_000;
/** The SDK's own timeout; far behind our watchdog, which says what was missing. */
const SDK_TIMEOUT_MS = 3_600_000;
const COUNT_TIMEOUT_MS = 5_000;

export function createAnthropicModel(parts: AnthropicModelParts): AnthropicModel {
  const { apiKey, baseURL, limits, logger, countTimeoutMs = COUNT_TIMEOUT_MS } = parts;
  // Our watchdogs know what is content and what is not; undici's would end a stream that is alive.
  const agent = new Agent({
    headersTimeout: 0,
    bodyTimeout: 0,
    keepAliveTimeout: KEEP_ALIVE_MS,
    connect: { timeout: limits.headers_timeout_ms },
  });
  const client = createClient(apiKey, baseURL ?? ANTHROPIC_URL, createUndiciFetch(agent));
  let keyRefused = false;

  const send = async (request: ModelRequest, signal: AbortSignal): Promise<NodeResponse> => {
    try {
      // `post`, not `messages.create`: the same request, without that method's warnings on the console.
      const call = client.post('/v1/messages', { body: toRequestBody(request), stream: true, signal });
      const response = await call.asResponse();
      keyRefused = false;
      return response as unknown as NodeResponse;
    } catch (error) {
      // 403 may concern one model alone, and says nothing about the others.
      if (error instanceof APIError && error.status !== undefined) keyRefused = error.status === 401;
      throw error;
    }
  };

  const concealed = (failure: ModelFailure): ModelFailure =>
    apiKey !== '' && failure.message.includes(apiKey)
      ? { ...failure, message: failure.message.replaceAll(apiKey, '[secret]') }
      : failure;

  const conclude = (request: ModelRequest, end: ModelEnd): ModelEnd => {
    if (end.type !== 'failed') return end;
    const failure = concealed(end.failure);
    // The provider's words stay out of the log: they may quote the prompt.
    logger.warn('model request failed', {
      session_id: request.sessionId,
      turn_id: request.turnId,
      step: request.step,
      attempt: request.attempt,
      model: request.model,
      code: failure.code,
      retryable: failure.retryable,
    });
    return { type: 'failed', failure };
  };

  const stream = (
    request: ModelRequest,
    onEvents: (events: readonly ModelEvent[]) => void,
    signal: AbortSignal,
  ): Promise<ModelEnd> =>
    new Promise((resolve) => {
      if (signal.aborted) {
        resolve({ type: 'aborted' });
        return;
      }
      const abort = (): void => exchange.abort();
      const exchange = new Exchange({
        send: (upstream) => send(request, upstream),
        onEvents,
        onEnd: (end) => {
          signal.removeEventListener('abort', abort);
          resolve(conclude(request, end));
        },
        limits,
      });
      signal.addEventListener('abort', abort, { once: true });
      exchange.start();
    });

  const countTokens = async (request: ModelRequest, signal: AbortSignal): Promise<number> => {
    const timeout = AbortSignal.timeout(countTimeoutMs);
    const call = client.post('/v1/messages/count_tokens', {
      body: toCountBody(request),
      signal: AbortSignal.any([signal, timeout]),
    });
    const response = (await call.asResponse()) as unknown as NodeResponse;
    const { input_tokens: count } = ((await response.json()) ?? {}) as { input_tokens?: unknown };
    if (typeof count === 'number' && Number.isSafeInteger(count) && count >= 0) return count;
    throw new Error('the answer of count_tokens has no input_tokens');
  };

  return {
    stream,
    countTokens,
    status: () =>
      keyRefused
        ? { ok: false, detail: 'the API refused the key at the last request' }
        : { ok: true, detail: 'the API has not refused the key' },
    close: () => agent.destroy(),
  };
}

/** Everything is given, so that the SDK takes nothing from the environment and writes nothing to the console. */
function createClient(apiKey: string, baseURL: string, fetch: typeof globalThis.fetch): Anthropic {
  const quiet = (): void => {};
  const client = new Anthropic({
    apiKey,
    baseURL,
    webhookKey: null,
    fetch,
    maxRetries: 0,
    timeout: SDK_TIMEOUT_MS,
    logLevel: 'off',
    logger: { error: quiet, warn: quiet, info: quiet, debug: quiet },
    openTelemetry: false,
  });
  // The constructor merges ANTHROPIC_CUSTOM_HEADERS into these, and has no option against it.
  delete (client as unknown as { _options: ClientOptions })._options.defaultHeaders;
  return client;
}
