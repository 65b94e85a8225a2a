/** Starting and stopping the program: drains, deadlines, exit codes, and what it says when it can't start. */
import { createServer } from 'node:net';
import { join } from 'node:path';
import { manualReply, startUpstream, textReply, type Upstream } from '../support/upstream/index.js';
import { BlackboxServer, type BlackboxOptions, PRIVATE, startBlackbox, within } from '../support/blackbox-server.js';
import { callHttp } from '../support/blackbox-http.js';
import { Watchers } from '../support/ws-watchers.js';

const EXIT_MS = 10_000;

let upstream: Upstream;
let server: BlackboxServer;
const watchers = new Watchers(() => server.wsUrl);
const open: BlackboxServer[] = [];

async function start(options: BlackboxOptions = {}): Promise<BlackboxServer> {
  server = await startBlackbox({ upstream, ...options });
  open.push(server);
  return server;
}

/** Starts a server that is to end by itself. */
async function failToStart(options: BlackboxOptions): Promise<{ code: number | null; said: string }> {
  const failing = new BlackboxServer(options);
  open.push(failing);
  failing.spawn();
  const { code } = await within(failing.exited, EXIT_MS, 'the program runs on');
  return { code, said: failing.stderr };
}

beforeEach(async () => {
  upstream = await startUpstream();
});

afterEach(async () => {
  await watchers.release();
  for (const one of open.splice(0)) await one.dispose();
  await upstream.close();
  expect(upstream.violations).toEqual([]);
});

describe('SIGTERM', () => {
  it('lets a running turn finish, tells clients to go, takes no new prompts, and exits with 0', async () => {
    await start();
    const reply = manualReply();
    upstream.script([reply]);
    const [client, idle] = await watchers.connectMany(2);
    const sessionId = await client.openSession();
    const other = await idle.openSession();
    const { result } = await client.prompt(sessionId, PRIVATE);
    await reply.start();
    reply.openText();
    reply.text('To the ');
    await client.event('event_delta', { turnId: result.turn_id });
    server.term();
    expect(await client.waitFor('connection.draining')).toMatchObject({ reconnect_after_ms: expect.any(Number) });
    const message = { type: 'user.message' as const, content: 'One more?' };
    expect((await idle.refused({ ...message, session_id: other })).code).toBe('draining');
    expect((await idle.refused({ type: 'session.create' })).code).toBe('draining');
    await expect(watchers.connect()).rejects.toThrow();
    const ready = await callHttp(server.url, 'GET', '/ready').catch(() => undefined);
    expect(ready?.status ?? 503).toBe(503);
    reply.text('end.');
    reply.closeBlock();
    reply.finish();
    expect(await client.event('turn.ended', { turnId: result.turn_id })).toMatchObject({ stop_reason: 'end_turn' });
    expect(watchers.textOf(client, result.turn_id)).toBe('To the end.');
    expect(await client.closed).toMatchObject({ code: 1001 });
    await idle.closed;
    expect(await within(server.exited, EXIT_MS, 'the program runs on')).toEqual({ code: 0, signal: null });
  });

  it('cuts at its deadline what still runs, and keeps what was produced', async () => {
    await start({ env: { MIDSTREAM_DRAIN_MS: '300' } });
    const reply = manualReply();
    upstream.script([reply, textReply('Back again.')]);
    const client = await watchers.connect();
    const sessionId = await client.openSession();
    const { result } = await client.prompt(sessionId, PRIVATE);
    await reply.start();
    reply.openText();
    reply.text('Never to be finished');
    await client.event('event_delta', { turnId: result.turn_id });
    server.term();
    const ended = await client.event('turn.ended', { turnId: result.turn_id });
    expect(ended).toMatchObject({ stop_reason: 'error', partial: true, error: { code: 'draining' } });
    expect(await client.event('agent.message', { turnId: result.turn_id })).toMatchObject({
      status: 'incomplete',
      content: [{ text: 'Never to be finished' }],
    });
    expect((await reply.closed).by).toBe('client');
    expect(await within(server.exited, EXIT_MS, 'the program runs on')).toEqual({ code: 0, signal: null });
    await server.start();
    const again = await watchers.connect();
    await again.attach(sessionId, { after_seq: client.lastSeq(sessionId) });
    await watchers.turn(again, sessionId, 'Go on.');
    expect(JSON.stringify(upstream.requests.at(-1)?.body['messages'])).toContain('Never to be finished');
  });

  it('leaves what waits in the queue to the next start', async () => {
    await start();
    const reply = manualReply();
    upstream.script([reply, textReply('The queued answer.')]);
    const client = await watchers.connect();
    const sessionId = await client.openSession();
    const running = await client.prompt(sessionId, PRIVATE);
    const queued = await client.prompt(sessionId, 'The queued.');
    await reply.start();
    server.term();
    await client.waitFor('connection.draining');
    reply.openText();
    reply.text('First.');
    reply.closeBlock();
    reply.finish();
    await client.event('turn.ended', { turnId: running.result.turn_id });
    await within(server.exited, EXIT_MS, 'the program runs on');
    await server.start();
    const again = await watchers.connect();
    await again.attach(sessionId, { after_seq: client.lastSeq(sessionId) });
    expect(await again.event('turn.ended', { turnId: queued.result.turn_id })).toMatchObject({
      stop_reason: 'end_turn',
    });
  });

  it('leaves at once at the second signal', async () => {
    await start();
    const reply = manualReply();
    upstream.script([reply]);
    const client = await watchers.connect();
    await client.prompt(await client.openSession(), PRIVATE);
    await reply.start();
    server.term();
    await client.waitFor('connection.draining');
    server.term();
    expect(await within(server.exited, EXIT_MS, 'the program runs on')).toEqual({ code: 1, signal: null });
  });
});

describe('a start that fails', () => {
  it('says so where another server has the data', async () => {
    const first = await start();
    const { code, said } = await failToStart({ env: { MIDSTREAM_DATA_DIR: join(first.dataDir, 'store') } });
    expect(code).toBe(1);
    expect(said).toContain(join(first.dataDir, 'store'));
    expect(said).not.toMatch(/\n\s+at /);
    expect((await callHttp(first.url, 'GET', '/health')).status).toBe(200);
  });

  it('says so where the port is taken', async () => {
    const taken = createServer();
    await new Promise<void>((resolve) => taken.listen(0, '127.0.0.1', resolve));
    const { port } = taken.address() as { port: number };
    const { code, said } = await failToStart({ env: { PORT: String(port) } });
    taken.close();
    expect([code, said]).toEqual([1, `127.0.0.1:${port} is taken by another program. Set PORT to a free one.\n`]);
  });

  it('names all mistakes of the configuration at once, with their places, and exits with 78', async () => {
    const { code, said } = await failToStart({
      env: { PORT: 'eighty', MIDSTREAM_DRAIN_MS: '-1', MIDSTREAM_LOGLEVEL: 'debug', ANTHROPIC_BASE_URL: 'nowhere' },
      config: {
        limits: { json_depth: 1 },
        tools: [{ name: 'has space', description: '', input_schema: {}, http: { url: 'ftp://x' } }],
        unheard_of: true,
      } as never,
    });
    expect(code).toBe(78);
    for (const place of ['PORT', 'MIDSTREAM_DRAIN_MS', 'MIDSTREAM_LOGLEVEL', 'ANTHROPIC_BASE_URL', 'limits.json_depth'])
      expect(said).toContain(place);
    for (const place of ['tools[0].name', 'tools[0].http.url', 'unheard_of']) expect(said).toContain(place);
    expect(said).not.toContain('    at ');
  });

  it('says so where Redis is not there, without its secret', async () => {
    const { code, said } = await failToStart({ env: { REDIS_URL: `redis://user:${PRIVATE}@127.0.0.1:1` } });
    expect(code).toBe(1);
    expect(said).toContain('REDIS_URL: Redis did not answer: connect ECONNREFUSED 127.0.0.1:1.');
    expect(said).not.toContain(PRIVATE);
  });

  it('refuses to serve everybody beyond this machine without being told so', async () => {
    const { code, said } = await failToStart({ env: { HOST: '0.0.0.0' } });
    expect(code).toBe(78);
    expect(said).toContain('MIDSTREAM_DEV_REMOTE');
  });
});

it('makes API keys without starting, and serves who has one beyond this machine', async () => {
  const made = new BlackboxServer({});
  open.push(made);
  made.spawn('keys', 'create', '--id', 'ci', '--roles', 'admin');
  expect(await within(made.exited, EXIT_MS, 'the program runs on')).toEqual({ code: 0, signal: null });
  const [key = '', line = ''] = made.stdout.trimEnd().split('\n');
  await start({ env: { HOST: '0.0.0.0' }, config: { api_keys: [JSON.parse(line)] } });
  const url = server.url.replace('0.0.0.0', '127.0.0.1');
  expect((await callHttp(url, 'GET', '/v1/sessions')).status).toBe(401);
  expect((await callHttp(url, 'GET', '/v1/sessions', undefined, { 'X-API-Key': key })).status).toBe(200);
  expect(server.stdout).not.toContain(key);
});

it('logs JSON lines and neither prompts nor keys, at every level', async () => {
  await start({ env: { MIDSTREAM_LOG_LEVEL: 'debug' } });
  upstream.script([textReply(PRIVATE), { status: 400, body: { type: 'invalid_request_error', message: 'refused' } }]);
  const client = await watchers.connect();
  const sessionId = await client.openSession({ title: PRIVATE, agent: { system: PRIVATE } });
  await watchers.turn(client, sessionId, PRIVATE);
  await watchers.turn(client, sessionId, PRIVATE);
  await callHttp(server.url, 'POST', '/v1/chat', { message: PRIVATE, stream: 'no' });
  await client.refused({ type: 'user.message', session_id: PRIVATE, content: PRIVATE });
  await client.close();
  server.term();
  await within(server.exited, EXIT_MS, 'the program runs on');
  const lines = server.stdout.trim().split('\n');
  expect(lines.length).toBeGreaterThan(1);
  for (const line of lines) expect(JSON.parse(line)).toMatchObject({ level: expect.any(String) });
  server.assertNothingLeaked();
});
