/** Who may do what, seen from outside: forged and stolen credentials, and other people's sessions, on every wire. */
import { createHmac } from 'node:crypto';
import { createClient } from '../../client-sdk/index.js';
import { BOUNDS } from '../../protocol/index.js';
import { mintKey } from '../../server/adapters/api-keys/index.js';
import { startTestServer, type TestServer, type TestServerOptions } from '../../server/testing.js';
import { callHttp, type HttpAnswer } from '../support/blackbox-http.js';
import { AUDIENCE, ISSUER, Issuer, type IssuerKey, makeKey, rawToken } from '../support/issuer.js';
import { type CommandInput, WsRecorder } from '../support/ws-recorder.js';
import { FrameClient, refusalOf } from '../transports/support/frame-client.js';
import { ManualClock } from '../transports/support/manual-clock.js';

const ROLES = {
  admin: { tools: { allow: ['*'], ask: ['send'] }, models: ['*'], approve: ['*'] },
  reader: { tools: { allow: ['look'] }, models: ['*'] },
};
const tool = (name: string, run: () => unknown = () => 'done') => ({
  name,
  description: name,
  input_schema: { type: 'object', properties: {} },
  run,
});
const script = {
  turns: [
    {
      match: { text: 'look and write' },
      steps: [
        { blocks: [{ type: 'tool_use', name: 'look', input: {} }] },
        { blocks: [{ type: 'tool_use', name: 'write', input: {} }] },
        { blocks: [{ type: 'text', text: 'Over.' }] },
      ],
    },
    { match: { text: 'send' }, steps: [{ blocks: [{ type: 'tool_use', name: 'send', input: {} }] }] },
  ],
  fallback: { steps: [{ blocks: [{ type: 'text', text: 'Hello.' }] }] },
};

const key = mintKey();
let issuer: Issuer;
let server: TestServer;
let onLook: () => unknown;
const recorders: WsRecorder[] = [];

const start = async (options: TestServerOptions = {}): Promise<TestServer> =>
  startTestServer({
    script,
    tools: [tool('look', () => onLook()), tool('write'), tool('send')],
    config: {
      roles: ROLES,
      api_keys: [{ id: 'ci', sha256: key.sha256, user_id: 'ci-bot', org_id: 'acme', roles: ['reader'] }],
    },
    ...options,
    env: {
      MIDSTREAM_JWKS_URL: issuer.url,
      MIDSTREAM_JWT_ISSUER: ISSUER,
      MIDSTREAM_JWT_AUDIENCE: AUDIENCE,
      ...options.env,
    },
  });

beforeAll(async () => {
  issuer = await Issuer.start();
  await issuer.addKey('first', 'RS256');
  server = await start();
});
beforeEach(() => {
  onLook = () => 'seen';
});
afterEach(async () => {
  await Promise.all(recorders.splice(0).map((recorder) => recorder.drop()));
});
afterAll(async () => {
  await server.stop();
  await issuer.stop();
});

const bearer = (token: string): { Authorization: string } => ({ Authorization: `Bearer ${token}` });
const tokenOf = (sub: string, claims: Record<string, unknown> = {}): Promise<string> => issuer.token({ sub, claims });

async function connectAs(sub: string, claims: Record<string, unknown> = {}): Promise<WsRecorder> {
  const recorder = await WsRecorder.connect(server.wsUrl, bearer(await tokenOf(sub, claims)));
  recorders.push(recorder);
  return recorder;
}

const call = async (
  method: 'GET' | 'POST' | 'DELETE',
  path: string,
  body?: unknown,
  sub = 'mallory',
): Promise<HttpAnswer> => callHttp(server.url, method, path, body, bearer(await tokenOf(sub)));

describe('a credential', () => {
  let stranger: IssuerKey;
  beforeAll(async () => {
    stranger = await makeKey('first', 'RS256');
  });
  const claims = { iss: ISSUER, aud: AUDIENCE, sub: 'alice', org: 'acme', roles: ['admin'], exp: 4_000_000_000 };
  const hmacByPublicKey = (): string => {
    const [head, body] = rawToken({ alg: 'HS256', kid: 'first' }, claims).split('.');
    const secret = JSON.stringify(issuer.keys[0]?.publicJwk);
    return `${head}.${body}.${createHmac('sha256', secret).update(`${head}.${body}`).digest('base64url')}`;
  };

  const HOSTILE: readonly [string, () => string | Promise<string>, string][] = [
    ['forged with another key', () => issuer.token({ key: stranger }), 'unauthenticated'],
    ['with its own key', () => issuer.token({ key: stranger, header: { jwk: stranger.publicJwk } }), 'unauthenticated'],
    [
      'that says where its key is',
      () => issuer.token({ key: stranger, header: { jku: issuer.url } }),
      'unauthenticated',
    ],
    ['signed with nothing', () => rawToken({ alg: 'none' }, claims), 'unauthenticated'],
    ['signed with the public key', hmacByPublicKey, 'unauthenticated'],
    ['for somebody else', () => tokenOf('alice', { aud: 'other' }), 'unauthenticated'],
    ['from somebody else', () => tokenOf('alice', { iss: 'https://other' }), 'unauthenticated'],
    ['that has ended', () => issuer.token({ expiresIn: -1 }), 'token_expired'],
    ['that never ends', () => tokenOf('alice', { exp: undefined }), 'unauthenticated'],
    ['of nobody', () => tokenOf('alice', { sub: undefined }), 'unauthenticated'],
    ['that is a key’s hash', () => key.sha256, 'unauthenticated'],
    ['that is a key nobody has', () => mintKey().key, 'unauthenticated'],
    ['that is a word', () => 'admin', 'unauthenticated'],
  ];

  it.each(HOSTILE)('[AUTH-1] %s opens nothing, on no wire', async (_, make, code) => {
    const token = await make();
    const isRefused = { status: 401, body: { error: { code } } };
    expect(await callHttp(server.url, 'GET', '/v1/sessions', undefined, bearer(token))).toMatchObject(isRefused);
    expect(await callHttp(server.url, 'GET', '/v1/tools', undefined, { 'X-API-Key': token })).toMatchObject(isRefused);
    const chat = { message: 'Hello' };
    expect(await callHttp(server.url, 'POST', '/chat', chat, bearer(token))).toMatchObject(isRefused);
    const refusal = await refusalOf(FrameClient.connect(server.wsUrl, { headers: bearer(token) }));
    expect([refusal.status, JSON.parse(refusal.body).error.code]).toEqual([401, code]);
    const client = await FrameClient.connect(server.wsUrl);
    client.send({ type: 'connection.authenticate', id: 'a', token });
    client.send({ type: 'session.create', id: 'b' });
    expect((await client.closed).code).toBe(4401);
    expect(client.frames.map((frame) => frame.type)).toEqual(['command.rejected', 'connection.closing']);
    expect(client.frames[0]).toMatchObject({ error: { code } });
  });

  it('is named in the greeting: whose it is, and until when', async () => {
    const client = await connectAs('alice', { exp: 4_000_000_000 });
    expect(client.frames[0]).toMatchObject({
      principal: { user_id: 'alice', org_id: 'acme', roles: ['admin'] },
      token_expires_at: '2096-10-02T07:06:40.000Z',
    });
  });

  it('may be an API key, in either header and in the first frame', async () => {
    const principal = { user_id: 'ci-bot', org_id: 'acme', roles: ['reader'], key_id: 'ci' };
    for (const headers of [bearer(key.key), { 'X-API-Key': key.key }]) {
      const { body } = await callHttp(server.url, 'GET', '/v1/tools', undefined, headers);
      expect(body.data.map(({ name }: { name: string }) => name)).toEqual(['look']);
      const client = await FrameClient.connect(server.wsUrl, { headers });
      expect(await client.ofType('connection.ready')).toMatchObject({ principal, token_expires_at: null });
      client.close();
    }
    const client = await FrameClient.connect(server.wsUrl);
    client.send({ type: 'connection.authenticate', id: 'a', token: key.key });
    expect(await client.ofType('connection.ready')).toMatchObject({ principal });
    client.close();
  });

  it('gives no more rights by a role that every object has', async () => {
    for (const role of ['constructor', '__proto__', 'toString']) {
      const token = await tokenOf('odd', { roles: [role] });
      const answer = await callHttp(server.url, 'GET', '/v1/tools', undefined, bearer(token));
      expect([answer.status, answer.body.data]).toEqual([200, []]);
    }
  });

  it('is asked for instead of a host name; the page is for dev only', async () => {
    const headers = { Host: 'midstream.example', ...bearer(await tokenOf('alice')) };
    const client = await FrameClient.connect(server.wsUrl, { headers });
    await client.ofType('connection.ready');
    client.close();
    expect((await callHttp(server.url, 'GET', '/')).status).toBe(404);
    expect((await callHttp(server.url, 'GET', '/health')).status).toBe(200);
    const ready = await callHttp(server.url, 'GET', '/ready');
    expect(ready.body.checks.auth).toMatchObject({ ok: true, detail: expect.stringContaining(issuer.url) });
  });

  it('[AUTH-4] does not make a foreign page welcome', async () => {
    const headers = { Origin: 'https://evil.example', ...bearer(await tokenOf('alice')) };
    expect((await refusalOf(FrameClient.connect(server.wsUrl, { headers }))).status).toBe(403);
    const answer = await callHttp(server.url, 'GET', '/v1/sessions', undefined, headers);
    expect(answer.headers.get('access-control-allow-origin')).toBeNull();
  });
});

describe('another user’s session', () => {
  const NOBODY = {
    sessionId: 'sesn_0000000000000000000000',
    turnId: 'turn_0',
    toolUseId: 'sevt_0',
    commandId: 'cmd-0',
  };
  let alice: WsRecorder;
  let theirs: typeof NOBODY;

  beforeEach(async () => {
    alice = await connectAs('alice');
    const sessionId = await alice.openSession({ title: 'Hers' });
    const commandId = 'her-prompt';
    const { result } = await alice.prompt(sessionId, 'send', { id: commandId });
    const call = await alice.event('agent.tool_use', { turnId: result.turn_id });
    await alice.event('turn.waiting', { turnId: result.turn_id });
    theirs = { sessionId, turnId: result.turn_id, toolUseId: call.id, commandId };
  });

  /** Hers is as it was: her approval still waits, and nothing was added to the log. */
  const isUntouched = async (): Promise<void> => {
    const { body } = await call('GET', `/v1/sessions/${theirs.sessionId}/events`, undefined, 'alice');
    expect(body.data.at(-1)).toMatchObject({ type: 'session.status_idle' });
    const confirm = {
      type: 'user.tool_confirmation',
      session_id: theirs.sessionId,
      tool_use_id: theirs.toolUseId,
    } as const;
    await alice.accepted({ ...confirm, result: 'allow' });
    await alice.event('turn.ended', { turnId: theirs.turnId });
  };

  const commandsAt = ({ sessionId, turnId, toolUseId, commandId }: typeof NOBODY): CommandInput[] => {
    const at = { session_id: sessionId };
    return [
      { type: 'user.message', content: 'x', ...at },
      { type: 'user.message', id: commandId, content: 'send', ...at },
      { type: 'user.steer', content: 'x', apply: 'now', turn_id: turnId, ...at },
      { type: 'user.interrupt', ...at },
      { type: 'user.interrupt', turn_id: turnId, scope: 'turn_and_queue', ...at },
      { type: 'user.interrupt', command_id: commandId, ...at },
      { type: 'user.tool_confirmation', tool_use_id: toolUseId, result: 'allow', ...at },
      { type: 'user.custom_tool_result', custom_tool_use_id: toolUseId, content: 'x', ...at },
      { type: 'user.tool_progress', custom_tool_use_id: toolUseId, percent: 1, ...at },
      { type: 'tools.register', tools: [{ name: 'mine', description: 'd', input_schema: { type: 'object' } }], ...at },
      { type: 'tools.unregister', names: ['mine'], ...at },
      { type: 'presence.update', state: {}, ...at },
      { type: 'session.attach', ...at },
      { type: 'session.attach', after_seq: 0, ...at },
    ];
  };

  it.each([
    ['another user of the org', 'mallory', 'acme'],
    ['a user of the same name in another org', 'alice', 'other'],
  ])('[AUTH-3] is, for every command of %s, as if it were not there', async (_, sub, org) => {
    const mallory = await connectAs(sub, { org });
    const mine = commandsAt(theirs);
    const none = commandsAt(NOBODY);
    for (const [n, command] of mine.entries()) {
      const error = await mallory.refused(command);
      expect({ type: command.type, code: error.code }).toEqual({ type: command.type, code: 'session_not_found' });
      expect(error).toEqual(await mallory.refused(none[n] as CommandInput));
    }
    await mallory.accepted({ type: 'session.detach', session_id: theirs.sessionId });
    expect(JSON.stringify(mallory.frames)).not.toContain('Hers');
    expect(mallory.events()).toEqual([]);
    await isUntouched();
  });

  it('[AUTH-3] is, on every route, as if it were not there', async () => {
    const routesAt = ({
      sessionId,
      turnId,
      toolUseId,
    }: typeof NOBODY): ['GET' | 'POST' | 'DELETE', string, unknown?][] => {
      const at = `/v1/sessions/${sessionId}`;
      const events = (...list: object[]): unknown => ({ events: list });
      return [
        ['GET', at],
        ['GET', `${at}/events`],
        ['GET', `${at}/events?after_seq=0`],
        ['GET', `${at}/events/stream`],
        ['GET', `${at}/events/stream?after_seq=0&event_deltas=agent.message`],
        ['GET', `${at}/messages`],
        ['POST', `${at}/events`, events({ type: 'user.message', content: 'x' })],
        ['POST', `${at}/events`, events({ type: 'user.interrupt', turn_id: turnId })],
        ['POST', `${at}/events`, events({ type: 'user.tool_confirmation', tool_use_id: toolUseId, result: 'allow' })],
        ['POST', '/v1/chat', { message: 'x', conversation_id: sessionId, stream: false }],
        ['POST', '/chat', { message: 'x', conversation_id: sessionId }],
        ['GET', `/v1/conversations/${sessionId}`],
        ['GET', `/conversation/${sessionId}`],
        ['DELETE', `/v1/conversations/${sessionId}`],
        ['DELETE', `/conversation/${sessionId}`],
        ['DELETE', at],
      ];
    };
    const none = routesAt(NOBODY);
    for (const [n, [method, path, body]] of routesAt(theirs).entries()) {
      const answer = await call(method, path, body);
      const [, nowhere, sameBody] = none[n] as (typeof none)[number];
      const other = await call(method, nowhere, sameBody);
      expect({ method, path, status: answer.status, code: answer.body.error?.code }).toEqual({
        method,
        path,
        status: 404,
        code: 'session_not_found',
      });
      expect(answer.body.error).toEqual(other.body.error);
    }
    const { body } = await call('GET', '/v1/sessions');
    expect(JSON.stringify(body)).not.toContain(theirs.sessionId);
    await isUntouched();
  });

  it('[CMD-2] keeps its answers: another’s use of the same command id is another command', async () => {
    const create = { type: 'session.create' as const, id: 'same-id' };
    const [hers, mine] = [await alice.accepted(create), await (await connectAs('mallory')).accepted(create)];
    expect(mine.duplicate).toBeUndefined();
    expect(mine.result.session.id).not.toBe(hers.result.session.id);
    await isUntouched();
  });

  it('[TOOL-3] its tool calls are out of reach through a session of one’s own', async () => {
    const mallory = await connectAs('mallory');
    const session_id = await mallory.openSession();
    const tool_use_id = theirs.toolUseId;
    const { code } = await mallory.refused({
      type: 'user.tool_confirmation',
      session_id,
      tool_use_id,
      result: 'allow',
    });
    expect(code).toBe('tool_call_not_found');
    const interrupt = await mallory.refused({ type: 'user.interrupt', session_id, turn_id: theirs.turnId });
    expect(interrupt.code).toBe('turn_not_found');
    await isUntouched();
  });
});

describe('roles', () => {
  it('[TOOL-1] are those of the last credential verified, between two tool calls of one turn too', async () => {
    const alice = await connectAs('carol');
    const sessionId = await alice.openSession();
    onLook = async () => {
      const lesser = await tokenOf('carol', { roles: ['reader'] });
      await callHttp(server.url, 'GET', '/v1/tools', undefined, bearer(lesser));
      // The older token still lives, and what it does brings no roles back.
      await alice.createSession();
      return 'seen';
    };
    const { result } = await alice.prompt(sessionId, 'look and write');
    await alice.event('turn.ended', { turnId: result.turn_id });
    const outcomes = alice.events(sessionId).flatMap((e) => (e.type === 'agent.tool_result' ? [e.outcome] : []));
    expect(outcomes).toEqual(['ok', 'denied']);
  });

  it('[TOOL-1] bind a renewal at once', async () => {
    const dora = await connectAs('dora');
    const sessionId = await dora.openSession();
    onLook = async () => {
      const token = await tokenOf('dora', { roles: ['reader'] });
      await dora.accepted({ type: 'connection.authenticate', token });
    };
    const { result } = await dora.prompt(sessionId, 'look and write');
    expect((await dora.event('tool.denied', { turnId: result.turn_id })).rule).toContain('write');
  });
});

describe('the time of a token', () => {
  let clock: ManualClock;
  let timed: TestServer;
  beforeEach(async () => {
    clock = new ManualClock();
    timed = await start({ clock });
  });
  afterEach(() => timed.stop());
  const sign = (sub: string, expiresIn: number, claims = {}): Promise<string> =>
    issuer.token({ sub, expiresIn, claims, nowMs: clock.now() });
  const connect = async (token: string): Promise<FrameClient> => {
    const client = await FrameClient.connect(timed.wsUrl, { headers: bearer(token) });
    await client.ofType('connection.ready');
    return client;
  };

  it('[AUTH-1] begins within 5 s', async () => {
    const client = await FrameClient.connect(timed.wsUrl);
    clock.advance(5_000);
    expect((await client.closed).code).toBe(4401);
  });

  it('[AUTH-2] ends the socket at exp, after a warning, and is good for nothing any more', async () => {
    const token = await sign('alice', 50);
    const client = await connect(token);
    clock.advance(40_000);
    const warning = await client.ofType('connection.token_expiring');
    expect(Date.parse(String(warning['expires_at']))).toBe(clock.now() + 10_000);
    clock.advance(9_999);
    client.send({ type: 'ping', id: 'p' });
    await client.ofType('pong');
    clock.advance(1);
    expect((await client.closed).code).toBe(4401);
    const refusal = await refusalOf(connect(token));
    expect([refusal.status, JSON.parse(refusal.body).error.code]).toEqual([401, 'token_expired']);
    const rest = await callHttp(timed.url, 'GET', '/v1/sessions', undefined, bearer(token));
    expect(rest).toMatchObject({ status: 401, body: { error: { code: 'token_expired' } } });
  });

  it('[AUTH-2] is renewed by the same user and org; another’s is forbidden and changes nothing', async () => {
    const client = await connect(await sign('alice', 50));
    const renew = async (id: string, token: string) => {
      client.send({ type: 'connection.authenticate', id, token });
      return client.reply(id);
    };
    for (const [id, token] of [
      ['user', await sign('bob', 500)],
      ['org', await sign('alice', 500, { org: 'other' })],
      ['key', key.key],
    ] as const)
      expect(await renew(id, token)).toMatchObject({ error: { code: 'forbidden' } });
    expect(await renew('old', await sign('alice', -1))).toMatchObject({ error: { code: 'token_expired' } });
    expect(await renew('own', await sign('alice', 100))).toMatchObject({ type: 'command.accepted' });
    clock.advance(50_000);
    client.send({ type: 'ping', id: 'p' });
    await client.ofType('pong');
    clock.advance(50_000);
    expect((await client.closed).code).toBe(4401);
  });

  it('[AUTH-2] ends a stream of events too', async () => {
    const token = await sign('alice', 50);
    const created = await callHttp(timed.url, 'POST', '/v1/sessions', {}, bearer(token));
    const response = await fetch(`${timed.url}/v1/sessions/${created.body.id}/events/stream`, {
      headers: bearer(token),
    });
    expect(response.status).toBe(200);
    const text = response.text();
    clock.advance(50_000);
    expect(await text).toContain('4401');
  });
});

it('sockets that wait for their authentication are counted by client, as a trusted proxy names it', async () => {
  const proxied = await start({ env: { MIDSTREAM_TRUSTED_PROXIES: '127.0.0.1' } });
  const connect = (forwarded: string) =>
    FrameClient.connect(proxied.wsUrl, { headers: { 'X-Forwarded-For': forwarded } });
  for (let n = 0; n < BOUNDS.unauthenticatedPerClient; n += 1) await connect(`203.0.113.${n}, 198.51.100.1`);
  const refusal = await refusalOf(connect('198.51.100.2, 198.51.100.1'));
  expect([refusal.status, JSON.parse(refusal.body).error.code]).toEqual([429, 'rate_limited']);
  await connect('198.51.100.2');
  await proxied.stop();
});

it('the client signs in with the first frame, and renews', async () => {
  let asked = 0;
  const client = createClient({
    url: server.url,
    token: () => {
      asked += 1;
      return issuer.token({ sub: 'erin', expiresIn: asked === 1 ? 2 : 600 });
    },
  });
  const session = await client.createSession();
  await expect(session.prompt('Hello').text).resolves.toBe('Hello.');
  while (asked < 2) await new Promise((resolve) => setTimeout(resolve, 20));
  await expect(session.prompt('Again').text).resolves.toBe('Hello.');
  client.close();
});

it('the client gives up on a token that is refused', async () => {
  const client = createClient({ url: server.url, token: 'a.b.c', onError: () => {} });
  await expect(client.createSession()).rejects.toMatchObject({ code: 'unauthenticated' });
  client.close();
});

it('[AUTH-1] an issuer that is away is told in /ready, and a client is asked to come again', async () => {
  issuer.mood = 'failing';
  const fetched = issuer.nextFetch();
  const lonely = await start();
  await fetched;
  const ready = await callHttp(lonely.url, 'GET', '/ready');
  expect(ready).toMatchObject({ status: 503, body: { checks: { auth: { ok: false } } } });
  const token = await tokenOf('alice');
  const answer = await callHttp(lonely.url, 'GET', '/v1/sessions', undefined, bearer(token));
  expect(answer).toMatchObject({ status: 503, body: { error: { code: 'store_unavailable', retryable: true } } });
  const client = await FrameClient.connect(lonely.wsUrl);
  client.send({ type: 'connection.authenticate', id: 'a', token });
  expect((await client.closed).code).toBe(4500);
  expect((await callHttp(lonely.url, 'GET', '/v1/tools', undefined, bearer(key.key))).status).toBe(200);
  await lonely.stop();
  issuer.mood = 'well';
});
