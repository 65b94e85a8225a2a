/**
 * A stand-in for Anthropic's API over real sockets: its wire format, its rules, and its faults on demand. Every request
 * is held against the rules of the Messages API; what breaks one is answered as the API would, and remembered.
 */
import { createServer, type IncomingMessage, type ServerResponse } from 'node:http';
import type { AddressInfo, Socket } from 'node:net';
import { ManualReply } from './manual-reply.js';
import { validateRequest } from './messages-validator.js';
import { RecordedRequest } from './recorded-request.js';
import {
  type Reply,
  type SilentReply,
  type StatusReply,
  textReply,
  type WireError,
  type WireUsage,
} from './replies.js';
import { writeStream } from './stream-writer.js';
import { toErrorEnvelope, toMessage, toWireEvents } from './wire-events.js';

export type ReplyHandler = (request: RecordedRequest) => Reply | Promise<Reply>;

/** What `count_tokens` answers: a count, or what goes wrong. */
export type CountHandler = (request: RecordedRequest) => number | StatusReply | SilentReply;

export interface UpstreamOptions {
  /** Default: a free one. */
  readonly port?: number;
  /** Default 127.0.0.1. */
  readonly host?: string;
  /** The only key that is let in; default: any. */
  readonly apiKey?: string;
}

export interface Upstream {
  readonly port: number;
  readonly baseURL: string;
  /** In the order in which they came. */
  readonly requests: readonly RecordedRequest[];
  /** The rules that requests broke. A suite asserts that it is empty. */
  readonly violations: readonly string[];
  readonly openSockets: number;
  /** What is answered from now on: these, in this order, one each; or what the function says. Default: "Hello." */
  script(replies: readonly Reply[] | ReplyHandler): void;
  /** What `count_tokens` answers from now on; default: a quarter of the characters. */
  scriptCounts(handler: CountHandler): void;
  /** Resolves with the n-th request, counted from 1. */
  waitForRequest(number: number): Promise<RecordedRequest>;
  /** Resolves when no connection is left. */
  waitForNoSockets(): Promise<void>;
  close(): Promise<void>;
}

const MAX_BODY_BYTES = 32 * 1_024 * 1_024;
const PATHS = ['/v1/messages', '/v1/messages/count_tokens'];

export async function startUpstream(options: UpstreamOptions = {}): Promise<Upstream> {
  const { port = 0, host = '127.0.0.1' } = options;
  const requests: RecordedRequest[] = [];
  const violations: string[] = [];
  const sockets = new Set<Socket>();
  const waiters = new Set<() => void>();
  const changed = (): void => {
    for (const check of [...waiters]) check();
  };
  let nextReply: ReplyHandler = () => textReply('Hello.');
  let nextCount: CountHandler = ({ body }) => countTokens(body);

  const script = (replies: readonly Reply[] | ReplyHandler): void => {
    const left = typeof replies === 'function' ? undefined : [...replies];
    nextReply =
      typeof replies === 'function'
        ? replies
        : (request) => {
            const reply = left?.shift();
            if (reply !== undefined) return reply;
            violations.push(`request ${request.number}: no reply was scripted for it`);
            return { status: 500, body: { type: 'api_error', message: 'the script is at its end' } };
          };
  };

  const handle = async (req: IncomingMessage, res: ServerResponse): Promise<void> => {
    res.on('error', () => {});
    const text = await readBody(req);
    const path = (req.url ?? '').replace(/\?.*$/, '');
    if (path.startsWith('/__upstream/')) {
      answerControl(path, text, res, { requests, violations, sockets: sockets.size, script });
      return;
    }
    const requestId = `req_${requests.length + 1}`;
    res.setHeader('request-id', requestId);
    const { body, refusal, problems } = examine(req, path, text, options.apiKey);
    const request = new RecordedRequest(requests.length + 1, req.url ?? '', req.headers, body, problems, res);
    requests.push(request);
    violations.push(...problems.map((problem) => `request ${request.number}: ${problem}`));
    changed();
    if (refusal !== undefined) answerError(res, refusal.status, refusal.error, requestId);
    else if (path.endsWith('/count_tokens')) {
      const count = nextCount(request);
      if (typeof count === 'number') answerJson(res, 200, { input_tokens: count });
      else await answer(count, request, res, requestId);
    } else await answer(await nextReply(request), request, res, requestId);
  };

  const server = createServer((req, res) => {
    handle(req, res).catch((error: unknown) => {
      violations.push(`the upstream failed: ${String(error)}`);
      res.destroy();
    });
  });
  server.keepAliveTimeout = 60_000;
  server.on('connection', (socket) => {
    sockets.add(socket);
    socket.on('error', () => {});
    socket.once('close', () => {
      sockets.delete(socket);
      changed();
    });
  });
  await new Promise<void>((resolve, reject) => {
    server.once('error', reject);
    server.listen(port, host, resolve);
  });

  const until = <T>(find: () => T | undefined): Promise<T> =>
    new Promise((resolve) => {
      const check = (): void => {
        const found = find();
        if (found === undefined) return;
        waiters.delete(check);
        resolve(found);
      };
      waiters.add(check);
      check();
    });

  const bound = (server.address() as AddressInfo).port;
  return {
    port: bound,
    baseURL: `http://${host}:${bound}`,
    requests,
    violations,
    get openSockets() {
      return sockets.size;
    },
    script,
    scriptCounts: (handler) => {
      nextCount = handler;
    },
    waitForRequest: (number) => until(() => requests[number - 1]),
    waitForNoSockets: () => until(() => (sockets.size === 0 ? true : undefined)).then(() => {}),
    close: () =>
      new Promise((resolve) => {
        server.close(() => resolve());
        for (const socket of sockets) socket.destroy();
      }),
  };
}

async function readBody(req: IncomingMessage): Promise<string> {
  const chunks: Buffer[] = [];
  for await (const chunk of req) chunks.push(chunk as Buffer);
  return Buffer.concat(chunks).toString('utf8');
}

interface Examined {
  readonly body: Readonly<Record<string, unknown>>;
  readonly problems: readonly string[];
  readonly refusal?: { readonly status: number; readonly error: WireError };
}

function examine(req: IncomingMessage, path: string, text: string, apiKey: string | undefined): Examined {
  const refused = (status: number, type: string, message: string, problems = [message], body = {}): Examined => ({
    body,
    problems,
    refusal: { status, error: { type, message } },
  });
  if (req.method !== 'POST' || !PATHS.includes(path)) return refused(404, 'not_found_error', `Not found: ${path}`);
  const key = String(req.headers['x-api-key'] ?? req.headers.authorization?.replace(/^Bearer /, '') ?? '');
  if (key === '') return refused(401, 'authentication_error', 'no key was sent');
  // A wrong key is the operator's mistake, not a broken rule.
  if (apiKey !== undefined && key !== apiKey) return refused(401, 'authentication_error', `invalid key: ${key}`, []);
  if (req.headers['anthropic-version'] === undefined) {
    return refused(400, 'invalid_request_error', 'anthropic-version: header is required');
  }
  if (Buffer.byteLength(text) > MAX_BODY_BYTES) {
    return refused(413, 'request_too_large', 'Request exceeds the maximum size', []);
  }
  let body: unknown;
  try {
    body = JSON.parse(text);
  } catch {
    return refused(400, 'invalid_request_error', 'The request body is not valid JSON');
  }
  const endpoint = path.endsWith('/count_tokens') ? 'count_tokens' : 'messages';
  const problems = validateRequest(body, { endpoint });
  const known = (typeof body === 'object' && body !== null ? body : {}) as Readonly<Record<string, unknown>>;
  if (problems.length > 0) {
    return refused(400, 'invalid_request_error', problems[0] as string, problems, known);
  }
  return { body: known, problems };
}

async function answer(reply: Reply, request: RecordedRequest, res: ServerResponse, requestId: string): Promise<void> {
  if (reply instanceof ManualReply) {
    reply.take(request, res);
    return;
  }
  if ('hang' in reply) return;
  if ('status' in reply) {
    for (const [name, value] of Object.entries(reply.headers ?? {})) res.setHeader(name, value);
    if (typeof reply.body === 'object') answerError(res, reply.status, reply.body, requestId);
    else res.writeHead(reply.status).end(reply.body);
    return;
  }
  const usage = usageOf(reply, request);
  const model = String(request.body['model']);
  const id = `msg_${request.number}`;
  if (request.body['stream'] !== true) {
    answerJson(res, 200, toMessage(reply, id, model, usage));
    return;
  }
  res.writeHead(200, {
    'content-type': 'text/event-stream; charset=utf-8',
    'cache-control': 'no-cache',
    'anthropic-organization-id': 'org_test',
    ...reply.headers,
  });
  res.flushHeaders();
  await writeStream(reply, toWireEvents(reply, id, model, usage), request, res);
}

function usageOf(reply: Extract<Reply, { blocks: unknown }>, request: RecordedRequest): WireUsage {
  const said = reply.blocks.reduce((sum, block) => sum + JSON.stringify(block).length, 0);
  return {
    input_tokens: countTokens(request.body),
    output_tokens: Math.ceil(said / 4),
    cache_creation_input_tokens: 0,
    cache_read_input_tokens: 0,
    ...reply.usage,
  };
}

const countTokens = (body: Readonly<Record<string, unknown>>): number =>
  Math.ceil(JSON.stringify([body['system'], body['tools'], body['messages']]).length / 4);

function answerJson(res: ServerResponse, status: number, body: unknown): void {
  res.writeHead(status, { 'content-type': 'application/json' }).end(JSON.stringify(body));
}

function answerError(res: ServerResponse, status: number, error: WireError, requestId: string): void {
  answerJson(res, status, toErrorEnvelope(error, requestId));
}

interface ControlState {
  readonly requests: readonly RecordedRequest[];
  readonly violations: readonly string[];
  readonly sockets: number;
  readonly script: Upstream['script'];
}

/** For tests in another process: `GET /__upstream/state`, `POST /__upstream/script` with a list of replies. */
function answerControl(path: string, text: string, res: ServerResponse, state: ControlState): void {
  if (path === '/__upstream/script') {
    state.script(JSON.parse(text) as Reply[]);
    answerJson(res, 200, {});
    return;
  }
  const requests = state.requests.map(({ number, path: url, body, closing }) => ({ number, path: url, body, closing }));
  answerJson(res, 200, { requests, violations: state.violations, open_sockets: state.sockets });
}
