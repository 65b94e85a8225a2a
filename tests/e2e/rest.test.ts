/** REST and SSE against the built server: sessions, events, the stream of the log, the one-shot chat, and garbage. */
import { connect } from 'node:net';
import { setImmediate as nextTurn } from 'node:timers/promises';
import { manualReply, startUpstream, textReply, type Upstream } from '../support/upstream/index.js';
import { SseReader } from '../transports/support/sse-reader.js';
import { PRIVATE, within } from '../support/blackbox-server.js';
import { NODES, type Service, startService } from '../support/service.js';
import { callHttp } from '../support/blackbox-http.js';
import { Watchers } from '../support/ws-watchers.js';

let upstream: Upstream;
let server: Service;
const watchers = new Watchers(() => server.wsUrl);
const get = (path: string, headers?: Record<string, string>) => callHttp(server.url, 'GET', path, undefined, headers);
const post = (path: string, body: unknown, headers?: Record<string, string>) =>
  callHttp(server.url, 'POST', path, body, headers);
const remove = (path: string) => callHttp(server.url, 'DELETE', path);
const stream = async (path: string, init: RequestInit = {}) => new SseReader(await fetch(`${server.url}${path}`, init));
const chatStream = (body: object, init: RequestInit = {}) =>
  stream('/v1/chat', {
    method: 'POST',
    headers: { 'content-type': 'application/json' },
    body: JSON.stringify(body),
    ...init,
  });

beforeAll(async () => {
  upstream = await startUpstream();
  server = await startService({ upstream });
});

beforeEach(() => upstream.script(() => textReply(`Hello ${PRIVATE} there`)));

afterEach(async () => {
  await watchers.release();
  expect(upstream.violations).toEqual([]);
});

afterAll(async () => {
  await server.dispose();
  await upstream.close();
});

/** What the server says first on a connection of its own. */
async function firstBytes(bytes: string): Promise<string> {
  const { port } = new URL(server.url);
  const socket = connect(Number(port), '127.0.0.1');
  socket.on('error', () => undefined);
  const answer = new Promise<string>((resolve) => {
    socket.once('data', (data) => resolve(String(data)));
    socket.once('close', () => resolve(''));
    socket.write(bytes.replace('Host: 127.0.0.1\r\n', `Host: 127.0.0.1:${port}\r\n`));
  });
  return within(answer, 5_000, 'no answer').finally(() => socket.destroy());
}

const createSession = async (): Promise<string> => (await post('/v1/sessions', { title: 'By REST' })).body.id;
const sendMessage = (id: string, content: string) =>
  post(`/v1/sessions/${id}/events`, { events: [{ type: 'user.message', content }] });
const isIdle = (reader: SseReader) => reader.events.some((event) => event.event === 'session.status_idle');

describe('sessions and their log', () => {
  it('sends, lists and streams: what the stream shows is what the log holds', async () => {
    const id = await createSession();
    const live = await stream(`/v1/sessions/${id}/events/stream`);
    expect(live.response.headers.get('content-type')).toContain('text/event-stream');
    const sent = await sendMessage(id, PRIVATE);
    expect(sent.body.data).toMatchObject([{ type: 'user.message', seq: 1 }]);
    await live.until(isIdle);
    await live.cancel();
    const { body } = await get(`/v1/sessions/${id}/events`);
    expect(live.events.map((event) => event.data)).toEqual(
      body.data.map((event: { seq: number }) => expect.objectContaining({ seq: event.seq })),
    );
    expect(live.events[0]).toMatchObject({ id: expect.stringMatching(/^\w+:1$/), event: 'user.message' });
    const history = await get(`/v1/sessions/${id}/messages`);
    expect(history.body.data).toMatchObject([{ role: 'user' }, { role: 'assistant' }]);
    expect((await get('/v1/sessions')).body.data[0]).toMatchObject({ id, title: 'By REST' });
  });

  it('[LOG-4] goes on from Last-Event-ID without a hole', async () => {
    const id = await createSession();
    const first = await stream(`/v1/sessions/${id}/events/stream`);
    await sendMessage(id, PRIVATE);
    await first.until((reader) => reader.events.length >= 3);
    await first.cancel();
    const cursor = first.events[1]?.id ?? '';
    const second = await stream(`/v1/sessions/${id}/events/stream`, { headers: { 'Last-Event-ID': cursor } });
    await second.until(isIdle);
    await second.cancel();
    const all = (await get(`/v1/sessions/${id}/events`)).body.data.map((event: { seq: number }) => event.seq);
    const seen = [...first.events.slice(0, 2), ...second.events].map((event) => event.data.seq);
    expect(seen).toEqual(all);
  });

  it('[LOG-4] begins with a snapshot where the cursor is of another log', async () => {
    const id = await createSession();
    await sendMessage(id, PRIVATE);
    const reader = await stream(`/v1/sessions/${id}/events/stream`, { headers: { 'Last-Event-ID': 'other:1' } });
    await reader.until((r) => r.events.length > 0);
    expect(reader.events[0]).toMatchObject({ event: 'session.snapshot', data: { session: { id } } });
    await reader.cancel();
  });

  it('shows deltas to who asks for them', async () => {
    const id = await createSession();
    const reader = await stream(`/v1/sessions/${id}/events/stream?event_deltas[]=agent.message`);
    await sendMessage(id, PRIVATE);
    await reader.until(isIdle);
    await reader.cancel();
    const text = reader.events
      .filter((event) => event.event === 'event_delta')
      .map((event) => event.data.delta.content.text);
    expect(text.join('')).toBe(`Hello ${PRIVATE} there`);
  });

  it('pages through the log', async () => {
    const id = await createSession();
    const reader = await stream(`/v1/sessions/${id}/events/stream`);
    await sendMessage(id, PRIVATE);
    await reader.until(isIdle);
    await reader.cancel();
    const seen: number[] = [];
    for (let page = ''; ; ) {
      const { body } = await get(`/v1/sessions/${id}/events?limit=3${page}`);
      seen.push(...body.data.map((event: { seq: number }) => event.seq));
      expect(body.data.length).toBeLessThanOrEqual(3);
      if (body.next_page === null) break;
      page = `&page=${encodeURIComponent(body.next_page)}`;
    }
    expect(seen).toEqual((await get(`/v1/sessions/${id}/events`)).body.data.map((e: { seq: number }) => e.seq));
  });

  it('deletes a session that runs: its turn is cancelled, its watchers are told, and it is gone', async () => {
    const reply = manualReply();
    upstream.script([reply]);
    const client = await watchers.connect();
    const id = await client.openSession();
    const { result } = await client.prompt(id, PRIVATE);
    await reply.start();
    const sse = await stream(`/v1/sessions/${id}/events/stream`);
    expect((await remove(`/v1/sessions/${id}`)).status).toBe(200);
    expect(await client.event('turn.ended', { turnId: result.turn_id })).toMatchObject({ stop_reason: 'cancelled' });
    await client.event('session.deleted', { sessionId: id });
    await client.waitFor('connection.detached');
    await within(sse.all(), 5_000, 'the stream did not end');
    expect((await within(reply.closed, 1_000, 'the upstream saw no close')).by).toBe('client');
    expect((await get(`/v1/sessions/${id}`)).status).toBe(404);
    const gone = await client.refused({ type: 'user.message', session_id: id, content: 'Still there?' });
    expect(gone.code).toBe('session_not_found');
  });
});

describe('chat', () => {
  it('streams the projection: start, tokens, step, done', async () => {
    const reader = await chatStream({ message: PRIVATE, system_prompt: 'Be brief.' });
    const events = await reader.all();
    expect(events.map((event) => event.event).filter((type) => type !== 'token')).toEqual([
      'start',
      'step_complete',
      'done',
    ]);
    const text = events.filter((event) => event.event === 'token').map((event) => event.data.text);
    expect(text.join('')).toBe(`Hello ${PRIVATE} there`);
    expect(events.at(-1)?.data).toMatchObject({ status: 'completed', stop_reason: 'end_turn' });
    expect(JSON.stringify(upstream.requests.at(-1)?.body['system'])).toContain('Be brief.');
  });

  it('answers as one JSON, and goes on in the same conversation', async () => {
    const { status, body } = await post('/v1/chat', { message: PRIVATE, stream: false });
    expect(status).toBe(200);
    expect(body).toMatchObject({ response: `Hello ${PRIVATE} there`, stop_reason: 'end_turn' });
    const id = body.conversation_id;
    await post('/chat', { message: 'More.', conversation_id: id, stream: false });
    const { body: conversation } = await get(`/conversation/${id}`);
    expect(conversation).toMatchObject({ conversation_id: id, message_count: 4 });
    expect((await remove(`/v1/conversations/${id}`)).body).toEqual({ status: 'deleted' });
    expect((await get(`/v1/conversations/${id}`)).status).toBe(404);
  });

  it('[CMD-4] cancels when its client goes, and keeps what was said', async () => {
    const reply = manualReply();
    upstream.script([reply, textReply('Later.')]);
    const abort = new AbortController();
    const reader = await chatStream({ message: PRIVATE }, { signal: abort.signal });
    await reply.start();
    reply.openText();
    reply.text('Half an answer');
    await reader.until((r) => r.events.some((event) => event.event === 'token'));
    const { conversation_id: id } = reader.events[0]?.data ?? {};
    abort.abort();
    expect((await within(reply.closed, 2_000, 'the upstream saw no close')).by).toBe('client');
    await post('/v1/chat', { message: 'And?', conversation_id: id, stream: false });
    expect(JSON.stringify(upstream.requests.at(-1)?.body['messages'])).toContain('Half an answer');
  });

  it('[CMD-4] goes on without its client where it said so', async () => {
    const reply = manualReply();
    upstream.script([reply, textReply('Later.')]);
    const abort = new AbortController();
    const reader = await chatStream({ message: PRIVATE, on_disconnect: 'continue' }, { signal: abort.signal });
    await reply.start();
    await reader.until((r) => r.events.some((event) => event.event === 'start'));
    const { conversation_id: id, turn_id: turnId } = reader.events[0]?.data ?? {};
    const watcher = await watchers.connect();
    await watcher.attach(id);
    abort.abort();
    reply.openText();
    reply.text('All of it');
    reply.closeBlock();
    reply.finish();
    expect(await watcher.event('turn.ended', { turnId })).toMatchObject({ stop_reason: 'end_turn' });
  });

  it('[CAN-1] cancels also for a client that goes right after it asked', async () => {
    upstream.script(({ body: { messages } }) =>
      JSON.stringify(messages).includes('gone') ? { hang: 'before_headers' } : textReply('Still here.'),
    );
    const before = upstream.requests.length;
    const body = JSON.stringify({ message: `gone ${PRIVATE}` });
    const { port } = new URL(server.url);
    const request = `POST /v1/chat HTTP/1.1\r\nHost: 127.0.0.1:${port}\r\nContent-Type: application/json\r\nContent-Length: ${Buffer.byteLength(body)}\r\n\r\n${body}`;
    for (let n = 0; n < 80; n += 1) {
      const socket = connect(Number(port), '127.0.0.1');
      socket.on('error', () => undefined);
      await new Promise((resolve) => socket.once('connect', resolve));
      socket.write(request);
      // A little later each time: while it is read, while the session is made, while the message is logged.
      for (let turns = 0; turns < n % 40; turns += 1) await nextTurn();
      socket.destroy();
    }
    // A connection that comes later is heard later, so that none of them is still on its way.
    for (let n = 0; n < 5; n += 1) await firstBytes('GET /health HTTP/1.1\r\nHost: 127.0.0.1\r\n\r\n');
    // The sessions come to rest, whether their message got as far as the model or not.
    await within(settled(), 5_000, 'turns run on though nobody is there');
    const heard = upstream.requests.slice(before).filter(({ body: said }) => JSON.stringify(said).includes('gone'));
    for (const request of heard) expect(request.closing?.by).toBe('client');

    async function running(): Promise<readonly unknown[]> {
      const { body: page } = await get('/v1/sessions?limit=100');
      return page.data.filter((session: { status: string }) => session.status === 'running');
    }
    async function settled(): Promise<void> {
      while ((await running()).length > 0 || upstream.requests.slice(before).some((r) => r.closing === undefined)) {
        await get('/health');
      }
    }
  });

  it('tells a failure of the model before anything was said with its status', async () => {
    upstream.script([{ status: 401, body: { type: 'authentication_error', message: 'bad key' } }]);
    const { status, body } = await post('/v1/chat', { message: PRIVATE, stream: false });
    expect([status, body.error.code]).toEqual([502, 'upstream_auth']);
    upstream.script([{ status: 401, body: { type: 'authentication_error', message: 'bad key' } }]);
    const events = await (await chatStream({ message: PRIVATE })).all();
    expect(events[0]?.event).toBe('start');
    expect(events.slice(-2)).toMatchObject([
      { event: 'error', data: { error: 'upstream_auth' } },
      { event: 'done', data: { stop_reason: 'error' } },
    ]);
    expect(events.at(-1)?.data).toMatchObject({ status: 'failed' });
    const readyOfEach = async () =>
      (await Promise.all(Array.from({ length: NODES }, () => get('/ready')))).map((ready) => ready.status);
    expect(await readyOfEach()).toContain(503);
    upstream.script(() => textReply('The key is mended.'));
    for (let node = 0; node < NODES; node += 1) await post('/v1/chat', { message: PRIVATE, stream: false });
    expect(new Set(await readyOfEach())).toEqual(new Set([200]));
  });
});

describe('the rest', () => {
  it('records feedback, for any id', async () => {
    expect((await post('/v1/feedback', { conversation_id: 'any', rating: 'thumbs_up' })).body).toEqual({
      status: 'recorded',
    });
    expect((await post('/feedback', { conversation_id: 'any', rating: 'sideways' })).status).toBe(400);
  });

  it('says that it is alive and ready', async () => {
    expect((await get('/health')).body).toMatchObject({ status: 'healthy', active_sessions: expect.any(Number) });
    const ready = await get('/ready');
    expect([ready.status, ready.body.status]).toEqual([200, 'ready']);
    expect(Object.keys(ready.body.checks)).toEqual(
      expect.arrayContaining([NODES === 1 ? 'store' : 'redis', 'upstream', 'drain']),
    );
  });

  it.each<[string, string, unknown, number, string]>([
    ['text that is no JSON', '/v1/sessions', '{"title": ', 400, 'invalid_request'],
    ['a list for a body', '/v1/sessions', '[]', 400, 'invalid_request'],
    ['an unknown field', '/v1/sessions', { titel: 'x' }, 400, 'invalid_request'],
    [
      'nesting without end',
      '/v1/sessions',
      `{"metadata":${'['.repeat(5_000)}${']'.repeat(5_000)}}`,
      400,
      'invalid_request',
    ],
    ['more than it takes', '/v1/chat', { message: 'x'.repeat(9_000_000) }, 413, 'payload_too_large'],
    ['more text than it takes', '/v1/chat', { message: 'x'.repeat(2_000_000) }, 413, 'payload_too_large'],
    ['an empty batch', '/v1/sessions/sesn_x/events', { events: [] }, 400, 'invalid_request'],
    [
      'a session that is not there',
      '/v1/sessions/sesn_x/events',
      { events: [{ type: 'user.interrupt' }] },
      404,
      'session_not_found',
    ],
    ['a temperature', '/v1/chat', { message: 'x', temperature: 0.5 }, 400, 'invalid_request'],
    ['a blank message', '/v1/chat', { message: ' \n ' }, 400, 'invalid_request'],
    ['a path that is not there', '/v1/nowhere', {}, 404, 'not_found'],
  ])('refuses %s with a typed error', async (_name, path, body, status, code) => {
    const answer = await post(path, body);
    expect([answer.status, answer.body?.error?.code]).toEqual([status, code]);
    expect(answer.body).toMatchObject({ type: 'error', request_id: answer.headers.get('x-request-id') });
    expect((await get('/health')).status).toBe(200);
  });

  it.each([
    'GET /v1/ws HTTP/1.1\r\nHost: 127.0.0.1\r\nConnection: Upgrade\r\nUpgrade: websocket\r\n\r\n',
    'POST /v1/chat HTTP/1.1\r\nHost: 127.0.0.1\r\nContent-Length: -5\r\n\r\n',
    'POST /v1/chat HTTP/1.1\r\nHost: evil.example\r\nContent-Length: 0\r\n\r\n',
    'GET /v1/sessions/%ff%fe HTTP/1.1\r\nHost: 127.0.0.1\r\n\r\n',
    '\0\u0001\u0002\u0003\r\n\r\n',
  ])('answers %j with a refusal and lives on', async (bytes) => {
    const head = await firstBytes(bytes);
    expect(head).toMatch(/^HTTP\/1\.1 4\d\d /);
    expect((await get('/health')).status).toBe(200);
  });
});
