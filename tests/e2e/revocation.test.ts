/** Credentials that were revoked, and roles that were taken, seen from outside: on every wire, and through a crash. */
import { mkdtempSync, rmSync, writeFileSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import type { AuditRecord } from '../../protocol/index.js';
import { mintKey } from '../../server/adapters/api-keys/index.js';
import { startTestServer, type TestServer } from '../../server/testing.js';
import { callHttp } from '../support/blackbox-http.js';
import { type BlackboxServer, startBlackbox } from '../support/blackbox-server.js';
import { startToolServer, type ToolServer } from '../support/blackbox-tools.js';
import { AUDIENCE, ISSUER, Issuer } from '../support/issuer.js';
import { WsRecorder } from '../support/ws-recorder.js';
import { FrameClient, refusalOf } from '../transports/support/frame-client.js';
import { SseReader } from '../transports/support/sse-reader.js';

const ROLES = {
  admin: { tools: { allow: ['*'] }, models: ['*'], approve: ['*'], inspect: true },
  worker: { tools: { allow: ['*'] }, models: ['*'] },
  reader: { tools: { allow: ['look'] }, models: ['*'] },
};
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
    {
      match: { text: 'look and show' },
      steps: [
        { blocks: [{ type: 'tool_use', name: 'look', input: {} }] },
        { blocks: [{ type: 'tool_use', name: 'show', input: {} }] },
        { blocks: [{ type: 'text', text: 'Over.' }] },
      ],
    },
  ],
  fallback: { steps: [{ blocks: [{ type: 'text', text: 'Hello.' }] }] },
};
const bearer = (token: string): { Authorization: string } => ({ Authorization: `Bearer ${token}` });
const auditOf = async (url: string, token: string, query: string): Promise<AuditRecord[]> =>
  (await callHttp(url, 'GET', `/v1/audit?${query}`, undefined, bearer(token))).body.data;

describe('a revocation', () => {
  const [oldKey, newKey] = [mintKey(), mintKey()];
  const keyOf = (id: string, { sha256 }: { sha256: string }, extra = {}) => ({
    id,
    sha256,
    user_id: 'bot',
    org_id: 'acme',
    roles: ['worker'],
    ...extra,
  });
  let issuer: Issuer;
  let server: TestServer;
  let boss: string;
  let ran: string[];
  let onLook: () => unknown;

  beforeAll(async () => {
    issuer = await Issuer.start();
    await issuer.addKey('one', 'ES256');
  });
  beforeEach(async () => {
    ran = [];
    onLook = () => 'seen';
    const tool = (name: string, run: () => unknown) => ({
      name,
      description: name,
      input_schema: { type: 'object', properties: {} },
      run: () => {
        ran.push(name);
        return run();
      },
    });
    server = await startTestServer({
      script,
      tools: [tool('look', () => onLook()), tool('write', () => 'done')],
      config: {
        roles: ROLES,
        client_tools: ['show'],
        api_keys: [keyOf('old', oldKey), keyOf('new', newKey, { created_at: '2999-01-01T00:00:00+01:00' })],
      },
      env: { MIDSTREAM_JWKS_URL: issuer.url, MIDSTREAM_JWT_ISSUER: ISSUER, MIDSTREAM_JWT_AUDIENCE: AUDIENCE },
    });
    boss = await issuer.token({ sub: 'boss', claims: { roles: ['admin'] } });
  });
  afterEach(() => server.stop());
  afterAll(() => issuer.stop());

  const tokenOf = (sub: string, claims: Record<string, unknown> = {}): Promise<string> =>
    issuer.token({ sub, claims: { roles: ['worker'], ...claims } });
  /** Of the next second: what is issued in the second of a revocation is revoked. */
  const laterTokenOf = (sub: string, claims = {}): Promise<string> =>
    tokenOf(sub, { iat: Math.floor(Date.now() / 1_000) + 1, ...claims });
  const revoke = (body: object, token = boss) => callHttp(server.url, 'POST', '/v1/revocations', body, bearer(token));
  const use = (token: string) => callHttp(server.url, 'GET', '/v1/sessions', undefined, bearer(token));
  const REVOKED = { status: 401, body: { error: { code: 'unauthenticated', message: 'The credential was revoked' } } };
  const denied = async (): Promise<AuditRecord> => {
    for (;;) {
      const [record] = await auditOf(server.url, boss, 'kind=denial');
      if (record) return record;
    }
  };

  it('[AUTH-1] ends all that a user had, on every wire, and nobody else’s', async () => {
    const [token, other, bobs] = [await tokenOf('alice'), await tokenOf('alice'), await tokenOf('bob')];
    const alice = await WsRecorder.connect(server.wsUrl, bearer(token));
    const bob = await WsRecorder.connect(server.wsUrl, bearer(bobs));
    const sessionId = await alice.createSession();
    const open = await fetch(`${server.url}/v1/sessions/${sessionId}/events/stream`, { headers: bearer(other) });
    const stream = new SseReader(open);
    const at = Date.now();
    const answer = await revoke({ user_id: 'alice', reason: 'left' });
    expect(answer).toMatchObject({ status: 200, body: { user_id: 'alice' } });
    expect(Date.parse(answer.body.revoked_at)).toBeGreaterThanOrEqual(at);
    expect((await alice.closed).code).toBe(4401);
    expect((await stream.all()).at(-1)?.data).toMatchObject({ type: 'connection.closing', code: 4401 });
    expect(Date.now() - at).toBeLessThan(1_000);
    for (const dead of [token, other]) {
      expect(await use(dead)).toMatchObject(REVOKED);
      expect((await refusalOf(FrameClient.connect(server.wsUrl, { headers: bearer(dead) }))).status).toBe(401);
      const client = await FrameClient.connect(server.wsUrl);
      client.send({ type: 'connection.authenticate', id: 'a', token: dead });
      expect((await client.closed).code).toBe(4401);
    }
    await bob.createSession();
    expect((await use(bobs)).status).toBe(200);
    const fresh = await laterTokenOf('alice');
    expect((await use(fresh)).status).toBe(200);
    const [record] = await auditOf(server.url, boss, 'kind=revocation');
    expect(record).toMatchObject({ user_id: 'boss', org_id: 'acme', outcome: 'applied', rule: 'user alice: left' });
    const refusals = await auditOf(server.url, boss, 'kind=authentication');
    expect(refusals.length).toBeGreaterThanOrEqual(6);
    await bob.drop();
  });

  it('[AUTH-1] counts a token of the same second, and one that does not say when it was issued, as revoked', async () => {
    const { body } = await revoke({ user_id: 'alice' });
    const second = Math.floor(Date.parse(body.revoked_at) / 1_000);
    expect(await use(await tokenOf('alice', { iat: undefined }))).toMatchObject(REVOKED);
    expect(await use(await tokenOf('alice', { iat: second }))).toMatchObject(REVOKED);
    expect((await use(await tokenOf('alice', { iat: second + 1 }))).status).toBe(200);
  });

  it('of a token by its jti leaves the user’s other credentials alone', async () => {
    const [stolen, kept] = [await tokenOf('alice', { jti: 'j1' }), await tokenOf('alice', { jti: 'j2' })];
    const [thief, alice] = [
      await WsRecorder.connect(server.wsUrl, bearer(stolen)),
      await WsRecorder.connect(server.wsUrl, bearer(kept)),
    ];
    expect(await revoke({ key_id: 'j1' })).toMatchObject({ status: 200, body: { key_id: 'j1' } });
    expect((await thief.closed).code).toBe(4401);
    expect(await use(stolen)).toMatchObject(REVOKED);
    expect((await use(kept)).status).toBe(200);
    await alice.createSession();
    await alice.drop();
  });

  it('of an API key ends it, unless it was made later', async () => {
    const answers = async () => [(await use(oldKey.key)).status, (await use(newKey.key)).status];
    expect(await answers()).toEqual([200, 200]);
    await revoke({ key_id: 'old' });
    await revoke({ key_id: 'new' });
    expect(await answers()).toEqual([401, 200]);
    await revoke({ user_id: 'bot' });
    expect(await answers()).toEqual([401, 200]);
  });

  it('[AUTH-2] is looked at when a socket renews its token', async () => {
    const alice = await WsRecorder.connect(server.wsUrl, bearer(await tokenOf('alice', { jti: 'j1' })));
    await revoke({ key_id: 'j2' });
    const refusal = await alice.refused({
      type: 'connection.authenticate',
      token: await tokenOf('alice', { jti: 'j2' }),
    });
    expect(refusal).toMatchObject({ code: 'unauthenticated', message: 'The credential was revoked' });
    await alice.createSession();
    await alice.drop();
  });

  it('is for roles with inspect, within their org, and tells nothing of others', async () => {
    const alice = await tokenOf('alice');
    expect(await revoke({ user_id: 'boss' }, alice)).toMatchObject({
      status: 403,
      body: { error: { code: 'forbidden' } },
    });
    expect((await use(boss)).status).toBe(200);
    const foreign = await issuer.token({ sub: 'boss', claims: { roles: ['admin'], org: 'other' } });
    const [known, unknown] = [
      await revoke({ user_id: 'alice' }, foreign),
      await revoke({ user_id: 'nobody' }, foreign),
    ];
    expect([known.status, Object.keys(known.body)]).toEqual([unknown.status, Object.keys(unknown.body)]);
    await revoke({ key_id: 'old' }, foreign);
    expect([(await use(alice)).status, (await use(oldKey.key)).status]).toEqual([200, 200]);
    const records = await auditOf(server.url, boss, 'kind=revocation');
    expect(records.map(({ outcome, user_id }) => [outcome, user_id])).toEqual([['denied', 'alice']]);
  });

  it.each([{}, { user_id: 'a', key_id: 'b' }, { user_id: '' }, { user_id: 'a', org_id: 'other' }, { user_id: 7 }])(
    'is refused where it does not name one of the two: %j',
    async (body) => {
      expect(await revoke(body)).toMatchObject({ status: 400, body: { error: { code: 'invalid_request' } } });
    },
  );

  it('[TOOL-1] between two tool calls of one turn denies the second', async () => {
    const alice = await WsRecorder.connect(server.wsUrl, bearer(await tokenOf('alice')));
    const sessionId = await alice.openSession();
    onLook = async () => {
      expect((await revoke({ user_id: 'alice' })).status).toBe(200);
      return 'seen';
    };
    await alice.prompt(sessionId, 'look and write');
    expect((await alice.closed).code).toBe(4401);
    expect(await denied()).toMatchObject({ tool: 'write', user_id: 'alice', session_id: sessionId });
    expect(ran).toEqual(['look']);
  });

  it('[TOOL-1] of one key denies what its last credential began, not what another one did', async () => {
    const [one, two] = [await tokenOf('alice', { jti: 'j1' }), await tokenOf('bob', { jti: 'j2' })];
    onLook = async () => {
      await revoke({ key_id: 'j1' });
      return 'seen';
    };
    const chat = (token: string) =>
      callHttp(server.url, 'POST', '/v1/chat', { message: 'look and write', stream: false }, bearer(token));
    expect((await chat(two)).status).toBe(200);
    expect(ran).toEqual(['look', 'write']);
    expect((await chat(one)).status).toBe(401);
  });

  it('[TOOL-1] ends a chat, and its turn’s next client call is offered to nobody', async () => {
    const token = await tokenOf('alice', { jti: 'j1' });
    const helper = await WsRecorder.connect(server.wsUrl, bearer(await tokenOf('alice', { jti: 'j1' })));
    const sessionId = await helper.openSession();
    const show = { name: 'show', description: 'Shows.', input_schema: { type: 'object' as const } };
    await helper.accepted({ type: 'tools.register', session_id: sessionId, tools: [show] });
    onLook = async () => {
      await revoke({ key_id: 'j1' });
      return 'seen';
    };
    const response = await fetch(`${server.url}/v1/chat`, {
      method: 'POST',
      headers: { ...bearer(token), 'Content-Type': 'application/json' },
      body: JSON.stringify({ message: 'look and show', conversation_id: sessionId }),
    });
    const events = await new SseReader(response).all();
    expect(events.slice(-2)).toMatchObject([
      { event: 'error', data: { error: 'unauthenticated', message: 'The credential was revoked' } },
      { event: 'done', data: { status: 'failed' } },
    ]);
    expect(await denied()).toMatchObject({ tool: 'show' });
    expect(helper.frames.some(({ type }) => type === 'tool.offered')).toBe(false);
  });

  it('[TOOL-1] roles that were taken by a new token deny the second call of a turn, and its approval', async () => {
    const alice = await WsRecorder.connect(server.wsUrl, bearer(await tokenOf('alice')));
    const sessionId = await alice.openSession();
    onLook = async () => {
      await use(await tokenOf('alice', { roles: ['reader'] }));
      return 'seen';
    };
    const { result } = await alice.prompt(sessionId, 'look and write');
    expect((await alice.event('tool.denied', { turnId: result.turn_id })).rule).toContain('write');
    await alice.event('turn.ended', { turnId: result.turn_id });
    expect(ran).toEqual(['look']);
    await alice.drop();
  });
});

it('in dev there is nothing to revoke', async () => {
  const dev = await startTestServer();
  const answer = await callHttp(dev.url, 'POST', '/v1/revocations', { user_id: 'local' });
  expect(answer).toMatchObject({ status: 400, body: { error: { code: 'invalid_request' } } });
  await dev.stop();
});

describe('a server that is killed in the middle of a turn', () => {
  const [worker, boss] = [mintKey(), mintKey()];
  let tools: ToolServer;
  let server: BlackboxServer;
  let directory: string;

  beforeEach(async () => {
    directory = mkdtempSync(join(tmpdir(), 'midstream-script-'));
    const scriptPath = join(directory, 'script.json');
    writeFileSync(scriptPath, JSON.stringify(script));
    tools = await startToolServer();
    const keyOf = (id: string, { sha256 }: { sha256: string }, roles: string[]) => ({
      id,
      sha256,
      user_id: id,
      org_id: 'acme',
      roles,
    });
    server = await startBlackbox({
      env: { MIDSTREAM_SCRIPT: scriptPath },
      config: {
        roles: ROLES,
        tools: [tools.toolConfig('look', { idempotent: true }), tools.toolConfig('write')],
        api_keys: [keyOf('worker', worker, ['worker']), keyOf('boss', boss, ['admin'])],
      },
    });
  });
  afterEach(async () => {
    await server.dispose();
    await tools.close();
    rmSync(directory, { recursive: true });
  });

  const begin = async (): Promise<string> => {
    const recorder = await WsRecorder.connect(server.wsUrl, bearer(worker.key));
    const sessionId = await recorder.openSession();
    await recorder.prompt(sessionId, 'look and write');
    await tools.waitForCall(({ name }) => name === 'look');
    return sessionId;
  };

  it('[NODE-2] [TOOL-1] knows the roles of its user when it is started again, before anybody comes', async () => {
    await begin();
    await server.kill();
    tools.handle(() => 'done');
    await server.start();
    // Nobody has authenticated: what is known of the roles is what the last run kept.
    const call = await tools.waitForCall(({ name }) => name === 'write');
    expect(call.body.user_id).toBe('worker');
  });

  it('[TOOL-1] still knows what was revoked', async () => {
    const sessionId = await begin();
    const revoked = await callHttp(server.url, 'POST', '/v1/revocations', { key_id: 'worker' }, bearer(boss.key));
    expect(revoked.status).toBe(200);
    await server.kill();
    tools.handle(() => 'done');
    await server.start();
    let denied: AuditRecord[] = [];
    while (denied.length < 2) denied = await auditOf(server.url, boss.key, 'kind=denial');
    expect(denied).toMatchObject([{ tool: 'write', session_id: sessionId }, { tool: 'look' }]);
    expect(tools.calls.map(({ name }) => name)).toEqual(['look']);
    const answer = await callHttp(server.url, 'GET', '/v1/sessions', undefined, bearer(worker.key));
    expect(answer).toMatchObject({ status: 401, body: { error: { message: 'The credential was revoked' } } });
  });
});
