/** Who may do what in a shared session, on every command and every route, before a whole server. */
import { randomUUID } from 'node:crypto';
import { mkdtempSync, rmSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { SignJWT } from 'jose';
import { clientFrameSchema } from '../../protocol/index.js';
import { startTestServer, type TestServer } from '../../server/testing.js';
import { createHttpApp, type HttpDeps } from '../../server/transports/http/index.js';
import { type CommandInput, WsRecorder } from '../support/ws-recorder.js';
import { SseReader } from './support/sse-reader.js';

const SECRET = 'a-secret-of-at-least-thirty-two-bytes';
const USERS = { stranger: 'mallory', viewer: 'vera', editor: 'eddy', owner: 'olga' } as const;
type User = keyof typeof USERS;
const RANK: Record<User, number> = { stranger: 0, viewer: 1, editor: 2, owner: 3 };
const script = {
  turns: [
    {
      match: { text: 'slowly' },
      steps: [{ blocks: [{ type: 'text', text: 'w '.repeat(5_000), tokens_per_second: 50 }] }],
    },
    { match: { text: 'edit' }, steps: [{ blocks: [{ type: 'tool_use', name: 'edit_note', input: {} }] }] },
  ],
  fallback: { steps: [{ blocks: [{ type: 'text', text: 'Hello.' }] }] },
};

let server: TestServer;
const tokens = new Map<string, string>();
const recorders: WsRecorder[] = [];

const start = (dataDir?: string): Promise<TestServer> =>
  startTestServer({
    script,
    ...(dataDir !== undefined && { dataDir }),
    config: {
      client_tools: ['edit_*'],
      roles: { admin: { tools: { allow: ['*'] }, models: ['*'], approve: ['*'], inspect: true } },
    },
    env: {
      MIDSTREAM_JWT_SECRET: SECRET,
      MIDSTREAM_JWT_ISSUER: 'https://issuer.test',
      MIDSTREAM_JWT_AUDIENCE: 'midstream',
    },
  });

async function bearer(user: string, org = 'acme'): Promise<{ Authorization: string }> {
  const known = tokens.get(`${org}/${user}`);
  const token =
    known ??
    (await new SignJWT({ sub: user, org, roles: ['admin'], iss: 'https://issuer.test', aud: 'midstream' })
      .setProtectedHeader({ alg: 'HS256', typ: 'JWT' })
      .setExpirationTime('10m')
      .sign(new TextEncoder().encode(SECRET)));
  tokens.set(`${org}/${user}`, token);
  return { Authorization: `Bearer ${token}` };
}

interface Answer {
  readonly status: number;
  readonly text: string;
  readonly headers: Record<string, string>;
  // biome-ignore lint/suspicious/noExplicitAny: a test looks into whatever came.
  readonly body: any;
}

/** With one request id for all, so that answers can be compared byte by byte. */
async function call(user: string, method: string, path: string, body?: unknown, more: Record<string, string> = {}) {
  const abort = new AbortController();
  const res = await fetch(server.url + path, {
    method,
    headers: { ...(await bearer(user)), 'content-type': 'application/json', 'x-request-id': 'same', ...more },
    ...(body !== undefined && { body: JSON.stringify(body) }),
    signal: abort.signal,
  });
  const isStream = res.headers.get('content-type')?.startsWith('text/event-stream') === true;
  const text = isStream ? '{}' : await res.text();
  if (isStream) abort.abort();
  const { date: _, ...headers } = Object.fromEntries(res.headers);
  const answer: Answer = { status: res.status, text, headers, body: text.startsWith('{') ? JSON.parse(text) : {} };
  return answer;
}

const share = (id: string, user_id: string, role: string, by: string = USERS.owner): Promise<Answer> =>
  call(by, 'POST', `/v1/sessions/${id}/members`, { user_id, role });

async function makeShared(): Promise<string> {
  const { body } = await call(USERS.owner, 'POST', '/v1/sessions', {});
  await share(body.id, USERS.viewer, 'viewer');
  await share(body.id, USERS.editor, 'editor');
  return body.id;
}

async function connect(user: string, org?: string): Promise<WsRecorder> {
  const recorder = await WsRecorder.connect(server.wsUrl, await bearer(user, org));
  recorders.push(recorder);
  return recorder;
}

beforeAll(async () => {
  server = await start();
});
afterEach(async () => {
  await Promise.all(recorders.splice(0).map((recorder) => recorder.drop()));
});
afterAll(() => server.stop());

/** `none`: it is about no session. */
type Needs = 'none' | Exclude<User, 'stranger'>;
const message = { type: 'user.message', content: 'Hi' } as const;

const ROUTES: Readonly<Record<string, { needs: Needs; body?: (id: string) => unknown }>> = {
  'GET /health': { needs: 'none' },
  'GET /ready': { needs: 'none' },
  'GET /metrics': { needs: 'none' },
  'GET /v1/ws': { needs: 'none' },
  'POST /v1/ws-tickets': { needs: 'none' },
  'POST /v1/revocations': { needs: 'none' },
  'GET /v1/sessions': { needs: 'none' },
  'POST /v1/sessions': { needs: 'none' },
  'GET /v1/tools': { needs: 'none' },
  'POST /v1/tools/:name/call': { needs: 'none' },
  'GET /v1/usage': { needs: 'none' },
  'GET /v1/audit': { needs: 'none' },
  'POST /v1/feedback': { needs: 'none' },
  'POST /feedback': { needs: 'none' },
  'GET /v1/sessions/:id': { needs: 'viewer' },
  'DELETE /v1/sessions/:id': { needs: 'owner' },
  'GET /v1/sessions/:id/messages': { needs: 'viewer' },
  'GET /v1/sessions/:id/members': { needs: 'viewer' },
  'POST /v1/sessions/:id/members': { needs: 'owner', body: () => ({ user_id: 'nina', role: 'viewer' }) },
  'DELETE /v1/sessions/:id/members/:user_id': { needs: 'owner' },
  'GET /v1/sessions/:id/events': { needs: 'viewer' },
  'POST /v1/sessions/:id/events': { needs: 'editor', body: () => ({ events: [message] }) },
  'GET /v1/sessions/:id/events/stream': { needs: 'viewer' },
  'GET /v1/conversations/:id': { needs: 'viewer' },
  'DELETE /v1/conversations/:id': { needs: 'owner' },
  'GET /conversation/:id': { needs: 'viewer' },
  'DELETE /conversation/:id': { needs: 'owner' },
  'POST /v1/chat': { needs: 'editor', body: (conversation_id) => ({ message: 'Hi', conversation_id }) },
  'POST /chat': { needs: 'editor', body: (conversation_id) => ({ message: 'Hi', conversation_id, stream: false }) },
};

const COMMANDS: Readonly<Record<string, { needs: Needs; fields?: object }>> = {
  'connection.authenticate': { needs: 'none' },
  ping: { needs: 'none' },
  'session.create': { needs: 'none' },
  // Tells nobody anything: what isn't watched is detached, too.
  'session.detach': { needs: 'none' },
  'session.attach': { needs: 'viewer' },
  'presence.update': { needs: 'viewer', fields: { state: {} } },
  'user.message': { needs: 'editor', fields: { content: 'Hi' } },
  'user.steer': { needs: 'editor', fields: { content: 'Hi' } },
  'user.interrupt': { needs: 'editor' },
  'user.tool_confirmation': { needs: 'editor', fields: { tool_use_id: 'sevt_x', result: 'allow' } },
  'user.custom_tool_result': { needs: 'editor', fields: { custom_tool_use_id: 'sevt_x' } },
  'user.tool_progress': { needs: 'editor', fields: { custom_tool_use_id: 'sevt_x' } },
  'tools.register': {
    needs: 'editor',
    fields: { tools: [{ name: 'edit_note', description: 'Edits', input_schema: { type: 'object' } }] },
  },
  'tools.unregister': { needs: 'editor', fields: { names: ['edit_note'] } },
};

/** Every route that the server has, as `METHOD path`. */
function routesOf(): string[] {
  const deps = { limits: {}, policy: {}, verifier: { required: true }, usage: {}, probes: {} } as unknown as HttpDeps;
  const { stack } = createHttpApp(deps).router as unknown as {
    stack: { route?: { path: string; stack: { method?: string }[] } }[];
  };
  return stack.flatMap(({ route }) =>
    route === undefined
      ? []
      : route.stack.flatMap(({ method }) => (method ? [`${method.toUpperCase()} ${route.path}`] : [])),
  );
}

describe('every route', () => {
  it('stands in the table', () => {
    const routes = [...new Set(routesOf())];
    expect(routes.length).toBeGreaterThan(20);
    expect(routes.filter((route) => ROUTES[route] === undefined)).toEqual([]);
    const isOfSession = Object.keys(ROUTES).filter((route) => ROUTES[route]?.needs !== 'none');
    expect(isOfSession.filter((route) => !routes.includes(route))).toEqual([]);
  });

  const rows = Object.entries(ROUTES).filter(([, { needs }]) => needs !== 'none');
  it.each(rows)('[AUTH-3] %s: as the role allows', async (route, { needs, body }) => {
    const [method = '', path = ''] = route.split(' ');
    const ask = (user: User, id: string): Promise<Answer> =>
      call(USERS[user], method, path.replace(':id', id).replace(':user_id', USERS.owner), body?.(id));
    const id = await makeShared();
    const unknown = `sesn_${'x'.repeat(id.length - 5)}`;
    const nothing = await ask('stranger', unknown);
    expect([nothing.status, nothing.body.error.code]).toEqual([404, 'session_not_found']);
    const hidden = await ask('stranger', id);
    expect({ ...hidden, headers: hidden.headers }).toEqual({ ...nothing, headers: nothing.headers });
    for (const user of ['viewer', 'editor', 'owner'] as const) {
      const answer = await ask(user, id);
      if (RANK[user] >= RANK[needs as User]) {
        // Whether it can be done is another question: the last owner stays.
        expect(['forbidden', 'session_not_found', 'internal']).not.toContain(answer.body.error?.code);
        continue;
      }
      expect([user, answer.status, answer.body.error.code]).toEqual([user, 403, 'forbidden']);
      expect(answer.body.error.message).toContain(`this takes an ${needs}`);
    }
  });
});

describe('every command', () => {
  it('stands in the table', () => {
    const types = clientFrameSchema.options.map((option) => option.shape.type.value as string);
    expect(types.sort()).toEqual(Object.keys(COMMANDS).sort());
  });

  const rows = Object.entries(COMMANDS).filter(([, { needs }]) => needs !== 'none');
  it.each(rows)('[AUTH-3] %s: as the role allows', async (type, { needs, fields }) => {
    const id = await makeShared();
    const ask = async (user: User, session_id: string) => {
      const client = await connect(USERS[user]);
      const reply = await client.request({ type, id: `${user}-1`, session_id, ...fields } as unknown as CommandInput);
      return reply.type === 'command.rejected' ? reply.error : undefined;
    };
    const nothing = await ask('stranger', 'sesn_unknown');
    expect(nothing?.code).toBe('session_not_found');
    expect(JSON.stringify(await ask('stranger', id))).toBe(JSON.stringify(nothing));
    for (const user of ['viewer', 'editor', 'owner'] as const) {
      const code = (await ask(user, id))?.code;
      if (RANK[user] < RANK[needs as User]) expect([user, code]).toEqual([user, 'forbidden']);
      else expect(['forbidden', 'session_not_found']).not.toContain(code);
    }
  });
});

it('[AUTH-3] a chat with a system prompt tells a stranger no more', async () => {
  const chat = { message: 'Hi', system_prompt: 'Be.' };
  const ask = (conversation_id: string) => call(USERS.stranger, 'POST', '/v1/chat', { ...chat, conversation_id });
  expect(await ask(await makeShared())).toEqual(await ask('sesn_unknown'));
});

it('[AUTH-3] the same user of another org is a stranger', async () => {
  const id = await makeShared();
  const other = await connect(USERS.owner, 'other');
  expect((await other.refused({ type: 'session.attach', session_id: id, deltas: true })).code).toBe(
    'session_not_found',
  );
});

it('the list has what others share with me; each tells who its members are', async () => {
  const id = await makeShared();
  const list = async (user: string) => (await call(user, 'GET', '/v1/sessions?limit=100')).body.data;
  const members = [
    { user_id: USERS.owner, role: 'owner' },
    { user_id: USERS.viewer, role: 'viewer' },
    { user_id: USERS.editor, role: 'editor' },
  ];
  for (const user of [USERS.viewer, USERS.editor, USERS.owner])
    expect(await list(user)).toContainEqual(expect.objectContaining({ id, members }));
  expect(await list(USERS.stranger)).toEqual([]);
  expect((await call(USERS.viewer, 'GET', `/v1/sessions/${id}/members`)).body).toEqual({
    data: members,
    next_page: null,
  });
  expect((await call(USERS.viewer, 'DELETE', `/v1/sessions/${id}/members/${USERS.viewer}`)).status).toBe(200);
  expect(await list(USERS.viewer)).not.toContainEqual(expect.objectContaining({ id }));
});

it('sharing is checked: a role, a user, and an owner who stays', async () => {
  const id = await makeShared();
  expect((await share(id, 'nina', 'king')).body.error.code).toBe('invalid_request');
  expect((await share(id, 'a\u0000b', 'viewer')).body.error.code).toBe('invalid_request');
  expect((await share(id, USERS.owner, 'viewer')).body.error).toMatchObject({ code: 'last_owner', retryable: false });
  const gone = await call(USERS.owner, 'DELETE', `/v1/sessions/${id}/members/nobody`);
  expect([gone.status, gone.body.error.code]).toEqual([404, 'not_found']);
});

it('[CMD-2] a key takes effect once', async () => {
  const id = await makeShared();
  const key = { 'Idempotency-Key': randomUUID() };
  const path = `/v1/sessions/${id}/members`;
  const body = { user_id: 'nina', role: 'editor' };
  expect((await call(USERS.owner, 'POST', path, body, key)).status).toBe(200);
  await share(id, 'nina', 'viewer');
  expect((await call(USERS.owner, 'POST', path, body, key)).status).toBe(200);
  const { data } = (await call(USERS.owner, 'GET', path)).body;
  expect(data).toContainEqual({ user_id: 'nina', role: 'viewer' });
  const other = await call(USERS.owner, 'POST', path, { ...body, role: 'owner' }, key);
  expect(other.body.error.code).toBe('idempotency_conflict');
});

it('is on record: who gave whom which role', async () => {
  const id = await makeShared();
  await call(USERS.editor, 'DELETE', `/v1/sessions/${id}/members/${USERS.editor}`);
  const { data } = (await call(USERS.owner, 'GET', '/v1/audit?kind=membership_change&limit=1000')).body;
  const mine = data.filter((record: { session_id: string }) => record.session_id === id);
  expect(mine.map((r: Record<string, string>) => [r['user_id'], r['rule'], r['outcome'], r['request_id']])).toEqual([
    [USERS.editor, `${USERS.editor}: none`, 'applied', 'same'],
    [USERS.owner, `${USERS.editor}: editor`, 'applied', 'same'],
    [USERS.owner, `${USERS.viewer}: viewer`, 'applied', 'same'],
  ]);
});

describe('when a membership ends', () => {
  it('its sockets are detached and stay, its streams and chats end, its presence goes; others go on', async () => {
    const id = await makeShared();
    const [olga, eddy] = [await connect(USERS.owner), await connect(USERS.editor)];
    await olga.attach(id);
    await eddy.attach(id);
    await olga.accepted({ type: 'presence.update', session_id: id, state: {} });
    await eddy.accepted({ type: 'presence.update', session_id: id, state: {} });
    const headers = await bearer(USERS.editor);
    const stream = new SseReader(await fetch(`${server.url}/v1/sessions/${id}/events/stream`, { headers }));
    const chat = new SseReader(
      await fetch(`${server.url}/v1/chat`, {
        method: 'POST',
        headers: { ...headers, 'content-type': 'application/json' },
        body: JSON.stringify({ message: 'slowly', conversation_id: id }),
      }),
    );
    await chat.until((r) => r.events.some((e) => e.event === 'token'));
    expect((await call(USERS.owner, 'DELETE', `/v1/sessions/${id}/members/${USERS.editor}`)).status).toBe(200);
    expect(await eddy.waitFor('connection.detached')).toMatchObject({ session_id: id, code: 'forbidden' });
    expect((await stream.all()).at(-1)).toMatchObject({ event: 'connection.detached', data: { code: 'forbidden' } });
    expect((await chat.all()).at(-1)).toMatchObject({ event: 'done', data: { status: 'failed' } });
    const updated = await olga.event('session.member_updated');
    expect(updated).toMatchObject({ user_id: USERS.editor, role: null, actor: { user_id: USERS.owner } });
    expect(eddy.lastSeq(id)).toBeLessThan(updated.seq);
    await olga.until(() => {
      const last = olga.frames.findLast((frame) => frame.type === 'presence.changed');
      return last?.type === 'presence.changed' && last.members.every(({ user_id }) => user_id === USERS.owner);
    });
    eddy.send({ type: 'ping' });
    await eddy.waitFor('pong');
    expect((await eddy.refused({ type: 'user.interrupt', session_id: id })).code).toBe('session_not_found');
    // The turn that they began goes on.
    await olga.until(() => olga.lastSeq(id) > updated.seq + 3);
    const { result } = await olga.accepted({ type: 'user.interrupt', session_id: id });
    expect(result.outcome).toBe('cancelled');
    expect([...olga.violations, ...eddy.violations]).toEqual([]);
  });

  it('[TOOL-5] what its tools were to run is run by others; a viewer is demoted the same way, and watches on', async () => {
    const id = await makeShared();
    const [olga, eddy] = [await connect(USERS.owner), await connect(USERS.editor)];
    await olga.attach(id);
    await eddy.attach(id);
    const tools = [{ name: 'edit_note', description: 'Edits', input_schema: { type: 'object' as const } }];
    await eddy.accepted({ type: 'tools.register', session_id: id, tools });
    await olga.prompt(id, 'edit');
    expect((await olga.event('tool.offered')).connection_id).toBe(eddy.connectionId);
    await olga.accepted({ type: 'tools.register', session_id: id, tools });
    await share(id, USERS.editor, 'viewer');
    const again = await eddy.waitFor(
      (frame) => frame.type === 'tool.offered' && frame.connection_id === olga.connectionId,
    );
    const call = again as Extract<typeof again, { type: 'tool.offered' }>;
    const result = { type: 'user.custom_tool_result', session_id: id, custom_tool_use_id: call.tool_use_id } as const;
    expect((await eddy.refused(result)).code).toBe('forbidden');
    await olga.accepted(result);
    await eddy.event('turn.ended');
    expect(eddy.frames.some((frame) => frame.type === 'connection.detached')).toBe(false);
  });

  it('a session deleted tells every member', async () => {
    const id = await makeShared();
    const vera = await connect(USERS.viewer);
    await vera.attach(id);
    await call(USERS.owner, 'DELETE', `/v1/sessions/${id}`);
    expect(await vera.event('session.deleted')).toMatchObject({ actor: { user_id: USERS.owner } });
    expect(await vera.waitFor('connection.detached')).toMatchObject({ session_id: id, code: 'session_not_found' });
  });
});

it('members, and what they did in whose name, survive a new start', async () => {
  const dataDir = mkdtempSync(join(tmpdir(), 'midstream-members-'));
  const other = server;
  let again = await start(dataDir);
  try {
    server = again;
    const id = await makeShared();
    const eddy = await connect(USERS.editor);
    await eddy.attach(id);
    await eddy.prompt(id, 'Hi');
    await eddy.event('turn.ended');
    await call(USERS.owner, 'DELETE', `/v1/sessions/${id}/members/${USERS.viewer}`);
    await server.stop();
    again = await start(dataDir);
    server = again;
    const { data } = (await call(USERS.editor, 'GET', '/v1/sessions')).body;
    expect(data.map((session: { id: string }) => session.id)).toEqual([id]);
    expect((await call(USERS.viewer, 'GET', `/v1/sessions/${id}`)).body.error.code).toBe('session_not_found');
    expect((await share(id, USERS.editor, 'owner', USERS.editor)).body.error.code).toBe('forbidden');
    const events = (await call(USERS.editor, 'GET', `/v1/sessions/${id}/events`)).body.data;
    expect(events.find((event: { type: string }) => event.type === 'user.message').actor.user_id).toBe(USERS.editor);
  } finally {
    await again.stop();
    server = other;
    rmSync(dataDir, { recursive: true, force: true });
  }
});
