/** One busy scenario on the built server at debug level: what must stay secret stands in nothing that operators or others read. */
import { writeFileSync } from 'node:fs';
import { join } from 'node:path';
import { mintKey } from '../../server/adapters/api-keys/index.js';
import { bearerOf, IDENTITY_ENV, SECRET, tokenFor } from '../support/attack-identity.js';
import { callHttp, type HttpAnswer } from '../support/blackbox-http.js';
import { type BlackboxServer, PRIVATE, startBlackbox, within } from '../support/blackbox-server.js';
import { startToolServer, type ToolServer } from '../support/blackbox-tools.js';
import { type RedisServer, startRedis } from '../support/redis-server.js';
import { startUpstream, textReply, type Upstream } from '../support/upstream/index.js';
import { WsRecorder } from '../support/ws-recorder.js';
import { FrameClient, refusalOf } from '../transports/support/frame-client.js';

const PASSWORD = 'of-redis-mauve';
const TOOL_KEY = 'of-a-tool-cerise';
const key = mintKey();
const alice = tokenFor({ sub: 'alice', jti: 'alice-1' });
const boss = bearerOf({ sub: 'boss', roles: ['admin'] });
const tickets: string[] = [];

let upstream: Upstream;
let tools: ToolServer;
let redis: RedisServer;
let server: BlackboxServer;
/** Bodies of refusals, and what the probes said. */
const shown: string[] = [];

beforeAll(async () => {
  [upstream, tools, redis] = await Promise.all([
    startUpstream(),
    startToolServer(),
    startRedis({ durable: true, settings: { requirepass: PASSWORD } }),
  ]);
  const { http, ...look } = tools.toolConfig('look', {
    input_schema: { type: 'object', properties: { at: { type: 'string' } } },
  });
  server = await startBlackbox({
    upstream,
    env: {
      ...IDENTITY_ENV,
      TOOL_KEY,
      MIDSTREAM_LOG_LEVEL: 'debug',
      REDIS_URL: `redis://:${PASSWORD}@127.0.0.1:${redis.port}`,
    },
    config: {
      // biome-ignore lint/suspicious/noTemplateCurlyInString: the server fills it in.
      tools: [{ ...look, http: { url: http?.url ?? '', headers: { Authorization: '${env:TOOL_KEY}' } } }],
      client_tools: ['edit_*'],
      roles: {
        user: {
          tools: { allow: ['edit_*'], ask: ['look'], input: { look: { properties: { at: { maxLength: 40 } } } } },
          models: ['claude-*'],
          approve: ['look'],
          requests_per_minute: 100,
          budget: { day: { tokens: 1_000_000 } },
        },
        admin: { tools: { allow: ['*'] }, models: ['*'], inspect: true },
      },
      api_keys: [{ id: 'ci', sha256: key.sha256, user_id: 'bot', org_id: 'acme', roles: ['user'] }],
    },
  });
}, 30_000);
afterAll(async () => {
  await server?.dispose();
  await Promise.all([upstream.close(), tools.close(), redis.dispose()]);
});

const as = (token: string) => ({ Authorization: `Bearer ${token}` });
/** A refusal, or a probe, whose body is kept to be looked through. */
async function keep(answer: Promise<HttpAnswer>, status: number): Promise<void> {
  const { status: got, body } = await answer;
  expect(got).toBe(status);
  shown.push(JSON.stringify(body));
}
function untilRedis(isThere: boolean): Promise<void> {
  let said = '';
  const ask = async (): Promise<void> => {
    const { body } = await callHttp(server.url, 'GET', '/ready');
    said = JSON.stringify(body);
    if (body.checks.redis.ok !== isThere) return ask();
  };
  return within(ask(), 10_000, () => `that Redis is there does not become ${isThere}: ${said}`);
}

it('no prompt, answer, argument, result, token, ticket, key or password is shown to anybody whom it does not concern', async () => {
  let calls = 0;
  const use = (name: string, input: Record<string, unknown>) => {
    calls += 1;
    return { type: 'tool_use' as const, id: `toolu_${calls}`, name, input };
  };
  upstream.script([
    { blocks: [use('look', { at: PRIVATE }), use('edit_note', { text: PRIVATE })] },
    {
      blocks: [
        use('look', { at: `${PRIVATE} beyond what the role may, by far`.repeat(2) }),
        use('drop', { at: PRIVATE }),
      ],
    },
    textReply(`The answer is ${PRIVATE}.`),
    { status: 400, body: { type: 'invalid_request_error', message: `I refuse ${PRIVATE}` } },
    { status: 401, body: { type: 'authentication_error', message: `invalid x-api-key sk-${PRIVATE}` } },
  ]);
  tools.handle(() => ({ found: PRIVATE }));

  const client = await WsRecorder.connect(server.wsUrl, as(alice));
  const session_id = await client.openSession({
    title: PRIVATE,
    metadata: { about: PRIVATE },
    agent: { system: PRIVATE, model: 'claude-sonnet-4-5', tools: ['look', 'edit_note'] },
  });
  const edit = { name: 'edit_note', description: PRIVATE, input_schema: { type: 'object' as const } };
  await client.accepted({ type: 'tools.register', session_id, tools: [edit] });
  await client.accepted({ type: 'presence.update', session_id, state: { cursor: PRIVATE } });
  const { result } = await client.prompt(session_id, `A prompt of ${PRIVATE}`, { tags: ['tag'] });
  const turnId = result.turn_id as string;
  const offered = await client.event('tool.offered', { turnId });
  await client.accepted({
    type: 'user.custom_tool_result',
    session_id,
    custom_tool_use_id: offered.tool_use_id,
    content: [{ type: 'text', text: PRIVATE }],
  });
  const asked = await client.event('turn.waiting', { turnId });
  const confirm = {
    type: 'user.tool_confirmation' as const,
    session_id,
    tool_use_id: asked.pending.find(({ kind }) => kind === 'confirmation')?.tool_use_id ?? '',
    result: 'allow' as const,
  };
  await client.refused({ ...confirm, updated_input: { at: PRIVATE.repeat(10) } });
  await client.accepted({ ...confirm, updated_input: { at: `edited ${PRIVATE}` } });
  expect(await client.event('turn.ended', { turnId })).toMatchObject({ stop_reason: 'end_turn' });
  expect(client.events().filter(({ type }) => type === 'tool.denied').length).toBeGreaterThan(0);

  // The provider refuses, in words that quote a prompt and a key: the first are the sender's, the second nobody's.
  for (const code of ['upstream_refused', 'upstream_auth']) {
    const again = await client.prompt(session_id, PRIVATE);
    const ended = await client.event('turn.ended', { turnId: again.result.turn_id });
    expect(ended.error?.code).toBe(code);
    if (code === 'upstream_auth') shown.push(JSON.stringify(ended));
  }

  const post = (path: string, body: unknown, headers: Record<string, string>) =>
    callHttp(server.url, 'POST', path, body, headers);
  await keep(post('/v1/chat', `{"message":"${PRIVATE}`, as(alice)), 400);
  await keep(post('/v1/chat', { message: PRIVATE, stream: 'no' }, { 'X-API-Key': key.key }), 400);
  await keep(post('/v1/chat', { message: PRIVATE, conversation_id: session_id }, { 'X-API-Key': key.key }), 404);
  await keep(post('/v1/chat', { message: PRIVATE, model: 'gpt' }, as(alice)), 403);
  await keep(post('/v1/tools/look/call', { input: { at: PRIVATE.repeat(10) } }, as(alice)), 403);
  await keep(callHttp(server.url, 'GET', `/v1/sessions?token=${alice}`), 401);
  await keep(callHttp(server.url, 'GET', '/v1/sessions', undefined, as(`${alice}x`)), 401);
  await keep(callHttp(server.url, 'GET', '/v1/sessions', undefined, { 'X-API-Key': `${key.key}x` }), 401);
  expect(
    (await post('/v1/feedback', { turn_id: turnId, rating: 'down', comment: PRIVATE }, as(alice))).status,
  ).toBeLessThan(500);

  for (let n = 0; n < 2; n += 1) tickets.push((await post('/v1/ws-tickets', {}, as(alice))).body.ticket);
  const [ticket = '', unused = ''] = tickets;
  const byTicket = { protocols: ['midstream.v1', `ticket.${ticket}`] };
  (await FrameClient.connect(server.wsUrl, byTicket)).socket.terminate();
  shown.push(JSON.stringify(await refusalOf(FrameClient.connect(server.wsUrl, byTicket))));
  await keep(callHttp(server.url, 'GET', `/v1/sessions/${session_id}/messages?ticket=${unused}`), 401);
  const late = await FrameClient.connect(server.wsUrl);
  late.send({ type: 'connection.authenticate', id: 'a', token: `${alice}x` });
  await late.closed;
  shown.push(JSON.stringify(late.frames));

  // A configuration with mistakes, and a Redis that goes away and comes back.
  writeFileSync(
    join(server.dataDir, 'midstream.config.json'),
    JSON.stringify({
      api_keys: [{ id: 'ci', sha256: PRIVATE, user_id: 'bot', org_id: 'acme', roles: ['user'] }],
      roles: PRIVATE,
    }),
  );
  process.kill(server.pid, 'SIGHUP');
  await redis.kill();
  await untilRedis(false);
  await keep(callHttp(server.url, 'GET', '/ready'), 503);
  await keep(callHttp(server.url, 'GET', '/metrics'), 200);
  await keep(post('/v1/ws-tickets', {}, boss), 503);
  await redis.start();
  await untilRedis(true);
  await keep(callHttp(server.url, 'GET', '/metrics'), 200);
  expect((await post('/v1/revocations', { key_id: 'alice-1' }, boss)).status).toBe(200);
  await client.closed;
  await keep(callHttp(server.url, 'GET', '/v1/sessions', undefined, as(alice)), 401);

  const audit = await callHttp(server.url, 'GET', '/v1/audit?limit=1000', undefined, boss);
  expect(new Set(audit.body.data.map(({ kind }: { kind: string }) => kind))).toEqual(
    new Set(['authentication', 'denial', 'approval', 'tool_call', 'policy_change', 'revocation']),
  );
  shown.push(JSON.stringify(audit.body));
  expect(client.violations).toEqual([]);

  const secrets = {
    prompts: PRIVATE,
    token: alice,
    signature: alice.split('.')[2],
    jwtSecret: SECRET,
    apiKey: key.key,
    keyHash: key.sha256,
    providerKey: `sk-${PRIVATE}`,
    password: PASSWORD,
    toolKey: TOOL_KEY,
    ticket,
    unused,
  };
  const texts: Record<string, string> = {
    log: server.stdout,
    stderr: server.stderr,
    ...Object.fromEntries(shown.entries()),
  };
  const found = Object.entries(texts).flatMap(([where, text]) =>
    Object.entries(secrets).flatMap(([what, secret = '']) =>
      text.includes(secret)
        ? [
            `${what} in ${where}: ${text
              .split('\n')
              .find((line) => line.includes(secret))
              ?.slice(0, 400)}`,
          ]
        : [],
    ),
  );
  expect(found).toEqual([]);
}, 60_000);
