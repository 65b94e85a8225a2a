import { once } from 'node:events';
import { createServer, type IncomingMessage, type Server, type ServerResponse } from 'node:http';
import { type AddressInfo, createServer as createTcpServer } from 'node:net';
import { PassThrough } from 'node:stream';
import { createHttpTools, type HttpToolConfig, type HttpTools } from '../../server/adapters/http-tools/http-tools.js';
import { createLogger } from '../../server/adapters/winston/logger.js';
import { Secret } from '../../server/config/index.js';
import type { ToolAnswer } from '../../server/ports/tool-runner.js';

interface Received {
  readonly request: IncomingMessage;
  readonly body: string;
}

let server: Server;
let url: string;
let respond: (response: ServerResponse, received: Received) => void;
const received: Received[] = [];
const log = new PassThrough();
const open: HttpTools[] = [];

beforeAll(async () => {
  server = createServer((request, response) => {
    const chunks: Buffer[] = [];
    request.on('data', (chunk: Buffer) => chunks.push(chunk));
    request.on('end', () => {
      const one = { request, body: Buffer.concat(chunks).toString() };
      received.push(one);
      server.emit('received');
      respond(response, one);
    });
  });
  server.listen(0, '127.0.0.1');
  await once(server, 'listening');
  url = `http://127.0.0.1:${(server.address() as AddressInfo).port}/search`;
});
beforeEach(() => {
  received.length = 0;
});
afterEach(async () => {
  await Promise.all(open.splice(0).map((tools) => tools.close()));
});
afterAll(async () => {
  server.closeAllConnections();
  await new Promise((done) => server.close(done));
});

const CALL = {
  tool_use_id: 'sevt_1',
  name: 'search',
  input: { q: 'x' },
  session_id: 'sesn_1',
  turn_id: 'turn_1',
  user_id: 'ada',
};

function toolsOf(http: Partial<HttpToolConfig['http']> = {}): HttpTools {
  const config: HttpToolConfig = {
    name: 'search',
    description: 'Searches.',
    input_schema: { type: 'object' },
    http: { url, timeout_ms: 10_000, ...http },
    idempotent: false,
  };
  const tools = createHttpTools([config], { logger: createLogger({ level: 'debug', stream: log }) });
  open.push(tools);
  return tools;
}

const run = (tools: HttpTools, signal = new AbortController().signal): Promise<ToolAnswer> =>
  tools.run(CALL, { signal, progress: () => {} });

const sends = (status: number, body: string | Buffer, headers: Record<string, string> = {}): void => {
  respond = (response) => response.writeHead(status, headers).end(body);
};
const JSON_TYPE = { 'content-type': 'application/json; charset=utf-8' };
const textOf = (answer: ToolAnswer): string =>
  answer.content.map((b) => (b.type === 'text' ? b.text : b.type)).join('|');

describe('a call', () => {
  it('is a POST with the call as JSON, the key of the call and the tool’s headers', async () => {
    sends(200, '"ok"', JSON_TYPE);
    await run(
      toolsOf({ headers: { Authorization: new Secret('Bearer hush'), 'Idempotency-Key': new Secret('forged') } }),
    );
    const [{ request, body }] = received as [Received];
    expect(request.method).toBe('POST');
    expect(request.url).toBe('/search');
    expect(JSON.parse(body)).toEqual(CALL);
    expect(request.headers).toMatchObject({
      'content-type': 'application/json',
      'idempotency-key': 'sevt_1',
      authorization: 'Bearer hush',
    });
  });

  it('uses connections again', async () => {
    sends(200, '1', JSON_TYPE);
    const tools = toolsOf();
    for (let n = 0; n < 6; n++) await run(tools);
    expect(received).toHaveLength(6);
    expect(new Set(received.map(({ request }) => request.socket.remotePort)).size).toBeLessThanOrEqual(2);
  });

  it('of a tool that is not there is an error', async () => {
    const answer = await toolsOf().run(
      { ...CALL, name: 'other' },
      { signal: new AbortController().signal, progress: () => {} },
    );
    expect(answer).toMatchObject({ is_error: true, outcome: 'error' });
    expect(received).toEqual([]);
  });

  it('has the tool’s definition, labelled by its name where it has no label', () => {
    expect(toolsOf().definitions).toEqual([
      {
        name: 'search',
        description: 'Searches.',
        label: 'search',
        input_schema: { type: 'object' },
        idempotent: false,
      },
    ]);
  });
});

describe('an answer', () => {
  const image = { type: 'image', source: { type: 'base64', media_type: 'image/png', data: 'AAAA' } };

  it.each<[string, string, Record<string, string>, Partial<ToolAnswer>]>([
    ['content as text', '{"content":"found"}', JSON_TYPE, { content: [{ type: 'text', text: 'found' }] }],
    [
      'content as blocks',
      JSON.stringify({ content: [{ type: 'text', text: 'a' }, image] }),
      JSON_TYPE,
      { content: [{ type: 'text', text: 'a' }, image] as never },
    ],
    ['blocks without an envelope', JSON.stringify([image]), JSON_TYPE, { content: [image] as never }],
    [
      'blank blocks beside others',
      JSON.stringify({ content: [{ type: 'text', text: '' }, image] }),
      JSON_TYPE,
      { content: [image] as never },
    ],
    [
      'its own error',
      '{"content":"no such filing","is_error":true}',
      JSON_TYPE,
      { content: [{ type: 'text', text: 'no such filing' }], is_error: true, outcome: 'error' },
    ],
    ['no content', '{"content":[]}', JSON_TYPE, { content: [] }],
    ['another JSON object', '{"rows": [1]}', JSON_TYPE, { content: [{ type: 'text', text: '{"rows":[1]}' }] }],
    [
      'data with a key named content',
      '{"content":"x","title":"y"}',
      JSON_TYPE,
      { content: [{ type: 'text', text: '{"content":"x","title":"y"}' }] },
    ],
    ['a JSON string', '"plain"', JSON_TYPE, { content: [{ type: 'text', text: 'plain' }] }],
    ['a JSON number', '42', JSON_TYPE, { content: [{ type: 'text', text: '42' }] }],
    [
      'JSON under a vendor’s type',
      '{"content":"v"}',
      { 'content-type': 'application/vnd.x+json' },
      { content: [{ type: 'text', text: 'v' }] },
    ],
    ['JSON without a type', '{"content":"t"}', {}, { content: [{ type: 'text', text: 't' }] }],
    [
      'text',
      '{"content":"stays text"}',
      { 'content-type': 'text/plain' },
      { content: [{ type: 'text', text: '{"content":"stays text"}' }] },
    ],
    ['broken JSON', '{"content":', JSON_TYPE, { content: [{ type: 'text', text: '{"content":' }] }],
    ['nothing', '', {}, { content: [] }],
  ])('is read: %s', async (_, body, headers, expected) => {
    sends(200, body, headers);
    expect(await run(toolsOf())).toEqual({ is_error: false, outcome: 'ok', ...expected });
  });

  it.each([201, 202, 299])('counts with status %d', async (status) => {
    sends(status, 'done', { 'content-type': 'text/plain' });
    expect(await run(toolsOf())).toMatchObject({ outcome: 'ok', is_error: false });
  });

  it('with malformed blocks is an error that says what is wrong', async () => {
    sends(
      200,
      JSON.stringify({ content: [{ type: 'image', source: { type: 'base64', media_type: 'image/tiff', data: 'A' } }] }),
      JSON_TYPE,
    );
    const answer = await run(toolsOf());
    expect(answer).toMatchObject({ is_error: true, outcome: 'error' });
    expect(textOf(answer)).toContain('content.0.source');
  });

  it.each([400, 404, 500, 503])(
    'with status %d is an error with the status and a bounded part of the body',
    async (status) => {
      sends(status, `no: ${'x'.repeat(10_000)}`);
      const answer = await run(toolsOf());
      expect(answer).toMatchObject({ is_error: true, outcome: 'error' });
      expect(textOf(answer)).toMatch(new RegExp(`^The tool's server answered ${status}: no: x+$`));
      expect(textOf(answer).length).toBeLessThan(2_100);
    },
  );

  it('that redirects is an error, and the redirect is not followed', async () => {
    sends(307, '', { location: `${url}/elsewhere` });
    const answer = await run(toolsOf({ headers: { Authorization: new Secret('hush') } }));
    expect(textOf(answer)).toBe("The tool's server answered 307 (redirects are not followed).");
    expect(received).toHaveLength(1);
  });

  it('that is not text is an error', async () => {
    sends(200, Buffer.from([0x89, 0x50, 0x4e, 0x47, 0xff, 0xfe]), { 'content-type': 'image/png' });
    expect(textOf(await run(toolsOf()))).toContain('not text');
  });
});

describe('an endless answer', () => {
  /** Sends until the other side closes; says how much went out. */
  const flood = (type: string): Promise<number> =>
    new Promise((resolve) => {
      respond = (response) => {
        let bytes = 0;
        const chunk = Buffer.from('é'.repeat(32_768));
        const pump = (): void => {
          while (!response.destroyed) {
            bytes += chunk.length;
            if (!response.write(chunk)) break;
          }
        };
        response.writeHead(200, { 'content-type': type });
        response.write('x');
        response.on('drain', pump);
        response.on('close', () => resolve(bytes));
        pump();
      };
    });

  it('is cut after a few MiB, between two characters, and its connection is closed', async () => {
    const sent = flood('text/plain');
    const answer = await run(toolsOf());
    expect(answer.outcome).toBe('ok');
    expect(Buffer.byteLength(textOf(answer))).toBeLessThan(5 * 1_024 * 1_024);
    expect(textOf(answer)).toMatch(/é\n\[cut: the tool answered with more than 4194304 bytes\]$/);
    expect(await sent).toBeLessThan(32 * 1_024 * 1_024);
  });

  it('is an error where it claims to be JSON', async () => {
    const sent = flood('application/json');
    expect(await run(toolsOf())).toMatchObject({ is_error: true, outcome: 'error' });
    await sent;
  });
});

describe('a call that does not come to an end', () => {
  const socketClosed = ({ socket }: ServerResponse): Promise<void> =>
    new Promise((resolve) => {
      socket?.on('error', () => {}).on('close', () => resolve());
    });

  it.each<[string, (response: ServerResponse) => void]>([
    ['before the headers', () => {}],
    ['in the body', (response) => void response.writeHead(200).write('part')],
  ])('[CAN-5] is cancelled %s, and its connection is closed', async (_, begin) => {
    let closed: Promise<unknown> = Promise.resolve();
    respond = (response) => {
      closed = socketClosed(response);
      begin(response);
      server.emit('answering');
    };
    const cancelling = new AbortController();
    const answering = once(server, 'answering');
    const answer = run(toolsOf(), cancelling.signal);
    await answering;
    cancelling.abort();
    expect(await answer).toMatchObject({ is_error: true, outcome: 'cancelled' });
    await closed;
  });

  it('is not even sent where it was cancelled before', async () => {
    expect(await run(toolsOf(), AbortSignal.abort())).toMatchObject({ outcome: 'cancelled' });
    expect(received).toEqual([]);
  });

  it.each<[string, (response: ServerResponse) => void]>([
    ['before the headers', () => {}],
    ['in the body', (response) => void response.writeHead(200).write('part')],
  ])('times out %s, and its connection is closed', async (_, begin) => {
    let closed: Promise<unknown> = Promise.resolve();
    respond = (response) => {
      closed = socketClosed(response);
      begin(response);
    };
    const answer = await run(toolsOf({ timeout_ms: 50 }));
    expect(answer).toMatchObject({ is_error: true, outcome: 'timeout' });
    expect(textOf(answer)).toContain('50 ms');
    await closed;
  });

  it('leaves no listener on the signal', async () => {
    sends(200, '1');
    const signal = new AbortController().signal;
    const added = jest.spyOn(signal, 'addEventListener');
    const removed = jest.spyOn(signal, 'removeEventListener');
    await run(toolsOf(), signal);
    expect(removed.mock.calls.map(([, listener]) => listener)).toEqual(
      added.mock.calls.map(([, listener]) => listener),
    );
  });
});

describe('a server that fails', () => {
  it('and refuses connections is named so, without its address and the headers, in the answer and the log', async () => {
    const gone = createTcpServer().listen(0, '127.0.0.1');
    await once(gone, 'listening');
    const { port } = gone.address() as AddressInfo;
    await new Promise((done) => gone.close(done));
    log.read();
    const answer = await run(
      toolsOf({ url: `http://127.0.0.1:${port}/`, headers: { Authorization: new Secret('hush') } }),
    );
    expect(answer).toMatchObject({ is_error: true, outcome: 'error' });
    expect(textOf(answer)).toContain('refused the connection');
    const record = String(log.read());
    expect(record).toContain('ECONNREFUSED');
    for (const shown of [textOf(answer), record]) {
      expect(shown).not.toContain('127.0.0.1');
      expect(shown).not.toContain(String(port));
      expect(shown).not.toContain('hush');
    }
  });

  it('and has no address is named so', async () => {
    const answer = await run(toolsOf({ url: 'http://no-such-host.invalid/' }));
    expect(answer).toMatchObject({ is_error: true, outcome: 'error' });
    expect(textOf(answer)).not.toContain('no-such-host');
  });

  it.each<[string, (response: ServerResponse) => void]>([
    ['before the headers', (response) => response.socket?.destroy()],
    ['in the body', (response) => response.writeHead(200).write('part', () => response.socket?.resetAndDestroy())],
  ])('and breaks off %s is an error', async (_, breakOff) => {
    respond = breakOff;
    const answer = await run(toolsOf());
    expect(answer).toMatchObject({ is_error: true, outcome: 'error' });
    expect(textOf(answer)).toContain('closed the connection');
  });

  it('ends running calls when the tools are closed', async () => {
    respond = () => {};
    const tools = toolsOf();
    const arrived = once(server, 'received');
    const answer = run(tools);
    await arrived;
    await tools.close();
    expect(await answer).toMatchObject({ is_error: true, outcome: 'error' });
  });
});
