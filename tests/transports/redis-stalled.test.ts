/** A whole server whose Redis answers nothing for some seconds: while a turn streams, and while the server goes down. */
import { mintKey } from '../../server/adapters/api-keys/index.js';
import { startTestServer, type TestServer } from '../../server/testing.js';
import { RedisConnection } from '../../server/adapters/redis/index.js';
import { keys } from '../../server/adapters/redis/keys.js';
import { found } from '../support/eventually.js';
import { type RedisServer, startRedis } from '../support/redis-server.js';
import { type ManualReply, manualReply, startUpstream, textReply, type Upstream } from '../support/upstream/index.js';
import { WsRecorder } from '../support/ws-recorder.js';
import { FrameClient } from './support/frame-client.js';

// biome-ignore lint/suspicious/noExplicitAny: answers of several shapes.
type Json = Record<string, any>;
type User = 'ada' | 'bob' | 'boss';

/** How long an answer may take that says that Redis gives none: a command's two seconds, and what comes around it. */
const REFUSED_WITHIN_MS = 3_500;
const ENDS_WITHIN_MS = 5_500;
/** Longer than the stalls here. */
const LEASE_MS = 5_000;
const users = { ada: mintKey(), bob: mintKey(), boss: mintKey() };
const ADA = { userId: 'ada', orgId: 'acme' };

let upstream: Upstream;
let redis: RedisServer;
let look: RedisConnection;
let server: TestServer;
let logged: Json[];
const note = (message: string, fields: object = {}): void => void logged.push({ message, ...fields });
const logger = { error: note, warn: note, info: () => undefined, debug: () => undefined, child: () => logger };

function startServer(): Promise<TestServer> {
  const role = { tools: { allow: ['*'] }, models: ['*'], inspect: true, requests_per_minute: 600, concurrent_turns: 5 };
  return startTestServer({
    logger,
    env: {
      ANTHROPIC_API_KEY: 'sk-test',
      ANTHROPIC_BASE_URL: upstream.baseURL,
      REDIS_URL: redis.url,
      MIDSTREAM_LEASE_MS: String(LEASE_MS),
    },
    tools: [],
    config: {
      agents: { default: { max_tokens: 400 } },
      roles: { user: { ...role, budget: { day: { tokens: 1_000_000 } } } },
      api_keys: Object.entries(users).map(([id, { sha256 }]) => ({
        ...{ id: `key-${id}`, sha256, user_id: id, org_id: 'acme', roles: ['user'] },
        created_at: '2020-01-01T00:00:00Z',
      })),
    },
  });
}

beforeEach(async () => {
  logged = [];
  [upstream, redis] = await Promise.all([startUpstream(), startRedis({ durable: true })]);
  look = await RedisConnection.open({ url: redis.url });
  server = await startServer();
});
afterEach(async () => {
  redis.resume();
  await server.stop();
  await look.close();
  await Promise.all([upstream.close(), redis.dispose()]);
});

async function call(user: User, method: string, path: string, body?: unknown) {
  const res = await fetch(server.url + path, {
    method,
    headers: { 'content-type': 'application/json', 'x-api-key': users[user].key },
    ...(body !== undefined && { body: JSON.stringify(body) }),
  });
  const text = await res.text();
  return {
    status: res.status,
    retryAfter: res.headers.get('retry-after'),
    body: (text.startsWith('{') ? JSON.parse(text) : { text }) as Json,
  };
}
const chat = (user: User) => call(user, 'POST', '/v1/chat', { message: 'two', stream: false });
const ticketOf = async (user: User): Promise<string> =>
  (await call(user, 'POST', '/v1/ws-tickets')).body['ticket'] as string;
const leaseOf = async (sessionId: string): Promise<number> =>
  Number(await look.do((client) => client.zscore(keys.seats(ADA), sessionId)));

const eventually = <T>(what: string, look: () => Promise<T | undefined>): Promise<T> =>
  found(what, look, { withinMs: 15_000 });

/** A turn of ada's that streams. */
async function stream(): Promise<{ recorder: WsRecorder; sessionId: string; reply: ManualReply }> {
  const reply = manualReply();
  upstream.script([reply, { ...textReply('Fine.'), usage: { input_tokens: 100, output_tokens: 50 } }]);
  const recorder = await WsRecorder.connect(server.wsUrl, { 'X-API-Key': users.ada.key });
  const sessionId = await recorder.openSession();
  await recorder.prompt(sessionId, 'one');
  await reply.start();
  reply.openText();
  reply.text('half ');
  return { recorder, sessionId, reply };
}
const textOf = (recorder: WsRecorder, sessionId: string): string =>
  recorder
    .events(sessionId)
    .map((event) => (event.type === 'event_delta' ? ((event.delta as Json)['content']?.text ?? '') : ''))
    .join('');

it('[BUD-1] [LOG-2] refuses prompts in time while Redis stalls, and goes on with what streams afterwards, whole', async () => {
  const { recorder, sessionId, reply } = await stream();
  const heldBefore = (await call('ada', 'GET', '/v1/usage')).body['windows'][0].held as number;
  expect(heldBefore).toBeGreaterThan(400);
  const earlyTicket = await ticketOf('bob');

  redis.stall();
  const began = performance.now();
  reply.text('and half');
  const refusals = await Promise.all([chat('ada'), chat('bob')]);
  expect(performance.now() - began).toBeLessThan(REFUSED_WITHIN_MS);
  for (const refused of refusals)
    expect(refused).toMatchObject({
      status: 503,
      retryAfter: '1',
      body: { error: { code: 'store_unavailable', retryable: true } },
    });
  // What is not in the log is shown to nobody.
  expect(textOf(recorder, sessionId)).toBe('half ');
  const resumedAt = Date.now();
  redis.resume();
  await recorder.until(() => textOf(recorder, sessionId) === 'half and half', 'the rest of the text');

  // The seat's lease runs by the clock of Redis, which is that of this machine.
  await eventually('a renewed seat', async () => ((await leaseOf(sessionId)) > resumedAt + 10_000 ? true : undefined));
  const bob = await FrameClient.connect(server.wsUrl, { protocols: ['midstream.v1', `ticket.${earlyTicket}`] });
  expect(await bob.ofType('connection.ready')).toMatchObject({ principal: { user_id: 'bob' } });

  reply.closeBlock();
  reply.finish('end_turn', 60);
  const ended = (await recorder.waitFor(
    (frame) => frame.type === 'turn.ended' && frame.session_id === sessionId,
    'the end of the turn',
  )) as Json;
  expect(ended['stop_reason']).toBe('end_turn');
  const used = ended['usage'].input_tokens + ended['usage'].output_tokens;
  const day = await eventually('a settled hold', async () => {
    const [window] = (await call('ada', 'GET', '/v1/usage')).body['windows'] ?? [];
    return window?.held === 0 ? (window as Json) : undefined;
  });
  expect(day['used']).toBe(used);
  const { body: spent } = await call('ada', 'GET', '/v1/usage?group_by=session');
  expect(spent['spend']).toMatchObject([{ requests: 1 }]);
  expect(await look.do((client) => client.keys('midstream:{acme}:hold:*'))).toEqual([]);
  await eventually('a free seat', async () => ((await leaseOf(sessionId)) === 0 ? true : undefined));

  expect((await chat('ada')).status).toBe(200);
  const lateTicket = await ticketOf('bob');
  const again = await FrameClient.connect(server.wsUrl, { protocols: ['midstream.v1', `ticket.${lateTicket}`] });
  await again.ofType('connection.ready');
  expect((await call('boss', 'POST', '/v1/revocations', { user_id: 'bob' })).status).toBe(200);
  await eventually('a revocation', async () => ((await chat('bob')).status === 401 ? true : undefined));
  await recorder.close();
  await recorder.close();
}, 60_000);

/** One that is gone is refused sooner; on demand. */
const WAYS = process.env['MIDSTREAM_TEST_LONG'] === '1' ? ['stalls', 'is gone'] : ['stalls'];

it.each(WAYS)(
  '[NODE-2] ends in time while Redis %s, and another server goes on when it is back',
  async (how) => {
    const { recorder, sessionId, reply } = await stream();
    if (how === 'stalls') redis.stall();
    else await redis.kill();
    reply.text('and half');
    reply.closeBlock();
    reply.finish('end_turn', 60);
    const began = performance.now();
    await server.stop();
    expect(performance.now() - began).toBeLessThan(ENDS_WITHIN_MS);
    await recorder.close();
    if (how === 'stalls') redis.resume();
    else await redis.start();
    server = await startServer();
    const events = await eventually('the end of the turn', async () => {
      const { data } = (await call('ada', 'GET', `/v1/sessions/${sessionId}/events`)).body;
      const isOver = (data as Json[] | undefined)?.some(({ type }) => type === 'turn.ended');
      return isOver ? (data as Json[]) : undefined;
    });
    expect(events.find(({ type }) => type === 'turn.ended')).toMatchObject({ stop_reason: 'end_turn' });
    expect(events.filter(({ type }) => type === 'agent.message').map(({ content }) => content[0].text)).toEqual([
      'Fine.',
    ]);
  },
  60_000,
);
