/** Every way to spend goes through one gate: walks of all routes and all commands by who may spend nothing (BUD-3). */
import { randomUUID } from 'node:crypto';
import type { FileConfigInput } from '../../server/config/index.js';
import { startTestServer, type TestServer } from '../../server/testing.js';
import { bearerOf, IDENTITY_ENV } from '../support/attack-identity.js';
import { callHttp } from '../support/blackbox-http.js';
import { allCommands, allRoutes } from '../support/route-list.js';
import { startUpstream, textReply, type Upstream } from '../support/upstream/index.js';
import { type CommandInput, WsRecorder } from '../support/ws-recorder.js';

/** `turn`: begins a turn, and so is refused. `tool`: runs a tool. `nothing`: neither. */
type Spends = 'turn' | 'tool' | 'nothing';
interface Row {
  readonly spends: Spends;
  readonly body?: (sessionId: string) => unknown;
}
const message = { type: 'user.message', content: 'Hi' };
const nothing: Row = { spends: 'nothing' };

const ROUTES: Readonly<Record<string, Row>> = {
  'GET /health': nothing,
  'GET /ready': nothing,
  'GET /metrics': nothing,
  'GET /v1/ws': nothing,
  'POST /v1/ws-tickets': { spends: 'nothing', body: () => ({}) },
  'POST /v1/revocations': { spends: 'nothing', body: () => ({ user_id: 'nobody' }) },
  'GET /v1/sessions': nothing,
  'POST /v1/sessions': { spends: 'nothing', body: () => ({}) },
  'GET /v1/tools': nothing,
  'POST /v1/tools/:name/call': { spends: 'tool', body: () => ({ input: {} }) },
  'GET /v1/usage': nothing,
  'GET /v1/audit': nothing,
  'POST /v1/feedback': { spends: 'nothing', body: (id) => ({ conversation_id: id, rating: 'thumbs_up' }) },
  'POST /feedback': { spends: 'nothing', body: (id) => ({ conversation_id: id, rating: 'thumbs_up' }) },
  'GET /v1/sessions/:id': nothing,
  'GET /v1/sessions/:id/messages': nothing,
  'GET /v1/sessions/:id/members': nothing,
  'POST /v1/sessions/:id/members': { spends: 'nothing', body: () => ({ user_id: 'nina', role: 'viewer' }) },
  'DELETE /v1/sessions/:id/members/:user_id': nothing,
  'GET /v1/sessions/:id/events': nothing,
  'POST /v1/sessions/:id/events': { spends: 'turn', body: () => ({ events: [message] }) },
  'GET /v1/sessions/:id/events/stream': nothing,
  'GET /v1/conversations/:id': nothing,
  'GET /conversation/:id': nothing,
  'POST /v1/chat': { spends: 'turn', body: (conversation_id) => ({ message: 'Hi', conversation_id }) },
  'POST /chat': { spends: 'turn', body: () => ({ message: 'Hi', stream: false }) },
  'DELETE /v1/conversations/:id': nothing,
  'DELETE /conversation/:id': nothing,
  'DELETE /v1/sessions/:id': nothing,
};

const COMMANDS: Readonly<Record<string, { spends: Spends; each: readonly object[] }>> = {
  'connection.authenticate': { spends: 'nothing', each: [{ token: 'a.b.c' }] },
  ping: { spends: 'nothing', each: [] },
  'session.create': { spends: 'nothing', each: [{}] },
  'session.attach': { spends: 'nothing', each: [{}] },
  'session.detach': { spends: 'nothing', each: [{}] },
  'presence.update': { spends: 'nothing', each: [{ state: {} }] },
  'user.message': {
    spends: 'turn',
    each: (['queue', 'interrupt', 'steer', 'reject'] as const).map((on_busy) => ({ content: 'Hi', on_busy })),
  },
  'user.steer': {
    spends: 'turn',
    each: (['next_step', 'now'] as const).map((apply) => ({ content: 'Hi', apply })),
  },
  'user.tool_confirmation': { spends: 'nothing', each: [{ tool_use_id: 'sevt_x', result: 'allow' }] },
  'user.custom_tool_result': { spends: 'nothing', each: [{ custom_tool_use_id: 'sevt_x' }] },
  'user.tool_progress': { spends: 'nothing', each: [{ custom_tool_use_id: 'sevt_x' }] },
  'tools.register': {
    spends: 'nothing',
    each: [{ tools: [{ name: 'edit_note', description: 'Edits', input_schema: { type: 'object' } }] }],
  },
  'tools.unregister': { spends: 'nothing', each: [{ names: ['edit_note'] }] },
  'user.interrupt': { spends: 'nothing', each: [{}] },
};

const ROLE = { tools: { allow: ['*'], ask: ['send_*'] }, models: ['*'], approve: ['*'], inspect: true };
const configOf = (limits: object): FileConfigInput => ({
  roles: { user: { ...ROLE, ...limits } },
  client_tools: ['edit_*'],
  agents: { default: { max_tokens: 100 } },
});
const ran: string[] = [];
const tools = ['look', 'send_mail'].map((name) => ({
  name,
  description: name,
  input_schema: { type: 'object' as const },
  run: async () => {
    ran.push(name);
    return 'done';
  },
}));

let upstream: Upstream;
let server: TestServer;
const who = { sub: 'poor' };
const spent = () => upstream.requests.filter(({ path }) => path === '/v1/messages').length;

const start = async (limits: object): Promise<void> => {
  server = await startTestServer({
    config: configOf(limits),
    tools,
    env: { ...IDENTITY_ENV, ANTHROPIC_API_KEY: 'sk-test', ANTHROPIC_BASE_URL: upstream.baseURL },
  });
};
beforeEach(async () => {
  upstream = await startUpstream();
  ran.splice(0);
});
afterEach(async () => {
  await server.stop();
  await upstream.close();
});

const createSession = async (): Promise<string> =>
  (await callHttp(server.url, 'POST', '/v1/sessions', {}, bearerOf(who))).body.id;

/** One request of each route; a stream is left once its headers are there. */
async function walkRoutes(refused: Readonly<Partial<Record<Spends, string>>>): Promise<void> {
  for (const [route, { spends, body }] of Object.entries(ROUTES)) {
    const id = await createSession();
    const [method = '', pattern = ''] = route.split(' ');
    const path = pattern.replace(':id', id).replace(':user_id', 'nina').replace(':name', 'look');
    const abort = new AbortController();
    const response = await fetch(server.url + path, {
      method,
      headers: { ...bearerOf(who), 'content-type': 'application/json' },
      ...(body && { body: JSON.stringify(body(id)) }),
      signal: abort.signal,
    });
    const isStream = response.headers.get('content-type')?.startsWith('text/event-stream') === true;
    const text = isStream ? '' : await response.text();
    if (isStream) abort.abort();
    const code = text.startsWith('{"type":"error"') ? JSON.parse(text).error.code : undefined;
    if (refused[spends] !== undefined) expect([route, response.status, code]).toEqual([route, 429, refused[spends]]);
    else expect([route, response.status, code]).not.toEqual([route, 500, expect.anything()]);
  }
}

async function walkCommands(client: WsRecorder, id: string): Promise<Map<string, string[]>> {
  const codes = new Map<string, string[]>();
  for (const [type, { each }] of Object.entries(COMMANDS))
    for (const fields of each) {
      const reply = await client.request({ type, id: randomUUID(), session_id: id, ...fields } as CommandInput);
      const code = reply.type === 'command.rejected' ? reply.error.code : 'accepted';
      codes.set(type, [...(codes.get(type) ?? []), code]);
    }
  return codes;
}

it('knows every route and every command', () => {
  expect([...allRoutes()].sort()).toEqual(Object.keys(ROUTES).sort());
  expect([...allCommands()].sort()).toEqual(Object.keys(COMMANDS).sort());
  server ??= { stop: async () => {} } as TestServer;
});

it('[BUD-3] no route and no command spends where the budget is 0', async () => {
  await start({ budget: { day: { tokens: 0 } } });
  await walkRoutes({ turn: 'budget_exhausted' });
  const client = await WsRecorder.connect(server.wsUrl, bearerOf(who));
  const codes = await walkCommands(client, await createSession());
  expect(codes.get('user.message')).toEqual(Array.from({ length: 4 }, () => 'budget_exhausted'));
  expect(codes.get('user.steer')).toEqual(['turn_not_active', 'turn_not_active']);
  await client.drop();
  // Nothing was asked to be counted either: where nothing may be spent, a count decides nothing.
  expect(upstream.requests).toEqual([]);
});

it('[BUD-3] what goes on with a turn spends nothing once the budget is gone: results, approvals, steers, the queue', async () => {
  const budget = { day: { tokens: 1_000_000 } };
  await start({ budget });
  const call = (name: string) => ({ blocks: [{ type: 'tool_use' as const, id: 'toolu_1', name, input: {} }] });
  const client = await WsRecorder.connect(server.wsUrl, bearerOf(who));
  for (const name of ['edit_note', 'send_mail']) {
    upstream.script([call(name)]);
    const id = await client.openSession();
    const tool = { name: 'edit_note', description: 'Edits', input_schema: { type: 'object' as const } };
    await client.accepted({ type: 'tools.register', session_id: id, tools: [tool] });
    const { result } = await client.prompt(id, 'Go');
    await client.event('turn.waiting', { turnId: result.turn_id });
    const queued = await client.prompt(id, 'And then?');
    await client.accepted({ type: 'user.steer', session_id: id, content: 'Quick' });
    const before = spent();
    expect(server.reload(configOf({ budget: { day: { tokens: 0 } } }))).toBe(true);
    const use = client
      .events(id)
      .findLast(({ type }) => type === 'agent.custom_tool_use' || type === 'agent.tool_use') as { id: string };
    await client.accepted(
      name === 'edit_note'
        ? { type: 'user.custom_tool_result', session_id: id, custom_tool_use_id: use.id }
        : { type: 'user.tool_confirmation', session_id: id, tool_use_id: use.id, result: 'allow' },
    );
    for (const turnId of [result.turn_id, queued.result.turn_id])
      expect(await client.event('turn.ended', { turnId })).toMatchObject({ stop_reason: 'budget_exhausted' });
    expect(spent()).toBe(before);
    expect(server.reload(configOf({ budget }))).toBe(true);
  }
  await client.drop();
});

it('no route and no command begins anything where requests_per_minute is used up', async () => {
  await start({ requests_per_minute: 1 });
  const id = await createSession();
  upstream.script(() => textReply('Hello.'));
  const first = { message: 'Hi', conversation_id: id, stream: false };
  expect((await callHttp(server.url, 'POST', '/v1/chat', first, bearerOf(who))).status).toBe(200);
  await walkRoutes({ turn: 'rate_limited', tool: 'rate_limited' });
  const client = await WsRecorder.connect(server.wsUrl, bearerOf(who));
  const codes = await walkCommands(client, await createSession());
  expect(codes.get('user.message')).toEqual(Array.from({ length: 4 }, () => 'rate_limited'));
  for (const code of codes.get('user.steer') ?? []) expect(['rate_limited', 'turn_not_active']).toContain(code);
  await client.drop();
  expect([spent(), ran]).toEqual([1, []]);
});

it('no command begins anything beside a turn that runs where requests_per_minute is used up', async () => {
  await start({ requests_per_minute: 1 });
  const chunks = Array.from({ length: 500 }, () => 'word ');
  upstream.script(() => ({ blocks: [{ type: 'text', text: chunks.join(''), chunks }], pace: { everyMs: 20 } }));
  const client = await WsRecorder.connect(server.wsUrl, bearerOf(who));
  const id = await client.openSession();
  const { result } = await client.prompt(id, 'Slowly');
  await client.event('event_start', { sessionId: id });
  // The walk detaches, too.
  const watcher = await WsRecorder.connect(server.wsUrl, bearerOf(who));
  await watcher.attach(id);
  const codes = await walkCommands(client, id);
  // One that would be refused for another reason is not counted: the turn runs, and `reject` says so.
  for (const code of codes.get('user.message') ?? []) expect(['rate_limited', 'busy']).toContain(code);
  expect(codes.get('user.steer')).toEqual(['rate_limited', 'rate_limited']);
  // The interrupt of the walk ended it, and nothing came after.
  expect(await watcher.event('turn.ended', { turnId: result.turn_id })).toMatchObject({ stop_reason: 'cancelled' });
  expect(spent()).toBe(1);
  await watcher.drop();
  await client.drop();
});
