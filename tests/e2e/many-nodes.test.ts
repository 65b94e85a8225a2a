/** Two servers on one Redis are one server: whatever is asked of one of them about a turn of the other. */
import { createHmac } from 'node:crypto';
import { manualReply, startUpstream, textReply, type Upstream } from '../support/upstream/index.js';
import { type BlackboxServer, PRIVATE, startBlackbox, within } from '../support/blackbox-server.js';
import { callHttp } from '../support/blackbox-http.js';
import { startToolServer, type ToolServer } from '../support/blackbox-tools.js';
import { type RedisServer, startRedis } from '../support/redis-server.js';
import { WsRecorder } from '../support/ws-recorder.js';

/** What a lease lives when nobody renews it, and what others may take on top of it (CAN-2). */
const LEASE_MS = 2_000;
const TAKE_OVER_MS = LEASE_MS + 2_000;
const PATIENCE_MS = 20_000;
const DRAIN_MS = 300;
const SECRET = `${PRIVATE}-of-thirty-two-bytes-at-least`;
const IDENTITY = {
  MIDSTREAM_JWT_SECRET: SECRET,
  MIDSTREAM_JWT_ISSUER: 'https://issuer.test',
  MIDSTREAM_JWT_AUDIENCE: 'midstream',
};
const EDIT = {
  name: 'edit_document',
  description: 'Edits the document that the user has open.',
  input_schema: { type: 'object' as const },
  label: 'Editing…',
};

const encode = (part: object): string => Buffer.from(JSON.stringify(part)).toString('base64url');

function tokenOf(sub: string): string {
  const exp = Math.floor(Date.now() / 1_000) + 600;
  const claims = { iss: IDENTITY.MIDSTREAM_JWT_ISSUER, aud: 'midstream', sub, org: 'acme', roles: ['user'], exp };
  const signed = `${encode({ alg: 'HS256' })}.${encode(claims)}`;
  return `${signed}.${createHmac('sha256', SECRET).update(signed).digest('base64url')}`;
}

const callRest = (server: BlackboxServer, method: 'GET' | 'POST' | 'DELETE', path: string, body?: unknown) =>
  callHttp(server.url, method, path, body, bearer('ada'));

let upstream: Upstream;
let redis: RedisServer;
let tools: ToolServer;
let servers: BlackboxServer[] = [];
let clients: WsRecorder[] = [];

async function startServer(): Promise<BlackboxServer> {
  const server = await startBlackbox({
    upstream,
    env: {
      REDIS_URL: redis.url,
      MIDSTREAM_LEASE_MS: String(LEASE_MS),
      MIDSTREAM_DRAIN_MS: String(DRAIN_MS),
      MIDSTREAM_AUTH: 'required',
      ...IDENTITY,
    },
    config: {
      tools: [tools.toolConfig('send_mail')],
      roles: { user: { tools: { allow: ['*'], ask: ['send_*'] }, models: ['*'], approve: ['*'] } },
      client_tools: ['edit_*'],
    },
  });
  servers.push(server);
  return server;
}

const bearer = (user: string) => ({ authorization: `Bearer ${tokenOf(user)}` });

async function connect(server: BlackboxServer, user = 'ada'): Promise<WsRecorder> {
  const client = await WsRecorder.connect(server.wsUrl, bearer(user));
  client.patienceMs = PATIENCE_MS;
  clients.push(client);
  return client;
}

/** A session whose actor is on the first server, and a client of each. */
async function openBoth() {
  const [a, b] = servers as [BlackboxServer, BlackboxServer];
  const [onA, onB] = await Promise.all([connect(a), connect(b)]);
  const sessionId = await onA.openSession();
  return { a, b, onA, onB, sessionId };
}

/** A turn of the first server that is in the middle of its text. */
async function stream(text = 'One two ') {
  const reply = manualReply();
  upstream.script([reply, textReply('Said again.'), textReply('And again.')]);
  const scene = await openBoth();
  const { result } = await scene.onA.prompt(scene.sessionId, `Say it, ${PRIVATE}.`);
  await reply.start();
  reply.openText();
  reply.text(text);
  await scene.onA.event('event_delta', { turnId: result.turn_id });
  return { ...scene, reply, turnId: result.turn_id as string };
}

const textOf = (client: WsRecorder): string =>
  client
    .events()
    .map((event) => (event.type === 'event_delta' && 'content' in event.delta ? event.delta.content.text : ''))
    .join('');

/** That what a client saw from a seq on is what the log holds. */
async function expectSameAsLog(client: WsRecorder, server: BlackboxServer, sessionId: string, afterSeq = 0) {
  const path = `/v1/sessions/${sessionId}/events?limit=1000&after_seq=${afterSeq}`;
  const { body } = await callRest(server, 'GET', path);
  const shown = client.events(sessionId).filter(({ type }) => type !== 'event_delta' && type !== 'event_start');
  const log = body.data as { seq: number }[];
  expect(shown.map(({ seq }) => seq)).toEqual(log.map(({ seq }) => seq));
}

beforeAll(async () => {
  tools = await startToolServer();
});
beforeEach(async () => {
  // A turn that a test leaves running would be taken up by the servers of the next.
  [upstream, redis] = await Promise.all([startUpstream(), startRedis()]);
  await Promise.all([startServer(), startServer()]);
});
afterEach(async () => {
  for (const client of clients) expect(client.violations).toEqual([]);
  await Promise.all(clients.map((client) => client.drop()));
  clients = [];
  await Promise.all(servers.map((server) => server.dispose()));
  servers = [];
  await Promise.all([upstream.close(), redis.dispose()]);
  expect(upstream.violations).toEqual([]);
});
afterAll(async () => {
  await tools.close();
});

describe('a turn of another server', () => {
  it('[NODE-1] [LOG-1] is watched with every event and delta, by who comes in the middle and who was there', async () => {
    const { a, b, onA, onB, sessionId, reply, turnId } = await stream();
    const { mode, snapshot, head_seq } = await onB.attach(sessionId);
    expect(mode).toBe('snapshot');
    expect(JSON.stringify(snapshot?.partial)).toContain('One two ');
    const resumed = await connect(b);
    expect(await resumed.attach(sessionId, { after_seq: 1 })).toMatchObject({ mode: 'replay' });
    for (const word of ['three ', 'four ', 'five.']) reply.text(word);
    reply.closeBlock();
    reply.finish();
    for (const client of [onA, onB, resumed]) await client.event('turn.ended', { turnId });
    expect(textOf(onB)).toBe('three four five.');
    expect(textOf(resumed)).toBe('One two three four five.');
    await expectSameAsLog(onB, a, sessionId, head_seq);
    await expectSameAsLog(resumed, b, sessionId, 1);
  });

  it('[LOG-5] is watched with every delta, also where a block is complete at once', async () => {
    const said = 'All of it in one write';
    upstream.script(() => ({ blocks: [{ type: 'text', text: said }], packing: 'one_write' }));
    const { onA, onB, sessionId } = await openBoth();
    await onB.attach(sessionId);
    for (let turn = 1; turn <= 20; turn += 1) {
      const { result } = await onA.prompt(sessionId, 'Say it.');
      await onB.event('turn.ended', { turnId: result.turn_id });
      expect(textOf(onB)).toBe(said.repeat(turn));
    }
  });

  it('[CAN-1] [CAN-2] is cancelled: the model’s connection is closed before the reply', async () => {
    const { onA, onB, sessionId, reply, turnId } = await stream();
    const { result, applied_at_seq = 0 } = await onB.accepted({ type: 'user.interrupt', session_id: sessionId });
    await within(reply.closed, 1_000, 'the model’s connection was not closed');
    expect(result).toMatchObject({ turn_id: turnId, outcome: 'cancelled' });
    expect(await onA.event('turn.ended', { turnId })).toMatchObject({ stop_reason: 'cancelled' });
    expect(onA.events().filter(({ type, seq }) => type === 'event_delta' && seq > applied_at_seq)).toEqual([]);
  });

  it('[CMD-2] takes an id once, over both servers at once', async () => {
    const { onA, onB, sessionId, reply, turnId } = await stream();
    const command = { type: 'user.message' as const, session_id: sessionId, content: 'Next.', id: 'twice' };
    const [one, other] = await Promise.all([onA.accepted(command), onB.accepted(command)]);
    expect(one.result).toEqual(other.result);
    expect([one.duplicate ?? false, other.duplicate ?? false].sort()).toEqual([false, true]);
    reply.closeBlock();
    reply.finish();
    await onA.event('turn.ended', { turnId });
    await onA.event('turn.ended', { turnId: one.result.turn_id });
    const wrong = await onB.refused({ ...command, content: 'Something else.' });
    expect(wrong.code).toBe('idempotency_conflict');
  });

  it('[CMD-5] [TURN-2] takes commands of one connection in order: a steer, a message, a cancel of it', async () => {
    const { onA, onB, sessionId, reply, turnId } = await stream();
    const steer = onB.send({ type: 'user.steer', session_id: sessionId, content: 'Shorter.', apply: 'next_step' });
    const message = onB.send({ type: 'user.message', session_id: sessionId, content: 'Next.' });
    const cancel = onB.send({ type: 'user.interrupt', session_id: sessionId, command_id: message });
    const replies = await Promise.all([steer, message, cancel].map((id) => onB.replyTo(id)));
    expect(replies.map(({ type }) => type)).toEqual(Array.from({ length: 3 }, () => 'command.accepted'));
    reply.closeBlock();
    reply.finish();
    await onA.event('turn.ended', { turnId });
    await onA.event('turn.queued', { sessionId });
  });

  it('[TOOL-3] is allowed to call a tool', async () => {
    const block = { type: 'tool_use' as const, id: 'toolu_mail', name: 'send_mail', input: { to: 'ada' } };
    upstream.script([{ blocks: [block] }, textReply('Sent.')]);
    const { onA, onB, sessionId } = await openBoth();
    await onB.attach(sessionId);
    const { result } = await onA.prompt(sessionId, 'Send it.');
    const { pending } = await onB.event('turn.waiting', { turnId: result.turn_id });
    const tool_use_id = pending[0]?.tool_use_id ?? '';
    await onB.accepted({ type: 'user.tool_confirmation', session_id: sessionId, tool_use_id, result: 'allow' });
    (await tools.waitForCall((call) => call.body.turn_id === result.turn_id)).answer('sent');
    expect(await onB.event('turn.ended', { turnId: result.turn_id })).toMatchObject({ stop_reason: 'end_turn' });
  });

  it('[TOOL-5] is offered a client tool of a connection here, and takes its result from here', async () => {
    const block = { type: 'tool_use' as const, id: 'toolu_edit', name: 'edit_document', input: {} };
    upstream.script([{ blocks: [block] }, textReply('Edited.'), textReply('Not again.')]);
    const { onA, onB, sessionId } = await openBoth();
    await onB.attach(sessionId);
    await onB.accepted({ type: 'tools.register', session_id: sessionId, tools: [EDIT] });
    const { result } = await onA.prompt(sessionId, 'Edit it.');
    const offer = await onB.event('tool.offered', { turnId: result.turn_id });
    expect(offer.connection_id).toBe(onB.connectionId);
    const custom_tool_use_id = offer.tool_use_id;
    await onB.accepted({ type: 'user.custom_tool_result', session_id: sessionId, custom_tool_use_id, content: 'ok' });
    await onA.event('turn.ended', { turnId: result.turn_id });
    // Who attaches elsewhere is told of the tool; when its connection goes, it goes.
    const late = await connect(servers[1] as BlackboxServer);
    expect((await late.attach(sessionId)).snapshot?.tools.map(({ name }) => name)).toEqual(['edit_document']);
    await onB.drop();
    clients = clients.filter((client) => client !== onB);
    // Nothing tells when that is known.
    while ((await late.attach(sessionId)).snapshot?.tools.length !== 0);
    upstream.script([textReply('Fine.')]);
    const next = await onA.prompt(sessionId, 'Again.');
    const started = await onA.event('turn.started', { turnId: next.result.turn_id });
    expect(started.client_tools).toEqual([]);
  });

  it('[NODE-1] is read, listed and ended over REST', async () => {
    const { a, b, onA, onB, sessionId, reply, turnId } = await stream();
    const path = `/v1/sessions/${sessionId}`;
    expect((await callRest(b, 'GET', path)).body).toMatchObject({ id: sessionId, status: 'running' });
    reply.closeBlock();
    reply.finish();
    await onA.event('turn.ended', { turnId });
    const events = [{ type: 'user.message', content: 'Over REST.' }];
    const posted = await callRest(b, 'POST', `${path}/events`, { events });
    expect(posted.body.data).toMatchObject([{ type: 'user.message' }]);
    await onA.event('turn.ended', { turnId: posted.body.data[0].turn_id });
    const messages = await callRest(b, 'GET', `${path}/messages`);
    expect(messages.body.data.length).toBe(4);
    await onB.attach(sessionId);
    expect((await callRest(b, 'DELETE', path)).status).toBeLessThan(300);
    await onA.waitFor('connection.detached');
    await onB.waitFor('connection.detached');
    expect((await callRest(a, 'GET', path)).status).toBe(404);
  });
});

describe('who is in a session', () => {
  it('[AUTH-3] may watch it on no server once the membership ended, and use it on none', async () => {
    const { a, b, sessionId } = await openBoth();
    const bob = await connect(b, 'bob');
    const members = `/v1/sessions/${sessionId}/members`;
    expect((await callRest(b, 'POST', members, { user_id: 'bob', role: 'editor' })).status).toBeLessThan(300);
    await bob.attach(sessionId);
    await bob.accepted({ type: 'presence.update', session_id: sessionId, state: { at: 'line 1' } });
    expect((await callRest(a, 'DELETE', `${members}/bob`)).status).toBeLessThan(300);
    expect(await bob.waitFor('connection.detached')).toMatchObject({ code: 'forbidden' });
    expect((await bob.refused({ type: 'user.message', session_id: sessionId, content: 'Hi.' })).code).toBe(
      'session_not_found',
    );
  });

  it('is shown to all, whichever server they are on, until they leave or their server dies', async () => {
    const { a, onA, onB, sessionId } = await openBoth();
    await onB.attach(sessionId);
    const idsOf = (client: WsRecorder): string[] => {
      const last = client.frames.findLast((frame) => frame.type === 'presence.changed');
      return last?.type === 'presence.changed' ? last.members.map(({ connection_id }) => connection_id).sort() : [];
    };
    const both = [onA.connectionId, onB.connectionId].sort();
    const update = { type: 'presence.update' as const, session_id: sessionId, state: {} };
    await Promise.all([onA.accepted(update), onB.accepted(update)]);
    for (const client of [onA, onB]) await client.until(() => idsOf(client).join() === both.join(), 'both are there');
    await a.kill();
    clients = [onB];
    await onB.until(() => idsOf(onB).join() === onB.connectionId, 'one is there');
  }, 40_000);
});

describe('Redis that stalls', () => {
  it('[CMD-3] has commands refused as of unknown outcome, which are taken once when it is back', async () => {
    upstream.script([textReply('Said.')]);
    const { b, onA, onB, sessionId } = await openBoth();
    await onA.close();
    clients = [onB];
    redis.stall();
    const command = { type: 'user.message' as const, session_id: sessionId, content: 'Say it.', id: 'stalled' };
    expect(await onB.refused(command)).toMatchObject({ code: 'store_unavailable', retryable: true });
    expect(await callRest(b, 'GET', '/v1/sessions')).toMatchObject({ status: 503 });
    redis.resume();
    let reply = await onB.request(command);
    // Until its connections are back.
    while (reply.type === 'command.rejected') {
      expect(reply.error.code).toBe('store_unavailable');
      reply = await onB.request(command);
    }
    const { mode } = await onB.attach(sessionId, { after_seq: 0 });
    expect(mode).toBe('replay');
    await onB.event('turn.ended', { sessionId });
    expect(onB.events(sessionId).filter(({ type }) => type === 'user.message')).toHaveLength(1);
  }, 40_000);
});

describe('a server that is lost', () => {
  it('[NODE-2] has its turn taken over: who watches elsewhere sees the step superseded, and the end', async () => {
    const { a, b, onB, sessionId, turnId } = await stream();
    const { head_seq } = await onB.attach(sessionId);
    const diedAt = performance.now();
    await a.kill();
    clients = [onB];
    await onB.event('step.superseded', { turnId });
    await onB.event('event_delta', { turnId });
    const tookMs = performance.now() - diedAt;
    console.info(`taken over ${Math.round(tookMs)} ms after the kill`);
    expect(tookMs).toBeLessThan(TAKE_OVER_MS);
    expect(await onB.event('turn.ended', { turnId })).toMatchObject({ stop_reason: 'end_turn' });
    await expectSameAsLog(onB, b, sessionId, head_seq);
  }, 40_000);

  it('[CAN-2] [CMD-2] leaves no command: one that it had not answered is answered by the next owner', async () => {
    const { a, onB, sessionId, turnId } = await stream();
    process.kill(a.pid, 'SIGSTOP');
    const sentAt = performance.now();
    const cancel = onB.send({ type: 'user.interrupt', session_id: sessionId });
    const next = onB.send({ type: 'user.message', session_id: sessionId, content: 'Next.' });
    await a.kill();
    clients = [onB];
    expect(await onB.replyTo(cancel)).toMatchObject({ type: 'command.accepted' });
    expect(performance.now() - sentAt).toBeLessThan(TAKE_OVER_MS);
    const queued = await onB.replyTo(next);
    expect(queued).toMatchObject({ type: 'command.accepted' });
    await onB.attach(sessionId, { after_seq: 0 });
    expect(await onB.event('turn.ended', { turnId })).toMatchObject({ stop_reason: 'cancelled' });
    expect(onB.events(sessionId).filter(({ type }) => type === 'user.message')).toHaveLength(2);
  }, 40_000);

  it('[NODE-3] stopped longer than its lease, writes nothing more, and its clients go on', async () => {
    const { a, b, onA, onB, sessionId, reply, turnId } = await stream();
    await onB.attach(sessionId);
    process.kill(a.pid, 'SIGSTOP');
    reply.text('from the dead ');
    const ended = await onB.event('turn.ended', { turnId });
    process.kill(a.pid, 'SIGCONT');
    expect(await onA.event('turn.ended', { turnId })).toMatchObject({ seq: ended.seq });
    await within(reply.closed, 5_000, 'the zombie kept its request');
    const { result } = await onA.prompt(sessionId, 'Still there?');
    await onA.event('turn.ended', { turnId: result.turn_id });
    expect(textOf(onB)).not.toContain('from the dead');
    expect(onA.events().filter(({ seq, type }) => type === 'event_delta' && seq > ended.seq).length).toBeGreaterThan(0);
    await expectSameAsLog(onA, b, sessionId);
  }, 60_000);

  it('[TOOL-5] has client tools of other servers’ connections known to the next owner', async () => {
    const { a, onB, sessionId } = await openBoth();
    await onB.attach(sessionId);
    await onB.accepted({ type: 'tools.register', session_id: sessionId, tools: [EDIT] });
    await a.kill();
    clients = [onB];
    const block = { type: 'tool_use' as const, id: 'toolu_edit', name: 'edit_document', input: {} };
    upstream.script([{ blocks: [textReply('Hello.').blocks[0] as never] }, { blocks: [block] }, textReply('Edited.')]);
    const first = await onB.prompt(sessionId, 'Hello.');
    await onB.event('turn.ended', { turnId: first.result.turn_id });
    const { result } = await onB.prompt(sessionId, 'Edit it.');
    const offer = await onB.event('tool.offered', { turnId: result.turn_id });
    expect(offer.connection_id).toBe(onB.connectionId);
  }, 40_000);

  it('[NODE-2] on SIGTERM hands a running turn over before its lease lapses', async () => {
    const { a, onA, onB, sessionId, turnId } = await stream();
    await onB.attach(sessionId);
    await onA.drop();
    clients = [onB];
    const termAt = performance.now();
    a.term();
    await onB.event('step.superseded', { turnId });
    const tookMs = performance.now() - termAt - DRAIN_MS;
    console.info(`handed over ${Math.round(tookMs)} ms after the drain's deadline`);
    expect(tookMs).toBeLessThan(500);
    expect(await onB.event('turn.ended', { turnId })).toMatchObject({ stop_reason: 'end_turn' });
    expect(await a.exited).toMatchObject({ code: 0 });
  }, 40_000);
});
