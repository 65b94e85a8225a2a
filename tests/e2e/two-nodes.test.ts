/** Two servers on one Redis are one gate: what is taken, revoked, counted or claimed at one of them is so at both. */
import { createHmac } from 'node:crypto';
import { mkdtempSync, rmSync, writeFileSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { setTimeout as after } from 'node:timers/promises';
import type { AuditRecord } from '../../protocol/index.js';
import { DIRECTORY_TIMES } from '../../server/ports/directory-store.js';
import { SEAT_TIMES } from '../../server/ports/turn-seats.js';
import { callHttp, type HttpAnswer } from '../support/blackbox-http.js';
import { type BlackboxServer, startBlackbox } from '../support/blackbox-server.js';
import { startToolServer, type ToolCall, type ToolServer } from '../support/blackbox-tools.js';
import { found } from '../support/eventually.js';
import { type RedisServer, startRedis } from '../support/redis-server.js';
import { WsRecorder } from '../support/ws-recorder.js';
import { FrameClient } from '../transports/support/frame-client.js';

const SECRET = 'of-thirty-two-bytes-at-the-very-least';
const IDENTITY = { issuer: 'https://issuer.test', audience: 'midstream' };
const PER_MINUTE = 12;
const ROLES = {
  admin: { tools: { allow: ['*'] }, models: ['*'], inspect: true },
  worker: { tools: { allow: ['*'] }, models: ['*'] },
  reader: { tools: { allow: ['look'] }, models: ['*'] },
  slow: { tools: { allow: ['*'] }, models: ['*'], requests_per_minute: PER_MINUTE },
  pair: { tools: { allow: ['*'] }, models: ['*'], concurrent_turns: 2 },
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
  ],
  fallback: { steps: [{ blocks: [{ type: 'text', text: 'Hello.' }] }] },
};

const encode = (part: object): string => Buffer.from(JSON.stringify(part)).toString('base64url');

/** Turns of this role go on beside other tests, which count what their organisation uses. */
const orgOf = (role: keyof typeof ROLES): string => (role === 'pair' ? 'umbra' : 'acme');

function tokenOf(user: string, role: keyof typeof ROLES): { Authorization: string } {
  const iat = Math.floor(Date.now() / 1_000);
  const claims = { iss: IDENTITY.issuer, aud: IDENTITY.audience, sub: user, org: orgOf(role), roles: [role] };
  const signed = `${encode({ alg: 'HS256' })}.${encode({ ...claims, iat, exp: iat + 600 })}`;
  return { Authorization: `Bearer ${signed}.${createHmac('sha256', SECRET).update(signed).digest('base64url')}` };
}

let directory: string;
let tools: ToolServer;
let redis: RedisServer;
let nodes: readonly [BlackboxServer, BlackboxServer];
/** A third one, which is killed by the first test. */
let mortal: BlackboxServer;
const boss = tokenOf('boss', 'admin');

beforeAll(async () => {
  directory = mkdtempSync(join(tmpdir(), 'midstream-two-nodes-'));
  const scriptPath = join(directory, 'script.json');
  writeFileSync(scriptPath, JSON.stringify(script));
  [tools, redis] = await Promise.all([startToolServer(), startRedis()]);
  const { http } = tools.toolConfig('look');
  const patient = { ...http, timeout_ms: 60_000 };
  const startNode = (): Promise<BlackboxServer> =>
    startBlackbox({
      env: {
        REDIS_URL: redis.url,
        MIDSTREAM_SCRIPT: scriptPath,
        MIDSTREAM_JWT_SECRET: SECRET,
        MIDSTREAM_JWT_ISSUER: IDENTITY.issuer,
        MIDSTREAM_JWT_AUDIENCE: IDENTITY.audience,
      },
      config: {
        roles: ROLES,
        org_budget: { day: { tokens: 10_000_000 } },
        tools: [tools.toolConfig('look', { idempotent: true, http: patient }), tools.toolConfig('write')],
      },
    });
  const [one, two, third] = await Promise.all([startNode(), startNode(), startNode()]);
  nodes = [one, two];
  mortal = third;
}, 60_000);
afterAll(async () => {
  // Where a node did not start there are none.
  await Promise.all([...(nodes ?? []), mortal].map((node) => node?.dispose()));
  await Promise.all([tools.close(), redis.dispose()]);
  rmSync(directory, { recursive: true });
});
afterEach(() => tools.handle(undefined));

type As = { Authorization: string };
const post = (node: BlackboxServer, path: string, body: object, as: As, key?: string): Promise<HttpAnswer> =>
  callHttp(node.url, 'POST', path, body, { ...as, ...(key !== undefined && { 'Idempotency-Key': key }) });
const get = (node: BlackboxServer, path: string, as: As): Promise<HttpAnswer> =>
  callHttp(node.url, 'GET', path, undefined, as);
const auditOf = async (node: BlackboxServer, query: string): Promise<AuditRecord[]> =>
  (await get(node, `/v1/audit?limit=100&${query}`, boss)).body.data;
const isOf =
  (name: string, user: string) =>
  ({ name: tool, body }: ToolCall): boolean =>
    tool === name && body.user_id === user;
const callsOf = (name: string, user: string): number => tools.calls.filter(isOf(name, user)).length;

/** A turn that waits for the answer of its first tool. */
async function begin(node: BlackboxServer, user: string, role: keyof typeof ROLES) {
  const recorder = await WsRecorder.connect(node.wsUrl, tokenOf(user, role));
  const sessionId = await recorder.openSession();
  await recorder.prompt(sessionId, 'look and write');
  const call = await tools.waitForCall((one) => isOf('look', user)(one) && one.body.session_id === sessionId);
  return { recorder, sessionId, call };
}

const FREED_MS = SEAT_TIMES.leaseMs + 2_000;
let zoes: Awaited<ReturnType<typeof begin>>;
/** How long it took until another turn could begin; the other tests go on meanwhile. */
let freed: Promise<number>;

it('counts turns at a time over all nodes', async () => {
  const as = tokenOf('zoe', 'pair');
  zoes = await begin(nodes[0], 'zoe', 'pair');
  await begin(mortal, 'zoe', 'pair');
  const chat = (node: BlackboxServer): Promise<HttpAnswer> =>
    post(node, '/v1/chat', { message: 'Hello', stream: false }, as);
  for (const node of [...nodes, mortal])
    expect(await chat(node)).toMatchObject({ status: 429, body: { error: { code: 'rate_limited' } } });
  const at = Date.now();
  await mortal.kill();
  const beginsAgain = async (): Promise<true | undefined> => ((await chat(nodes[0])).status === 200 ? true : undefined);
  freed = found('a free seat', beginsAgain, { withinMs: FREED_MS, everyMs: 100 }).then(() => Date.now() - at);
  // Told by the last test.
  freed.catch(() => undefined);
});

it('[AUTH-1] a ticket made on one node opens one socket, on either of them', async () => {
  for (let round = 0; round < 6; round++) {
    const { body } = await post(nodes[round % 2 ? 0 : 1], '/v1/ws-tickets', {}, tokenOf('ada', 'worker'));
    const protocols = ['midstream.v1', `ticket.${body.ticket}`];
    const tries = await Promise.allSettled(
      Array.from({ length: 8 }, (_, n) => FrameClient.connect(nodes[n % 2 ? 0 : 1].wsUrl, { protocols })),
    );
    const won = tries.flatMap((one) => (one.status === 'fulfilled' ? [one.value] : []));
    expect(won).toHaveLength(1);
    for (const one of tries) if (one.status === 'rejected') expect(one.reason).toMatchObject({ status: 401 });
    for (const client of won) client.close();
  }
});

it('[TOOL-1] [AUTH-1] a revocation on one closes the sockets on the other within 1 s, and its turn calls no tool', async () => {
  const { recorder, sessionId, call } = await begin(nodes[1], 'eve', 'worker');
  // One of a later second would be good again.
  const token = tokenOf('eve', 'worker');
  const idle = await WsRecorder.connect(nodes[1].wsUrl, token);
  const at = Date.now();
  expect((await post(nodes[0], '/v1/revocations', { user_id: 'eve' }, boss)).status).toBe(200);
  expect([(await recorder.closed).code, (await idle.closed).code]).toEqual([4401, 4401]);
  expect(Date.now() - at).toBeLessThan(1_000);
  call.answer('seen');
  const [denial] = await found('the denial', async () => {
    const found = (await auditOf(nodes[0], 'kind=denial')).filter(({ user_id }) => user_id === 'eve');
    return found.length > 0 ? found : undefined;
  });
  expect(denial).toMatchObject({ tool: 'write', session_id: sessionId });
  expect(callsOf('write', 'eve')).toBe(0);
  expect((await get(nodes[1], '/v1/sessions', token)).status).toBe(401);
});

it('[TOOL-1] a role that one node saw change counts for the next tool call of a turn on the other', async () => {
  const { recorder, call } = await begin(nodes[1], 'mia', 'worker');
  expect((await get(nodes[0], '/v1/sessions', tokenOf('mia', 'reader'))).status).toBe(200);
  // As long as a change may be on its way; nothing tells from outside that it has come.
  await after(DIRECTORY_TIMES.staleMs);
  call.answer('seen');
  expect(await recorder.event('tool.denied')).toMatchObject({ rule: expect.stringContaining('write') });
  await recorder.event('turn.ended');
  expect(callsOf('write', 'mia')).toBe(0);
  await recorder.drop();
});

it('counts requests a minute over both', async () => {
  tools.handle(() => 'seen');
  const as = tokenOf('sam', 'slow');
  const startedAt = Date.now();
  const answers = await Promise.all(
    Array.from({ length: 3 * PER_MINUTE }, (_, n) =>
      post(nodes[n % 2 ? 0 : 1], '/v1/tools/look/call', { input: {} }, as),
    ),
  );
  const statuses = answers.map(({ status }) => status);
  const comeBack = Math.floor((Date.now() - startedAt) / (60_000 / PER_MINUTE));
  const passed = statuses.filter((status) => status === 200).length;
  expect(passed).toBeGreaterThanOrEqual(PER_MINUTE);
  expect(passed).toBeLessThanOrEqual(PER_MINUTE + comeBack);
  expect(statuses.filter((status) => status === 429)).toHaveLength(statuses.length - passed);
  expect(callsOf('look', 'sam')).toBe(passed);
});

it('[CMD-2] one key makes one session, whichever node is asked, and at once', async () => {
  const as = tokenOf('joe', 'worker');
  const made = new Set<string>();
  for (let round = 0; round < 10; round++) {
    const answers = await Promise.all(
      Array.from({ length: 6 }, (_, n) =>
        post(nodes[n % 2 ? 0 : 1], '/v1/sessions', { title: 'one' }, as, `k${round}`),
      ),
    );
    expect(answers.map(({ status }) => status)).toEqual(answers.map(() => 201));
    const ids = new Set(answers.map(({ body }) => body.id as string));
    expect(ids.size).toBe(1);
    for (const id of ids) made.add(id);
  }
  const again = await Promise.all(nodes.map((node) => post(node, '/v1/sessions', { title: 'one' }, as, 'k0')));
  expect(new Set(again.map(({ body }) => body.id)).size).toBe(1);
  const others = await Promise.all(nodes.map((node) => post(node, '/v1/sessions', { title: 'two' }, as, 'k0')));
  for (const other of others) expect(other).toMatchObject({ body: { error: { code: 'idempotency_conflict' } } });
  const lists = await Promise.all(nodes.map((node) => get(node, '/v1/sessions?limit=100', as)));
  for (const { body } of lists)
    expect((body.data as { id: string }[]).map(({ id }) => id).sort()).toEqual([...made].sort());
});

it('[CMD-2] one key runs a tool once, whichever node is asked, and all get its answer', async () => {
  const as = tokenOf('kim', 'worker');
  const keyed = (name: string, key: string) =>
    Promise.all(nodes.map((node) => post(node, `/v1/tools/${name}/call`, { input: {} }, as, key)));
  for (const name of ['write', 'look']) {
    const answering = keyed(name, `${name}-1`);
    const call = await tools.waitForCall(isOf(name, 'kim'));
    call.answer('done, once');
    const answers = await answering;
    expect(answers.map(({ status }) => status)).toEqual([200, 200]);
    for (const { body } of answers)
      expect(body).toMatchObject({ content: [{ text: 'done, once' }], is_error: false, outcome: 'ok' });
    expect(answers.map(({ body }) => body.duplicate === true).sort()).toEqual([false, true]);
    expect(callsOf(name, 'kim')).toBe(1);
  }
  const others = await Promise.all(
    nodes.map((node) => post(node, '/v1/tools/write/call', { input: { other: 1 } }, as, 'write-1')),
  );
  for (const other of others) expect(other).toMatchObject({ body: { error: { code: 'idempotency_conflict' } } });
});

it('has one audit', async () => {
  const as = tokenOf('lea', 'reader');
  for (const node of nodes) expect((await post(node, '/v1/tools/write/call', { input: {} }, as)).status).toBe(403);
  const lists = await Promise.all(nodes.map((node) => auditOf(node, 'kind=denial')));
  expect(lists[0]).toEqual(lists[1]);
  expect(lists[0]?.filter(({ user_id }) => user_id === 'lea')).toHaveLength(2);
});

it('[BUD-1] tells the same usage', async () => {
  const as = tokenOf('ned', 'worker');
  for (const node of nodes)
    expect((await post(node, '/v1/chat', { message: 'Hello', stream: false }, as)).status).toBe(200);
  const reports = await Promise.all(nodes.map((node) => get(node, '/v1/usage?group_by=day,session', as)));
  expect(reports[0]?.body).toEqual(reports[1]?.body);
  const { windows, spend } = (reports[0] as HttpAnswer).body;
  expect(spend).toHaveLength(2);
  expect(windows[0]).toMatchObject({ held: 0 });
  expect(windows[0].used).toBeGreaterThan(0);
});

// The last one: the turns are free by now, or soon.
it('frees the turns of a node that died within their lease', async () => {
  expect(await freed).toBeLessThan(FREED_MS);
  tools.handle(() => 'done');
  zoes.call.answer('seen');
  await zoes.recorder.event('turn.ended');
  await zoes.recorder.drop();
}, 30_000);
