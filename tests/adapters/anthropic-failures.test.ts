import { createServer, type Server } from 'node:net';
import type { AnthropicModel } from '../../server/adapters/anthropic/anthropic-model.js';
import {
  manualReply,
  type Reply,
  startUpstream,
  type StreamFault,
  textReply,
  type Upstream,
} from '../support/upstream/index.js';
import { collect, modelFor, request, textOf } from './anthropic-fixture.js';

let upstream: Upstream;
let model: AnthropicModel;
const rejections: unknown[] = [];
const onRejection = (reason: unknown): void => void rejections.push(reason);

beforeAll(() => process.on('unhandledRejection', onRejection));
afterAll(() => process.off('unhandledRejection', onRejection));

beforeEach(async () => {
  upstream = await startUpstream();
  model = modelFor(upstream);
});

afterEach(async () => {
  expect(upstream.violations).toEqual([]);
  await model.close();
  await upstream.close();
  await new Promise(setImmediate);
  expect(rejections).toEqual([]);
});

async function failureOf(reply: Reply, limits: Parameters<typeof modelFor>[1] = {}) {
  const own = modelFor(upstream, limits);
  upstream.script([reply]);
  const { end, events } = await collect(own);
  await own.close();
  if (end.type !== 'failed') throw new Error(`expected a failure, got ${end.type}`);
  return { failure: end.failure, events };
}

describe('an error status', () => {
  const error = (status: number, type: string, message: string, more: object = {}): Reply => ({
    status,
    body: { type, message, ...more },
  });
  const code = (error_code: string) => ({ details: { error_code } });
  const tooLong = 'prompt is too long: 208310 tokens > 200000 maximum';
  const limit = 'input length and `max_tokens` exceed context limit: 188240 + 21333 > 200000';

  it.each<[string, Reply, string, boolean]>([
    ['400', error(400, 'invalid_request_error', 'messages: bad'), 'upstream_refused', false],
    ['400, too long', error(400, 'invalid_request_error', tooLong), 'context_window_exceeded', false],
    ['400, over the limit', error(400, 'invalid_request_error', limit), 'context_window_exceeded', false],
    [
      '400, no credit',
      error(400, 'invalid_request_error', 'Your credit balance is too low to access the API'),
      'upstream_auth',
      false,
    ],
    ['401', error(401, 'authentication_error', 'invalid key'), 'upstream_auth', false],
    ['402', error(402, 'billing_error', 'pay'), 'upstream_auth', false],
    [
      '402, linked',
      error(402, 'billing_error', 'pay', code('linked_organization_spend_limit_reached')),
      'upstream_auth',
      false,
    ],
    ['403', error(403, 'permission_error', 'not you'), 'upstream_auth', false],
    ['404', error(404, 'not_found_error', 'model: claude-nope'), 'upstream_refused', false],
    ['408', error(408, 'timeout_error', 'slow'), 'upstream_timeout', true],
    ['409', error(409, 'conflict_error', 'locked'), 'upstream_error', true],
    ['413', error(413, 'request_too_large', 'Request exceeds the maximum size'), 'upstream_refused', false],
    ['413, too long', error(413, 'request_too_large', tooLong), 'context_window_exceeded', false],
    ['422', error(422, 'invalid_request_error', 'no'), 'upstream_refused', false],
    ['429', error(429, 'rate_limit_error', 'slow down'), 'upstream_rate_limited', true],
    [
      '429, spent',
      error(429, 'rate_limit_error', 'spent', code('enforced_spend_limit_reached')),
      'upstream_auth',
      false,
    ],
    [
      '429, contract',
      error(429, 'rate_limit_error', 'spent', code('contract_spend_limit_reached')),
      'upstream_auth',
      false,
    ],
    ['429, ramp', error(429, 'rate_limit_error', 'ramp', code('ramp_limit_exceeded')), 'upstream_rate_limited', true],
    ['500', error(500, 'api_error', 'oops'), 'upstream_error', true],
    ['502', { status: 502, body: '<html>Bad gateway</html>' }, 'upstream_error', true],
    ['503', { status: 503, body: 'busy' }, 'upstream_overloaded', true],
    ['504', error(504, 'timeout_error', 'slow'), 'upstream_timeout', true],
    ['529', error(529, 'overloaded_error', 'Overloaded'), 'upstream_overloaded', true],
    ['307', { status: 307, headers: { location: 'http://127.0.0.1:1/' } }, 'upstream_error', false],
    [
      '500 that says not to',
      { ...error(500, 'api_error', 'no'), headers: { 'x-should-retry': 'false' } } as Reply,
      'upstream_error',
      false,
    ],
  ])('%s', async (_name, reply, expected, retryable) => {
    const { failure, events } = await failureOf(reply);
    expect(failure).toMatchObject({ code: expected, retryable });
    expect(events).toEqual([]);
    const words = 'body' in reply && typeof reply.body === 'object' ? reply.body.message : '';
    expect(failure.message).toContain(words);
    expect(failure.message).not.toContain('<');
    // The connection goes back to the pool or is closed; one request was sent, and no more.
    expect(upstream.requests).toHaveLength(1);
  });

  it.each<[string, Record<string, string>, number]>([
    ['retry-after in seconds', { 'retry-after': '7' }, 7_000],
    ['retry-after with a fraction', { 'retry-after': '0.5' }, 500],
    ['retry-after-ms', { 'retry-after-ms': '1234', 'retry-after': '9' }, 1_234],
  ])('says how long to wait: %s', async (_name, headers, expected) => {
    const { failure } = await failureOf({ status: 429, headers, body: { type: 'rate_limit_error', message: 'slow' } });
    expect(failure.retryAfterMs).toBe(expected);
  });

  it('says how long to wait: retry-after as a date', async () => {
    const at = new Date(Date.now() + 60_000).toUTCString();
    const { failure } = await failureOf({ status: 529, headers: { 'retry-after': at } });
    expect(failure.retryAfterMs).toBeGreaterThan(50_000);
    expect(failure.retryAfterMs).toBeLessThanOrEqual(60_000);
  });

  it('names no wait where the API named none', async () => {
    const { failure } = await failureOf({ status: 429, headers: { 'retry-after': 'soon' } });
    expect(failure).not.toHaveProperty('retryAfterMs');
  });

  it('whose body never ends is a timeout of the headers’ watchdog', async () => {
    const reply = manualReply();
    const running = failureOf(reply, { headers_timeout_ms: 100 });
    const { closed } = await reply.waitForRequest();
    reply.respond(500, { 'content-type': 'application/json', 'content-length': '100' }, '{"type":');
    expect((await running).failure.code).toBe('upstream_timeout');
    expect((await closed).by).toBe('client');
  });
});

describe('a stream that breaks', () => {
  const broken = (fault: StreamFault): Reply => ({ blocks: [{ type: 'text', text: 'a b c d e f' }], fault });

  it.each<[string, StreamFault, string, boolean]>([
    ['a body that ends early', { type: 'cut', afterEvents: 5 }, 'upstream_truncated', true],
    ['a body that ends at once', { type: 'cut', afterEvents: 0 }, 'upstream_truncated', true],
    ['a body that ends before message_stop', { type: 'cut', afterEvents: 11 }, 'upstream_truncated', true],
    ['a socket that closes', { type: 'drop', afterEvents: 5 }, 'upstream_truncated', true],
    ['JSON that is none', { type: 'malformed', afterEvents: 5 }, 'upstream_error', true],
    ['data that is no object', { type: 'malformed', afterEvents: 5, data: '[1]' }, 'upstream_error', true],
    [
      'a delta without text',
      {
        type: 'malformed',
        afterEvents: 5,
        data: '{"type":"content_block_delta","index":0,"delta":{"type":"text_delta"}}',
      },
      'upstream_error',
      true,
    ],
    [
      'a block without an index',
      { type: 'malformed', afterEvents: 5, data: '{"type":"content_block_stop"}' },
      'upstream_error',
      true,
    ],
    ...(
      [
        ['overloaded_error', 'upstream_overloaded', true],
        ['rate_limit_error', 'upstream_rate_limited', true],
        ['timeout_error', 'upstream_timeout', true],
        ['api_error', 'upstream_error', true],
        ['invalid_request_error', 'upstream_refused', false],
        ['authentication_error', 'upstream_auth', false],
        ['error_of_tomorrow', 'upstream_error', true],
      ] as const
    ).map(([type, expected, retryable]): [string, StreamFault, string, boolean] => [
      `an error event: ${type}`,
      { type: 'error', afterEvents: 5, error: { type, message: 'its words' } },
      expected,
      retryable,
    ]),
  ])('%s', async (_name, fault, expected, retryable) => {
    const { failure, events } = await failureOf(broken(fault));
    expect(failure).toMatchObject({ code: expected, retryable });
    if (fault.type === 'error') expect(failure.message).toContain('its words');
    // What came before the fault was handed over.
    if (fault.afterEvents === 5) expect(textOf(events)).toBe('a b');
  });

  it('by a reset is told so', async () => {
    const reply = manualReply();
    upstream.script([reply]);
    let running: Promise<unknown> | undefined;
    const started = new Promise<void>((resolve) => {
      running = model.stream(request(), () => resolve(), new AbortController().signal);
    });
    await reply.start();
    await started;
    reply.reset();
    expect(await running).toEqual({
      type: 'failed',
      failure: { code: 'upstream_error', message: 'connection reset by the model’s API', retryable: true },
    });
  });

  it('by a reset behind the headers may look like its end', async () => {
    const { failure } = await failureOf(broken({ type: 'reset', afterEvents: 0 }));
    expect(['upstream_error', 'upstream_truncated']).toContain(failure.code);
    expect(failure.retryable).toBe(true);
  });

  it('hands over what stood in the same chunk before the fault', async () => {
    const reply = manualReply();
    const running = failureOf(reply);
    await reply.waitForRequest();
    const text = '{"type":"content_block_delta","index":0,"delta":{"type":"text_delta","text":"whole"}}';
    reply.sendRaw(`data: ${text}\n\ndata: {broken\n\ndata: ${text}\n\n`);
    const { failure, events } = await running;
    expect(failure.code).toBe('upstream_error');
    expect(events).toEqual([{ type: 'text', index: 0, text: 'whole' }]);
  });

  it('with an error event in plain text is told in its words', async () => {
    const reply = manualReply();
    const running = failureOf(reply);
    await reply.waitForRequest();
    reply.sendRaw('event: error\ndata: gateway went away\n\n');
    expect((await running).failure).toMatchObject({ code: 'upstream_error', retryable: true });
    expect((await running).failure.message).toContain('gateway went away');
  });

  it('by an event without end costs a bounded amount of memory', async () => {
    const reply = manualReply();
    const running = failureOf(reply);
    const sent = await reply.waitForRequest();
    reply.sendRaw('data: ');
    const megabyte = Buffer.alloc(1_024 * 1_024, 'x');
    for (let n = 0; n < 18; n += 1) reply.sendRaw(megabyte);
    expect((await running).failure.message).toMatch(/larger than 16777216 bytes/);
    expect((await sent.closed).by).toBe('client');
  });

  it('in something else than an event stream names the base URL', async () => {
    const { failure } = await failureOf({ status: 200, headers: { 'content-type': 'text/html' }, body: '<html>' });
    expect(failure).toMatchObject({ code: 'upstream_error', retryable: false });
    expect(failure.message).toMatch(/check the base URL/);
    await upstream.waitForNoSockets();
  });
});

describe('a watchdog', () => {
  const closedByClient = async (): Promise<void> => {
    expect((await upstream.requests[0]?.closed)?.by).toBe('client');
  };

  it('ends a request whose headers don’t come', async () => {
    const { failure } = await failureOf({ hang: 'before_headers' }, { headers_timeout_ms: 50 });
    expect(failure).toEqual({
      code: 'upstream_timeout',
      message: 'no response headers from the model’s API for 50 ms',
      retryable: true,
    });
    await closedByClient();
  });

  it('ends a stream that only pings before its first block', async () => {
    const fault: StreamFault = { type: 'hang', afterEvents: 1, pingEveryMs: 10 };
    const { failure, events } = await failureOf({ ...textReply('x'), fault }, { first_content_timeout_ms: 100 });
    expect(failure).toMatchObject({ code: 'upstream_timeout', retryable: true });
    expect(failure.message).toBe('no content from the model’s API for 100 ms');
    expect(events.map((event) => event.type)).toEqual(['message_start']);
    await closedByClient();
  });

  it('ends a stream that falls silent, and one that only pings from then on', async () => {
    for (const pingEveryMs of [undefined, 10]) {
      const fault = {
        type: 'hang',
        afterEvents: 5,
        ...(pingEveryMs === undefined ? {} : { pingEveryMs }),
      } as StreamFault;
      const { failure, events } = await failureOf(
        { blocks: [{ type: 'text', text: 'a b c' }], fault },
        { silence_timeout_ms: 100 },
      );
      expect(failure).toMatchObject({ code: 'upstream_timeout', retryable: true });
      expect(failure.message).toBe('nothing but pings from the model’s API for 100 ms');
      expect(textOf(events)).toBe('a b');
      await closedByClient();
    }
  });

  it('gives the input of a tool the longer of the two limits, for the API may collect it', async () => {
    const fault: StreamFault = { type: 'hang', afterEvents: 4 };
    const { failure } = await failureOf(
      { blocks: [{ type: 'tool_use', id: 'toolu_1', name: 'edit', input: { text: 'long' } }], fault },
      { first_content_timeout_ms: 150, silence_timeout_ms: 50 },
    );
    expect(failure.message).toBe('nothing but pings from the model’s API for 150 ms');
  });
});

describe('a connection that can’t be made', () => {
  it('is an error that may be tried again', async () => {
    const gone = await startUpstream();
    await gone.close();
    const own = modelFor(gone);
    const { end } = await collect(own);
    expect(end).toMatchObject({ type: 'failed', failure: { code: 'upstream_error', retryable: true } });
    expect(end.type === 'failed' && end.failure.message).toMatch(/could not reach the model’s API: .*ECONNREFUSED/);
    await own.close();
  });

  it('for lack of such a host is an error that may be tried again', async () => {
    const own = modelFor({ baseURL: 'http://no-such-host.invalid' });
    const { end } = await collect(own);
    expect(end).toMatchObject({ type: 'failed', failure: { code: 'upstream_error', retryable: true } });
    await own.close();
  });

  it('to a server that speaks no HTTP is an error that may be tried again', async () => {
    const server: Server = createServer((socket) => {
      socket.on('error', () => {});
      socket.resume();
      socket.end('SSH-2.0-OpenSSH_9.2\r\n');
    });
    await new Promise<void>((resolve) => server.listen(0, '127.0.0.1', resolve));
    const { port } = server.address() as { port: number };
    const own = modelFor({ baseURL: `http://127.0.0.1:${port}` });
    const { end } = await collect(own);
    expect(end).toMatchObject({ type: 'failed', failure: { code: 'upstream_error', retryable: true } });
    await own.close();
    await new Promise((resolve) => server.close(resolve));
  });
});

describe('close()', () => {
  it('ends running streams', async () => {
    const reply = manualReply();
    upstream.script([reply]);
    const running = collect(model);
    await reply.start();
    await model.close();
    expect((await running).end).toMatchObject({ type: 'failed', failure: { code: 'upstream_error' } });
    expect((await reply.closed).by).toBe('client');
  });
});
