/** A whole server whose budgets are in Redis, which goes away and comes back. */
import { startTestServer, type TestServer } from '../../server/testing.js';
import { found } from '../support/eventually.js';
import { manualReply, type Reply, startUpstream, textReply, type Upstream } from '../support/upstream/index.js';
import { type RedisServer, startRedis } from '../support/redis-server.js';

// biome-ignore lint/suspicious/noExplicitAny: answers of several shapes.
type Json = Record<string, any>;

let upstream: Upstream;
let redis: RedisServer;
const servers: TestServer[] = [];

beforeEach(async () => {
  upstream = await startUpstream();
  redis = await startRedis({ durable: true });
});
afterEach(async () => {
  for (const server of servers.splice(0)) await server.stop();
  await upstream.close();
  await redis.dispose();
});

async function start(tokens: number): Promise<TestServer> {
  const server = await startTestServer({
    env: { ANTHROPIC_API_KEY: 'sk-test', ANTHROPIC_BASE_URL: upstream.baseURL, REDIS_URL: redis.url },
    tools: [],
    config: {
      agents: { default: { max_tokens: 400 } },
      roles: { admin: { tools: { allow: ['*'] }, models: ['*'], inspect: true, budget: { day: { tokens } } } },
      limits: { running_turns: 1_000 },
    },
  });
  servers.push(server);
  return server;
}

async function call(server: TestServer, method: string, path: string, body?: unknown) {
  const res = await fetch(server.url + path, {
    method,
    headers: { 'content-type': 'application/json' },
    ...(body !== undefined && { body: JSON.stringify(body) }),
  });
  const text = await res.text();
  return { status: res.status, body: (text.startsWith('{') ? JSON.parse(text) : { text }) as Json, res };
}
const chat = (server: TestServer, message: string) => call(server, 'POST', '/v1/chat', { message, stream: false });
const told = (input: number, output: number): Reply => ({
  ...textReply('Fine.'),
  usage: { input_tokens: input, output_tokens: output },
});

const eventually = <T>(look: () => Promise<T | undefined>): Promise<T> => found('it', look, { withinMs: 15_000 });

it('[BUD-1] refuses to spend while Redis is away, and goes on with what streams, and charges it, when Redis is back', async () => {
  const server = await start(50_000);
  expect((await call(server, 'GET', '/ready')).body['checks']).toMatchObject({
    redis: { ok: true, detail: expect.stringContaining(`127.0.0.1:${redis.port}`) },
  });
  const reply = manualReply();
  upstream.script([reply, told(100, 50)]);
  const session = (await call(server, 'POST', '/v1/sessions', {})).body['id'] as string;
  const events = [{ type: 'user.message', content: [{ type: 'text', text: 'one' }] }];
  await call(server, 'POST', `/v1/sessions/${session}/events`, { events });
  await reply.start();
  reply.openText();
  reply.text('half ');

  await redis.kill();
  const refused = await eventually(async () => {
    const answer = await chat(server, 'two');
    return answer.status === 503 ? answer : undefined;
  });
  expect(refused.body['error']).toMatchObject({ code: 'store_unavailable', retryable: true });
  expect(Number(refused.res.headers.get('retry-after'))).toBeGreaterThan(0);
  const ready = await call(server, 'GET', '/ready');
  expect([ready.status, ready.body['checks'].redis.ok]).toEqual([503, false]);
  expect((await call(server, 'GET', '/v1/usage')).status).toBe(503);

  reply.text('and half');
  reply.closeBlock();
  reply.finish('end_turn', 60);
  await redis.start();
  const ended = await eventually(async () => {
    const { data } = (await call(server, 'GET', `/v1/sessions/${session}/events?limit=100`)).body;
    return (data as Json[] | undefined)?.find((event) => event['type'] === 'turn.ended');
  });
  expect(ended).toMatchObject({ stop_reason: 'end_turn' });

  const day = await eventually(async () => {
    const { status, body } = await call(server, 'GET', '/v1/usage');
    return status === 200 && body['windows'][0].held === 0 ? (body['windows'][0] as Json) : undefined;
  });
  expect(day['used']).toBe(ended['usage'].input_tokens + ended['usage'].output_tokens);
  expect((await chat(server, 'two')).status).toBe(200);
}, 60_000);
