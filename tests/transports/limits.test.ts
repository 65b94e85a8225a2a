/** The limits of users and of the node as clients meet them, on a whole server. */
import { mintKey } from '../../server/adapters/api-keys/index.js';
import { startTestServer, type TestServer } from '../../server/testing.js';
import { WsRecorder } from '../support/ws-recorder.js';

// biome-ignore lint/suspicious/noExplicitAny: answers of several shapes.
type Json = Record<string, any>;

const keys = { ada: mintKey(), bob: mintKey() };
let server: TestServer;
let ran: number;
afterEach(() => server.stop());

const script = {
  turns: [{ match: { text: 'hang' }, steps: [{ delay_ms: 3_600_000, blocks: [{ type: 'text', text: 'x' }] }] }],
  fallback: { steps: [{ blocks: [{ type: 'text', text: 'Fine.' }] }] },
};

const start = async (role: Json, limits: Json = {}, roles = ['user']): Promise<void> => {
  ran = 0;
  const tool = { name: 'look', description: 'look', input_schema: { type: 'object' as const }, run: () => `${++ran}` };
  server = await startTestServer({
    script,
    tools: [tool, { ...tool, name: 'forbidden' }],
    config: {
      roles: { user: { tools: { allow: ['look'] }, models: ['*'], inspect: true, ...role } },
      api_keys: Object.entries(keys).map(([id, { sha256 }]) => ({ id, sha256, user_id: id, org_id: 'acme', roles })),
      limits,
    },
  });
};

interface Answer {
  readonly status: number;
  readonly body: Json;
  readonly headers: Headers;
}

async function call(method: string, path: string, body?: unknown, more: Record<string, string> = {}): Promise<Answer> {
  const res = await fetch(server.url + path, {
    method,
    headers: { 'Content-Type': 'application/json', 'X-API-Key': keys.ada.key, ...more },
    ...(body !== undefined && { body: JSON.stringify(body) }),
  });
  const text = await res.text();
  return {
    status: res.status,
    headers: res.headers,
    body: text.startsWith('{') ? (JSON.parse(text) as Json) : { text },
  };
}
const rateOf = ({ headers }: Answer) => [headers.get('RateLimit-Policy'), headers.get('RateLimit')];
const message = (text: string, over: Json = {}): Json => ({
  type: 'user.message',
  content: [{ type: 'text', text }],
  ...over,
});
const createSession = async (): Promise<string> => (await call('POST', '/v1/sessions', {})).body['id'] as string;
const send = (id: string, ...events: Json[]) => call('POST', `/v1/sessions/${id}/events`, { events });
const connect = (): Promise<WsRecorder> => WsRecorder.connect(server.wsUrl, { 'X-API-Key': keys.ada.key });

const spending: [string, (id: string) => Promise<Answer>][] = [
  ['chat', () => call('POST', '/v1/chat', { message: 'Hi.', stream: false })],
  ['chat as a stream', () => call('POST', '/v1/chat', { message: 'Hi.' })],
  ['chat at the root', () => call('POST', '/chat', { message: 'Hi.', stream: false })],
  ['events', (id) => send(id, message('Hi.'))],
  ['an interrupting message', (id) => send(id, message('Hi.', { on_busy: 'interrupt' }))],
  ['a direct tool call', () => call('POST', '/v1/tools/look/call', { input: {} })],
  [
    'a direct tool call under a key',
    () => call('POST', '/v1/tools/look/call', { input: {} }, { 'Idempotency-Key': 'k' }),
  ],
];

describe('requests a minute', () => {
  it.each(spending)('count: %s', async (_name, spend) => {
    await start({ requests_per_minute: 2 });
    const id = await createSession();
    const first = await spend(id);
    expect(first.status).toBe(200);
    expect(rateOf(first)).toEqual(['"requests";q=2;w=60', expect.stringMatching(/^"requests";r=1;t=(29|30)$/)]);
    expect((await call('POST', '/v1/tools/look/call', { input: {} })).status).toBe(200);
    const messages = () => call('GET', `/v1/sessions/${id}/events?types=user.message`);
    const before = (await messages()).body;
    for (const [name, other] of spending) {
      if (name.endsWith('a key')) continue;
      const refused = await other(id);
      expect([name, refused.status, refused.body['error']?.code]).toEqual([name, 429, 'rate_limited']);
      expect(refused.body['error']).toMatchObject({
        retryable: true,
        details: { limit: 'requests_per_minute', quota: 2, remaining: 0, reset_ms: expect.any(Number) },
      });
      const seconds = Math.ceil(refused.body['error'].retry_after_ms / 1_000);
      expect(refused.headers.get('Retry-After')).toBe(`${seconds}`);
      expect(rateOf(refused)).toEqual(['"requests";q=2;w=60', `"requests";r=0;t=${seconds}`]);
    }
    expect((await messages()).body).toEqual(before);
  });

  it('are refused on a socket with the same numbers', async () => {
    await start({ requests_per_minute: 1 });
    const socket = await connect();
    const id = await createSession();
    await send(id, message('Hi.'));
    const reply = await socket.refused({ ...message('Hi.'), session_id: id } as never);
    expect(reply).toMatchObject({
      code: 'rate_limited',
      retry_after_ms: expect.any(Number),
      details: { limit: 'requests_per_minute', quota: 1, remaining: 0 },
    });
    await socket.close();
  });

  it('[CMD-2] what is sent again is not counted, and reading is not', async () => {
    await start({ requests_per_minute: 3 });
    const id = await createSession();
    const events = [{ ...message('Hi.'), id: 'one' }];
    for (let n = 0; n < 3; n++) expect((await call('POST', `/v1/sessions/${id}/events`, { events })).status).toBe(200);
    const keyed = () => call('POST', '/v1/tools/look/call', { input: {} }, { 'Idempotency-Key': 'k' });
    for (let n = 0; n < 3; n++) expect((await keyed()).status).toBe(200);
    expect(ran).toBe(1);
    expect(rateOf(await call('GET', '/v1/tools'))).toEqual([null, null]);
    expect(rateOf(await call('POST', '/v1/tools/look/call', { input: {} }))[1]).toMatch(/r=0;/);
  });

  it('what the policy refuses costs nothing; another user has their own', async () => {
    await start({ requests_per_minute: 1 });
    for (let n = 0; n < 3; n++)
      expect((await call('POST', '/v1/tools/forbidden/call', { input: {} })).status).toBe(403);
    expect((await call('POST', '/v1/tools/look/call', { input: {} })).status).toBe(200);
    expect((await call('POST', '/v1/tools/look/call', { input: {} })).status).toBe(429);
    const bob = { 'X-API-Key': keys.bob.key };
    expect((await call('POST', '/v1/tools/look/call', { input: {} }, bob)).status).toBe(200);
  });

  it('are read again with the roles', async () => {
    await start({ requests_per_minute: 1 });
    const look = () => call('POST', '/v1/tools/look/call', { input: {} });
    expect([(await look()).status, (await look()).status]).toEqual([200, 429]);
    const { sha256 } = keys.ada;
    const user = { tools: { allow: ['look'] }, models: ['*'] };
    const api_keys = [{ id: 'ada', sha256, user_id: 'ada', org_id: 'acme', roles: ['user'] }];
    expect(server.reload({ roles: { user }, api_keys })).toBe(true);
    expect((await look()).status).toBe(200);
  });

  it('do not apply in dev', async () => {
    server = await startTestServer({
      script,
      config: { roles: { admin: { tools: {}, models: ['*'], requests_per_minute: 1, concurrent_turns: 1 } } },
    });
    for (let n = 0; n < 3; n++) {
      const answer = await call('POST', '/v1/chat', { message: 'Hi.', stream: false });
      expect([answer.status, ...rateOf(answer)]).toEqual([200, null, null]);
    }
  });
});

it('turns at a time: one too many is refused on every route, and nothing is counted for it', async () => {
  await start({ concurrent_turns: 1, requests_per_minute: 9 });
  const [one, two] = [await createSession(), await createSession()];
  await send(one, message('hang'));
  for (const refused of [await send(two, message('Hi.')), await call('POST', '/v1/chat', { message: 'Hi.' })]) {
    expect(refused.status).toBe(429);
    expect(refused.body['error']).toMatchObject({
      code: 'rate_limited',
      details: { limit: 'concurrent_turns', quota: 1 },
    });
    expect(refused.headers.get('Retry-After')).toBe('1');
    expect(rateOf(refused)[1]).toMatch(/r=8;/);
  }
  const [{ details }] = [(await send(two, message('Hi.'), message('and')))['body']['error']];
  expect(details.index).toBe(0);
  await send(one, { type: 'user.interrupt' });
  expect((await send(two, message('Hi.'))).status).toBe(200);
});

it('a node that is full takes as many as may wait, says 503 to others, and runs them when there is room', async () => {
  await start({}, { running_turns: 1, waiting_turns: 1 });
  const [one, two] = [await createSession(), await createSession()];
  await send(one, message('hang'));
  const socket = await connect();
  await socket.attach(two);
  await send(two, message('Hi.'));
  const refused = await call('POST', '/v1/chat', { message: 'Hi.' });
  expect(refused.status).toBe(503);
  expect(refused.body['error']).toMatchObject({ code: 'overloaded', retryable: true, retry_after_ms: 1_000 });
  expect(refused.headers.get('Retry-After')).toBe('1');
  await send(one, { type: 'user.interrupt' });
  await socket.event('turn.ended', { sessionId: two });
  await socket.close();
});

it('metrics say what runs, waits, was refused and spent, without a credential and without a user', async () => {
  await start({ requests_per_minute: 3 }, { running_turns: 1, waiting_turns: 5 });
  const [one, two] = [await createSession(), await createSession()];
  await call('POST', '/v1/chat', { message: 'Hi.', stream: false });
  await send(one, message('hang'));
  await send(two, message('Hi.'));
  await send(two, message('Hi.'));
  await call('POST', '/v1/tools/forbidden/call', { input: {} });
  const socket = await connect();
  const res = await fetch(`${server.url}/metrics`);
  expect(res.headers.get('Content-Type')).toMatch(/^text\/plain; version=0\.0\.4/);
  const text = await res.text();
  const read = (name: string): string | undefined =>
    text
      .split('\n')
      .find((line) => line.startsWith(`${name} `))
      ?.slice(name.length + 1);
  expect({
    running: read('midstream_turns_running'),
    waiting: read('midstream_turns_waiting'),
    capacity: read('midstream_turn_capacity'),
    sockets: read('midstream_sockets_open'),
    limited: read('midstream_denials_total{reason="rate_limited"}'),
    forbidden: read('midstream_denials_total{reason="forbidden_tool"}'),
    ended: read('midstream_turns_ended_total{stop_reason="end_turn"}'),
    first: read('midstream_first_content_seconds_count{model="scripted"}'),
  }).toEqual({
    running: '1',
    waiting: '1',
    capacity: '1',
    sockets: '1',
    limited: '1',
    forbidden: '1',
    ended: '1',
    first: '1',
  });
  expect(Number(read('midstream_tokens_total{model="scripted",kind="output"}'))).toBeGreaterThan(0);
  expect(text).toContain('nodejs_eventloop_lag_seconds');
  expect(text).not.toMatch(/"ada"|acme|sesn_|turn_id/);
  expect((await call('POST', '/metrics', {})).status).toBe(404);
  await socket.close();
});
