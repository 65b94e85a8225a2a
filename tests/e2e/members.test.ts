/** Two people and one session, against the built server: shared, used by both, through a crash, and unshared. */
import { mkdtempSync, rmSync, writeFileSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { SignJWT } from 'jose';
import { callHttp, type HttpAnswer } from '../support/blackbox-http.js';
import { PRIVATE } from '../support/blackbox-server.js';
import { type Service, startService } from '../support/service.js';
import { AUDIENCE, ISSUER } from '../support/issuer.js';
import { WsRecorder } from '../support/ws-recorder.js';

const SECRET = `${PRIVATE}-and-more-bytes-than-thirty-two`;
const script = {
  turns: [{ match: { text: 'edit' }, steps: [{ blocks: [{ type: 'tool_use', name: 'edit_note', input: {} }] }] }],
  fallback: { steps: [{ blocks: [{ type: 'text', text: 'Well.' }] }] },
};
const tools = [{ name: 'edit_note', description: 'Edits', input_schema: { type: 'object' as const } }];

let server: Service;
const directory = mkdtempSync(join(tmpdir(), 'midstream-members-'));
const recorders: WsRecorder[] = [];

beforeAll(async () => {
  const path = join(directory, 'script.json');
  writeFileSync(path, JSON.stringify(script));
  server = await startService({
    config: {
      client_tools: ['edit_*'],
      roles: { analyst: { tools: { allow: ['edit_*'] }, models: ['*'], approve: ['*'] } },
    },
    env: {
      MIDSTREAM_SCRIPT: path,
      MIDSTREAM_JWT_SECRET: SECRET,
      MIDSTREAM_JWT_ISSUER: ISSUER,
      MIDSTREAM_JWT_AUDIENCE: AUDIENCE,
    },
  });
});
afterAll(async () => {
  await Promise.all(recorders.map((recorder) => recorder.drop()));
  await server.dispose();
  rmSync(directory, { recursive: true, force: true });
});

async function bearer(sub: string): Promise<{ Authorization: string }> {
  const token = await new SignJWT({ sub, org: 'acme', roles: ['analyst'], iss: ISSUER, aud: AUDIENCE })
    .setProtectedHeader({ alg: 'HS256', typ: 'JWT' })
    .setExpirationTime('10m')
    .sign(new TextEncoder().encode(SECRET));
  return { Authorization: `Bearer ${token}` };
}

async function connect(user: string): Promise<WsRecorder> {
  const recorder = await WsRecorder.connect(server.wsUrl, await bearer(user));
  recorders.push(recorder);
  return recorder;
}

const call = async (user: string, method: 'GET' | 'POST' | 'DELETE', path: string, body?: unknown) =>
  callHttp(server.url, method, path, body, await bearer(user));

it('[AUTH-3] [TOOL-5] a session is shared, used by both, survives kill -9, and is unshared in the middle of a turn', async () => {
  let [alice, bob] = [await connect('alice'), await connect('bob')];
  const id = await alice.openSession({ title: 'Ours' });
  const unknown = await bob.refused({ type: 'session.attach', session_id: id, deltas: true });
  expect(unknown.code).toBe('session_not_found');

  const shared: HttpAnswer = await call('alice', 'POST', `/v1/sessions/${id}/members`, {
    user_id: 'bob',
    role: 'editor',
  });
  expect(shared).toMatchObject({ status: 200, body: { user_id: 'bob', role: 'editor' } });
  expect((await call('bob', 'GET', '/v1/sessions')).body.data.map((s: { id: string }) => s.id)).toEqual([id]);

  // Bob's tool for Alice's prompt: Bob runs it, and each event names who caused it.
  await bob.attach(id);
  await bob.accepted({ type: 'tools.register', session_id: id, tools });
  await alice.prompt(id, 'Please edit');
  const offered = await alice.event('tool.offered');
  expect(offered.connection_id).toBe(bob.connectionId);
  await bob.accepted({ type: 'user.custom_tool_result', session_id: id, custom_tool_use_id: offered.tool_use_id });
  expect((await alice.event('user.custom_tool_result')).actor).toEqual({ user_id: 'bob' });
  expect((await alice.event('user.message')).actor).toEqual({ user_id: 'alice' });
  await alice.event('turn.ended');

  await server.restart();
  [alice, bob] = [await connect('alice'), await connect('bob')];
  await alice.attach(id);
  const { snapshot } = await bob.attach(id);
  expect(snapshot?.session.members).toEqual([
    { user_id: 'alice', role: 'owner' },
    { user_id: 'bob', role: 'editor' },
  ]);

  // Bob's turn waits for a tool of his own when he is taken away.
  await bob.accepted({ type: 'tools.register', session_id: id, tools });
  const { result } = await bob.prompt(id, 'Please edit');
  await bob.event('tool.offered', { turnId: result.turn_id });
  expect((await call('bob', 'DELETE', `/v1/sessions/${id}`)).body.error.code).toBe('forbidden');
  expect((await call('alice', 'DELETE', `/v1/sessions/${id}/members/bob`)).status).toBe(200);
  expect(await bob.waitFor('connection.detached')).toMatchObject({ session_id: id, code: 'forbidden' });
  expect(await alice.event('tool.denied', { turnId: result.turn_id })).toMatchObject({
    rule: 'bob may no longer prompt in this session',
  });
  expect(await alice.event('turn.ended', { turnId: result.turn_id })).toMatchObject({ stop_reason: 'end_turn' });
  expect(await bob.refused({ type: 'session.attach', session_id: id, deltas: true })).toEqual(unknown);
  expect((await call('bob', 'GET', '/v1/sessions')).body.data).toEqual([]);

  await server.restart();
  expect((await call('bob', 'GET', `/v1/sessions/${id}`)).body.error.code).toBe('session_not_found');
  expect((await call('alice', 'GET', `/v1/sessions/${id}/members`)).body.data).toEqual([
    { user_id: 'alice', role: 'owner' },
  ]);
  for (const recorder of recorders) expect(recorder.violations).toEqual([]);
}, 60_000);
