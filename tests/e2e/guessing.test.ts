/** What others' ids, tickets and pages are good for (nothing), and a revocation in the middle of whatever a turn waits for. */
import { startTestServer, type TestServer } from '../../server/testing.js';
import { bearerOf, IDENTITY_ENV, tokenFor, type Who } from '../support/attack-identity.js';
import { callHttp } from '../support/blackbox-http.js';
import { type CommandInput, WsRecorder } from '../support/ws-recorder.js';
import { FrameClient, refusalOf } from '../transports/support/frame-client.js';
import { ManualClock } from '../transports/support/manual-clock.js';
import { SseReader } from '../transports/support/sse-reader.js';

const use = (name: string) => ({ blocks: [{ type: 'tool_use' as const, name, input: {} }] });
const over = { blocks: [{ type: 'text' as const, text: 'Over.' }] };
const slow = { blocks: [{ type: 'text' as const, text: 'word '.repeat(2_000), tokens_per_second: 20 }] };
const clock = new ManualClock();
const boss = { sub: 'boss', roles: ['admin'] };
const eve = { sub: 'eve' };
const edit = { name: 'edit_note', description: 'Edits', input_schema: { type: 'object' as const } };
let ran: string[] = [];
let server: TestServer;
beforeEach(async () => {
  ran = [];
  clock.advance(Date.now() - clock.now());
  server = await startTestServer({
    clock,
    env: IDENTITY_ENV,
    tools: [
      {
        name: 'send',
        description: 'Sends.',
        input_schema: { type: 'object', properties: {} },
        run: () => {
          ran.push('send');
          return 'sent';
        },
      },
    ],
    config: {
      client_tools: ['edit_*'],
      roles: {
        user: { tools: { allow: ['edit_*'], ask: ['send'] }, models: ['*'], approve: ['*'] },
        admin: { tools: { allow: ['*'] }, models: ['*'], inspect: true },
      },
    },
    script: {
      turns: [
        { match: { text: 'send' }, steps: [use('send'), over] },
        { match: { text: 'edit' }, steps: [use('edit_note'), over] },
        { match: { text: 'long' }, steps: [slow] },
      ],
    },
  });
});
const open: WsRecorder[] = [];
afterEach(async () => {
  for (const one of open.splice(0)) await one.drop();
  await server.stop();
});

const connect = async (who: Who): Promise<WsRecorder> => {
  const recorder = await WsRecorder.connect(server.wsUrl, bearerOf(who));
  open.push(recorder);
  return recorder;
};
const post = (path: string, body: unknown, who: Who) => callHttp(server.url, 'POST', path, body, bearerOf(who));
const get = (path: string, who: Who) => callHttp(server.url, 'GET', path, undefined, bearerOf(who));

/** Alice's turn, at a point where it waits for somebody. */
async function waiting(prompt: 'send' | 'edit') {
  const alice = await connect({ sub: 'alice' });
  const sessionId = await alice.openSession();
  if (prompt === 'edit') await alice.accepted({ type: 'tools.register', session_id: sessionId, tools: [edit] });
  const { result } = await alice.prompt(sessionId, prompt);
  const turnId = result.turn_id as string;
  const { pending } = await alice.event('turn.waiting', { turnId });
  return { alice, sessionId, turnId, messageId: result.message_id as string, callId: pending[0]?.tool_use_id ?? '' };
}

describe.each([
  ['another user of the org', eve],
  ['a user of the same name in another org', { sub: 'alice', org: 'other' }],
])('the ids of a turn, used by %s in a session of their own', (_, thief) => {
  it.each(['send', 'edit'] as const)(
    '[AUTH-3] reach nothing, on WebSocket and REST, while it waits for: %s',
    async (prompt) => {
      const { alice, sessionId, turnId, messageId, callId } = await waiting(prompt);
      const own = await connect(thief);
      const session_id = await own.openSession();
      const commands: CommandInput[] = [
        { type: 'user.steer', session_id, content: 'x', turn_id: turnId },
        { type: 'user.interrupt', session_id, turn_id: turnId },
        { type: 'user.interrupt', session_id, message_id: messageId },
        { type: 'user.tool_confirmation', session_id, tool_use_id: callId, result: 'allow' },
        { type: 'user.custom_tool_result', session_id, custom_tool_use_id: callId, content: 'mine' },
        { type: 'user.tool_progress', session_id, custom_tool_use_id: callId, percent: 1 },
      ];
      for (const command of commands) {
        const { code } = await own.refused(command);
        expect(code).toMatch(/^(turn_not_active|turn_not_found|tool_call_not_found)$/);
        const { session_id: _own, ...event } = command as Record<string, unknown>;
        const { status, body } = await post(`/v1/sessions/${session_id}/events`, { events: [event] }, thief);
        expect([status, body.error.code]).toEqual([expect.any(Number), code]);
        expect(status).toBeGreaterThanOrEqual(400);
      }
      const chat = await post('/v1/chat', { message: 'x', conversation_id: sessionId, stream: false }, thief);
      expect([chat.status, chat.body.error.code]).toEqual([404, 'session_not_found']);
      const ticket = (await post('/v1/ws-tickets', {}, thief)).body.ticket as string;
      const stream = await fetch(`${server.url}/v1/sessions/${sessionId}/events/stream?ticket=${ticket}`);
      expect(stream.status).toBe(404);
      expect(alice.events(sessionId).some(({ type }) => type === 'turn.ended' || type === 'turn.resumed')).toBe(false);
      expect(ran).toEqual([]);
    },
  );
});

it('[AUTH-1] a ticket beside a token is somebody else’s nowhere: the token counts, and the ticket is not spent', async () => {
  const { sessionId } = await waiting('edit');
  const ticket = (await post('/v1/ws-tickets', {}, { sub: 'alice' })).body.ticket as string;
  const protocols = ['midstream.v1', `ticket.${ticket}`];
  const wrong = await refusalOf(FrameClient.connect(server.wsUrl, { protocols, headers: { 'X-API-Key': 'wrong' } }));
  expect(wrong.status).toBe(401);
  const client = await FrameClient.connect(server.wsUrl, { protocols, headers: bearerOf(eve) });
  expect(await client.frame(({ type }) => type === 'connection.ready')).toMatchObject({
    principal: { user_id: 'eve' },
  });
  client.socket.terminate();
  const at = `${server.url}/v1/sessions/${sessionId}/events/stream?ticket=${ticket}`;
  expect((await fetch(at, { headers: bearerOf(eve) })).status).toBe(404);
  expect((await fetch(at, { headers: { Authorization: `Bearer ${tokenFor(eve)}x` } })).status).toBe(401);
  const stream = await fetch(at);
  expect(stream.status).toBe(200);
  await stream.body?.cancel();
  expect((await refusalOf(FrameClient.connect(server.wsUrl, { protocols }))).status).toBe(401);
});

it('a page of the audit shows each org its own records, whoever made the page', async () => {
  const foreign = { ...boss, org: 'other' };
  for (const who of [boss, foreign])
    for (let n = 0; n < 4; n += 1) await post('/v1/revocations', { key_id: `${who.sub}-${n}` }, who);
  const { body } = await get('/v1/audit?limit=2', boss);
  expect(body.next_page).not.toBeNull();
  for (const page of [body.next_page, Buffer.from('a999999').toString('base64url'), 'x', "'--", '\u0000']) {
    const answer = await get(`/v1/audit?limit=1000&page=${encodeURIComponent(page)}`, foreign);
    for (const { org_id } of answer.body.data ?? []) expect(org_id ?? 'other').toBe('other');
  }
});

describe('a revocation in the middle of', () => {
  const revoke = async (): Promise<void> => {
    // Not before the tokens were issued, which go by the clock of the machine.
    clock.advance(Math.max(0, Date.now() - clock.now()));
    expect((await post('/v1/revocations', { user_id: 'alice' }, boss)).status).toBe(200);
  };
  async function shareWith(sessionId: string): Promise<WsRecorder> {
    const body = { user_id: 'bob', role: 'editor' };
    expect((await post(`/v1/sessions/${sessionId}/members`, body, { sub: 'alice' })).status).toBeLessThan(300);
    const bob = await connect({ sub: 'bob' });
    await bob.attach(sessionId);
    return bob;
  }

  it('[AUTH-1] a stream ends what shows it to the user, on each wire, and not the turn', async () => {
    const alice = await connect({ sub: 'alice' });
    const sessionId = await alice.openSession();
    const bob = await shareWith(sessionId);
    const events = new SseReader(
      await fetch(`${server.url}/v1/sessions/${sessionId}/events/stream`, { headers: bearerOf({ sub: 'alice' }) }),
    );
    const chat = new SseReader(
      await fetch(`${server.url}/v1/chat`, {
        method: 'POST',
        headers: { ...bearerOf({ sub: 'alice' }), 'Content-Type': 'application/json' },
        body: JSON.stringify({ message: 'long', conversation_id: sessionId, on_disconnect: 'continue' }),
      }),
    );
    await bob.waitFor('event_delta');
    await revoke();
    expect((await alice.closed).code).toBe(4401);
    expect((await events.all()).at(-1)?.data).toMatchObject({ type: 'connection.closing', code: 4401 });
    expect((await chat.all()).at(-1)).toMatchObject({ event: 'done', data: { status: 'failed' } });
    expect(bob.events(sessionId).some(({ type }) => type === 'turn.ended')).toBe(false);
    await bob.accepted({ type: 'user.interrupt', session_id: sessionId });
    expect(await bob.event('turn.ended')).toMatchObject({ stop_reason: 'cancelled' });
  });

  it('[TOOL-1] [TOOL-3] a wait for an approval: nobody can approve it any more', async () => {
    const { sessionId, turnId, callId } = await waiting('send');
    const bob = await shareWith(sessionId);
    await revoke();
    const confirm = { type: 'user.tool_confirmation' as const, session_id: sessionId, tool_use_id: callId };
    expect((await bob.refused({ ...confirm, result: 'allow' })).code).toBe('forbidden_tool');
    await bob.accepted({ ...confirm, result: 'deny' });
    await bob.event('turn.ended', { turnId });
    expect(ran).toEqual([]);
    const { body } = await get('/v1/audit?kind=denial', boss);
    expect(body.data[0]).toMatchObject({ tool: 'send', session_id: sessionId });
  });

  it('[TOOL-1] [TOOL-5] an offered client tool call: it is offered to nobody again, and the user can’t answer it', async () => {
    const { alice, sessionId, turnId, callId } = await waiting('edit');
    const bob = await shareWith(sessionId);
    await alice.accepted({ type: 'presence.update', session_id: sessionId, state: {} });
    await bob.waitFor((frame) => frame.type === 'presence.changed');
    const from = bob.frames.length;
    await bob.accepted({ type: 'tools.register', session_id: sessionId, tools: [edit] });
    await revoke();
    expect((await alice.closed).code).toBe(4401);
    const result = { type: 'user.custom_tool_result', custom_tool_use_id: callId, content: 'mine' };
    expect((await post(`/v1/sessions/${sessionId}/events`, { events: [result] }, { sub: 'alice' })).status).toBe(401);
    await bob.waitFor((frame) => frame.type === 'presence.changed', 'alice left', from);
    clock.advance(10_000);
    await bob.event('turn.ended', { turnId });
    expect(bob.events(sessionId).some(({ type }) => type === 'tool.offered')).toBe(false);
  });
});
