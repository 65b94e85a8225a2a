/** Server tools behind HTTP: one POST per call, as section 5 of the protocol says. */
import { Agent, type Dispatcher, request } from 'undici';
import type { Logger } from '../../ports/logger.js';
import type { ToolAnswer, ToolCall, ToolContext, ToolDefinition, ToolRunner } from '../../ports/tool-runner.js';
import { CANCELLED_ANSWER, toErrorAnswer, toTimeoutAnswer, toToolAnswer } from '../tool-answer.js';
import { type ReadBody, readBody } from './response-body.js';

export interface HttpToolConfig {
  readonly name: string;
  readonly description: string;
  readonly label?: string | undefined;
  readonly input_schema: Readonly<Record<string, unknown>>;
  readonly http: {
    readonly url: string;
    readonly headers?: Readonly<Record<string, { reveal(): string }>>;
    readonly timeout_ms: number;
  };
  readonly idempotent: boolean;
}

export interface HttpToolsDeps {
  readonly logger: Logger;
}

export interface HttpTools extends ToolRunner {
  /** Closes the connections; calls that still run end as errors. */
  close(): Promise<void>;
}

const MAX_BODY_BYTES = 4 * 1_024 * 1_024;
/** Of the body of an answer that is no 2xx. */
const MAX_ERROR_CHARS = 2_000;

export function createHttpTools(configs: readonly HttpToolConfig[], { logger }: HttpToolsDeps): HttpTools {
  // No timeouts of its own between the connection and the end of the body: `timeout_ms` bounds the whole call.
  const agent = new Agent({ headersTimeout: 0, bodyTimeout: 0 });
  const byName = new Map(configs.map((config) => [config.name, config]));
  return {
    definitions: configs.map(toDefinition),
    run: async (call, context) => {
      const config = byName.get(call.name);
      return config
        ? runCall(config, call, context, { agent, logger })
        : toErrorAnswer(`There is no tool "${call.name}".`);
    },
    close: () => agent.destroy(),
  };
}

function toDefinition({ name, description, label, input_schema, idempotent }: HttpToolConfig): ToolDefinition {
  return { name, description, label: label ?? name, input_schema, idempotent };
}

async function runCall(
  config: HttpToolConfig,
  call: ToolCall,
  { signal }: ToolContext,
  { agent, logger }: { agent: Dispatcher; logger: Logger },
): Promise<ToolAnswer> {
  if (signal.aborted) return CANCELLED_ANSWER;
  const { timeout_ms: timeoutMs, url } = config.http;
  const ending = new AbortController();
  const cancel = (): void => ending.abort();
  signal.addEventListener('abort', cancel, { once: true });
  let isLate = false;
  const timer = setTimeout(() => {
    isLate = true;
    ending.abort();
  }, timeoutMs);
  try {
    const response = await request(url, {
      dispatcher: agent,
      method: 'POST',
      headers: toHeaders(config, call),
      body: JSON.stringify(toBody(call)),
      signal: ending.signal,
    });
    return toAnswer(response, await readBody(response.body, MAX_BODY_BYTES));
  } catch (error) {
    if (signal.aborted) return CANCELLED_ANSWER;
    if (isLate) return toTimeoutAnswer(timeoutMs);
    // Only a code: messages of the network name internal addresses, and may reach the model's user.
    const code = toCode(error);
    logger.warn('tool call failed', { tool: call.name, tool_use_id: call.tool_use_id, code });
    return toErrorAnswer(toFailure(code));
  } finally {
    clearTimeout(timer);
    signal.removeEventListener('abort', cancel);
  }
}

function toHeaders({ http }: HttpToolConfig, call: ToolCall): Record<string, string> {
  const own = Object.entries(http.headers ?? {}).map(([name, value]) => [name.toLowerCase(), value.reveal()]);
  return {
    accept: 'application/json, text/*;q=0.9',
    ...Object.fromEntries(own),
    'content-type': 'application/json',
    'idempotency-key': call.tool_use_id,
  };
}

const toBody = ({ tool_use_id, name, input, session_id, turn_id, user_id }: ToolCall): ToolCall => ({
  tool_use_id,
  name,
  input,
  session_id,
  turn_id,
  user_id,
});

function toAnswer({ statusCode, headers }: Dispatcher.ResponseData, body: ReadBody): ToolAnswer {
  if (statusCode < 200 || statusCode > 299) {
    const hint = statusCode >= 300 && statusCode < 400 ? ' (redirects are not followed)' : '';
    const said = body.text.trim().slice(0, MAX_ERROR_CHARS);
    return toErrorAnswer(`The tool's server answered ${statusCode}${hint}${said === '' ? '.' : `: ${said}`}`);
  }
  if (!body.isText) return toErrorAnswer("The tool's server answered with bytes that are not text.");
  const type = String(headers['content-type'] ?? '');
  const isJson = type === '' || /^[^;]*[/+]json\b/i.test(type);
  if (!body.isCut) return toToolAnswer(isJson ? parseIfJson(body.text) : body.text);
  if (type !== '' && isJson) return toErrorAnswer(`The tool's server answered with more than ${MAX_BODY_BYTES} bytes.`);
  return toToolAnswer(`${body.text}\n[cut: the tool answered with more than ${MAX_BODY_BYTES} bytes]`);
}

function parseIfJson(text: string): unknown {
  try {
    return JSON.parse(text);
  } catch {
    return text;
  }
}

function toCode(error: unknown): string {
  const { code, cause } = error as { code?: unknown; cause?: { code?: unknown } };
  if (typeof code === 'string') return code;
  return typeof cause?.code === 'string' ? cause.code : 'unknown';
}

function toFailure(code: string): string {
  switch (code) {
    case 'ECONNREFUSED':
      return "The tool's server refused the connection; it may not be running.";
    case 'ENOTFOUND':
    case 'EAI_AGAIN':
      return "The tool's server could not be found.";
    case 'ECONNRESET':
    case 'EPIPE':
    case 'UND_ERR_SOCKET':
      return "The tool's server closed the connection before its answer was complete.";
    default:
      return `The tool's server could not be reached (${code}).`;
  }
}
