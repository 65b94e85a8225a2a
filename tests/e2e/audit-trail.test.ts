/** What must leave a trace, seen from outside: refusals of every wire, and client tool calls. */
import type { AuditRecord } from '../../protocol/index.js';
import { type Service, startTestService } from '../support/service.js';
import { bearerOf, IDENTITY_ENV, tokenFor } from '../support/attack-identity.js';
import { callHttp } from '../support/blackbox-http.js';
import { WsRecorder } from '../support/ws-recorder.js';
import { FrameClient } from '../transports/support/frame-client.js';
import { ManualClock } from '../transports/support/manual-clock.js';

const clock = new ManualClock();
const boss = { sub: 'boss', roles: ['admin'] };
let server: Service;
beforeAll(async () => {
  clock.advance(Date.now() - clock.now());
  server = await startTestService({
    clock,
    env: { ...IDENTITY_ENV, MIDSTREAM_TRUSTED_PROXIES: '127.0.0.1' },
    config: {
      client_tools: ['edit_*'],
      roles: {
        user: { tools: { allow: ['*'] }, models: ['claude-*'] },
        careful: { tools: { ask: ['*'] }, models: ['*'] },
        admin: { tools: { allow: ['*'] }, models: ['*'], inspect: true },
      },
    },
    script: {
      turns: [
        {
          match: { text: 'edit' },
          steps: [
            { blocks: [{ type: 'tool_use', name: 'edit_note', input: { secret: 'heliotrope' } }] },
            { blocks: [{ type: 'text', text: 'Done.' }] },
          ],
        },
      ],
    },
  });
});
afterAll(() => server.dispose());

const auditOf = async (query: string): Promise<AuditRecord[]> =>
  (await callHttp(server.url, 'GET', `/v1/audit?limit=1000&${query}`, undefined, bearerOf(boss))).body.data;

it('a refused credential is on record with the address that the trusted proxy names, on REST too', async () => {
  const headers = { 'X-API-Key': 'wrong', 'X-Forwarded-For': '203.0.113.9' };
  await callHttp(server.url, 'GET', '/v1/sessions', undefined, headers);
  expect((await auditOf('kind=authentication'))[0]).toMatchObject({ client_address: '203.0.113.9' });
});

it('[AUTH-1] a socket that does not say whose it is in time, or says something else, is on record', async () => {
  const before = (await auditOf('kind=authentication')).length;
  const silent = await FrameClient.connect(server.wsUrl);
  clock.advance(5_000);
  expect((await silent.closed).code).toBe(4401);
  const rude = await FrameClient.connect(server.wsUrl);
  rude.send({ type: 'ping', id: 'p' });
  expect((await rude.closed).code).toBe(4401);
  expect((await auditOf('kind=authentication')).length).toBe(before + 2);
});

it('[AUTH-2] a renewal by somebody else is on record, with whose connection it was', async () => {
  const alice = await WsRecorder.connect(server.wsUrl, bearerOf({ sub: 'alice' }));
  expect((await alice.refused({ type: 'connection.authenticate', token: tokenFor({ sub: 'bob' }) })).code).toBe(
    'forbidden',
  );
  expect((await auditOf('kind=authentication'))[0]).toMatchObject({ user_id: 'alice', rule: 'forbidden' });
  await alice.drop();
});

it('what a role does not reach is on record: commands, routes, the audit itself', async () => {
  const alice = await WsRecorder.connect(server.wsUrl, bearerOf({ sub: 'alice' }));
  const id = await alice.createSession();
  await callHttp(
    server.url,
    'POST',
    `/v1/sessions/${id}/members`,
    { user_id: 'vera', role: 'viewer' },
    bearerOf({ sub: 'alice' }),
  );
  const vera = bearerOf({ sub: 'vera' });
  const watcher = await WsRecorder.connect(server.wsUrl, vera);
  await watcher.refused({ type: 'user.message', session_id: id, content: 'heliotrope' });
  const events = [{ type: 'user.interrupt' }, { type: 'user.message', content: 'heliotrope' }];
  await callHttp(server.url, 'POST', `/v1/sessions/${id}/events`, { events }, vera);
  await callHttp(server.url, 'POST', '/v1/chat', { message: 'heliotrope', conversation_id: id }, vera);
  await callHttp(server.url, 'DELETE', `/v1/sessions/${id}`, undefined, vera);
  await callHttp(server.url, 'GET', '/v1/audit', undefined, vera);
  await callHttp(server.url, 'GET', '/v1/usage?group_by=user', undefined, vera);
  await alice.refused({ type: 'user.message', session_id: id, content: 'Hi', model: 'gpt' });
  const records = (await auditOf('kind=denial')).toReversed();
  expect(records.map(({ user_id, rule }) => [user_id, rule?.split(':')[0]])).toEqual([
    ['vera', 'user.message'],
    ['vera', 'user.interrupt, user.message'],
    ['vera', 'user.message'],
    ['vera', 'delete'],
    ['vera', 'read the audit'],
    ['vera', 'read usage'],
    ['alice', 'user.message'],
  ]);
  expect(JSON.stringify(records)).not.toContain('heliotrope');
  await alice.drop();
  await watcher.drop();
});

it('a client tool call is on record: its first offer and its outcome, not its arguments', async () => {
  const alice = await WsRecorder.connect(server.wsUrl, bearerOf({ sub: 'alice', roles: ['admin'] }));
  const id = await alice.openSession();
  const tool = { name: 'edit_note', description: 'Edits', input_schema: { type: 'object' as const } };
  await alice.accepted({ type: 'tools.register', session_id: id, tools: [tool] });
  const { result } = await alice.prompt(id, 'edit');
  const { tool_use_id } = await alice.event('tool.offered', { turnId: result.turn_id });
  await alice.accepted({ type: 'user.custom_tool_result', session_id: id, custom_tool_use_id: tool_use_id });
  await alice.event('turn.ended', { turnId: result.turn_id });
  const records = (await auditOf('kind=tool_call')).toReversed();
  expect(records.map((record) => [record.tool, record.tool_use_id, record.outcome])).toEqual([
    ['edit_note', tool_use_id, 'started'],
    ['edit_note', tool_use_id, 'ok'],
  ]);
  expect(JSON.stringify(records)).not.toContain('heliotrope');
  await alice.drop();
});

it('[TOOL-5] a client tool call that is offered again is one call on record; one that nobody let begin is none', async () => {
  const [first, second] = [
    await WsRecorder.connect(server.wsUrl, bearerOf({ sub: 'carol' })),
    await WsRecorder.connect(server.wsUrl, bearerOf({ sub: 'carol' })),
  ];
  const id = await first.openSession();
  await second.attach(id);
  const tool = { name: 'edit_note', description: 'Edits', input_schema: { type: 'object' as const } };
  for (const one of [second, first]) await one.accepted({ type: 'tools.register', session_id: id, tools: [tool] });
  const { result } = await first.prompt(id, 'edit');
  const turnId = result.turn_id as string;
  const { tool_use_id, connection_id } = await first.event('tool.offered', { turnId });
  const [holder, heir] = connection_id === first.connectionId ? [first, second] : [second, first];
  await holder.accepted({ type: 'presence.update', session_id: id, state: {} });
  await heir.waitFor((frame) => frame.type === 'presence.changed');
  const from = heir.frames.length;
  await holder.drop();
  await heir.waitFor((frame) => frame.type === 'presence.changed', 'the holder left', from);
  clock.advance(10_000);
  await heir.waitFor((frame) => frame.type === 'tool.offered' && frame.connection_id === heir.connectionId);
  await heir.accepted({ type: 'user.custom_tool_result', session_id: id, custom_tool_use_id: tool_use_id });
  await heir.event('turn.ended', { turnId });
  const outcomesOf = async (callId: string) =>
    (await auditOf('kind=tool_call')).flatMap((record) => (record.tool_use_id === callId ? [record.outcome] : []));
  expect(await outcomesOf(tool_use_id)).toEqual(['ok', 'started']);

  const asked = await WsRecorder.connect(server.wsUrl, bearerOf({ sub: 'dora', roles: ['careful'] }));
  const other = await asked.openSession();
  await asked.accepted({ type: 'tools.register', session_id: other, tools: [tool] });
  const turn = (await asked.prompt(other, 'edit')).result.turn_id as string;
  const [pending] = (await asked.event('turn.waiting', { turnId: turn })).pending;
  await asked.accepted({ type: 'user.interrupt', session_id: other });
  await asked.event('turn.ended', { turnId: turn });
  expect(await outcomesOf(pending?.tool_use_id ?? '')).toEqual([]);
  await Promise.all([heir.drop(), asked.drop()]);
});
