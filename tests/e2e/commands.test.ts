/** Commands: answered once, carried out once, over any wire and across a restart; in the order in which they were sent. */
import { manualReply, startUpstream, textReply, type Upstream } from '../support/upstream/index.js';
import { PRIVATE } from '../support/blackbox-server.js';
import { type Service, startService } from '../support/service.js';
import { callHttp } from '../support/blackbox-http.js';
import { Watchers } from '../support/ws-watchers.js';

let upstream: Upstream;
let server: Service;
const watchers = new Watchers(() => server.wsUrl);
const post = (path: string, body: unknown, headers?: Record<string, string>) =>
  callHttp(server.url, 'POST', path, body, headers);

beforeAll(async () => {
  upstream = await startUpstream();
  server = await startService({ upstream });
});

afterEach(async () => {
  upstream.script(() => textReply('Hello.'));
  await watchers.release();
  expect(upstream.violations).toEqual([]);
});

afterAll(async () => {
  await server.dispose();
  await upstream.close();
});

const message = (sessionId: string, id: string, content: string) => ({
  type: 'user.message' as const,
  session_id: sessionId,
  id,
  content,
});

describe('an id', () => {
  it('[CMD-2] takes effect once, however often and from wherever it is sent at once', async () => {
    const [ada, ben] = await watchers.connectMany(2);
    const sessionId = await ada.openSession();
    await ben.attach(sessionId);
    const command = message(sessionId, 'once', `Only once, ${PRIVATE}.`);
    const before = upstream.requests.length;
    for (let n = 0; n < 5; n += 1) {
      ada.send(command);
      ben.send(command);
    }
    await ada.until(() => ada.frames.filter((f) => f.type === 'command.accepted' && f.id === 'once').length === 5);
    await ben.until(() => ben.frames.filter((f) => f.type === 'command.accepted' && f.id === 'once').length === 5);
    await ada.event('session.status_idle', { sessionId });
    const replies = [...ada.frames, ...ben.frames].flatMap((f) =>
      f.type === 'command.accepted' && f.id === 'once' ? [f] : [],
    );
    expect(replies.filter((reply) => reply.duplicate !== true)).toHaveLength(1);
    expect(new Set(replies.map((reply) => JSON.stringify([reply.applied_at_seq, reply.result]))).size).toBe(1);
    expect(upstream.requests.length - before).toBe(1);
    expect(ada.events(sessionId).filter((event) => event.type === 'user.message')).toHaveLength(1);
  });

  it('[CMD-2] is the same over WebSocket and REST, in whatever order its fields come', async () => {
    const client = await watchers.connect();
    const sessionId = await client.openSession();
    const first = await client.accepted(message(sessionId, 'wires', PRIVATE));
    const { status, body } = await post(`/v1/sessions/${sessionId}/events`, {
      events: [{ content: [{ text: PRIVATE, type: 'text' }], id: 'wires', type: 'user.message' }],
    });
    expect(status).toBe(200);
    expect(body.data).toMatchObject([{ type: 'user.message', seq: first.applied_at_seq, command_id: 'wires' }]);
    await client.event('session.status_idle', { sessionId });
    expect(client.events(sessionId).filter((event) => event.type === 'user.message')).toHaveLength(1);
  });

  it('[CMD-2] is refused for another body, which changes nothing', async () => {
    const client = await watchers.connect();
    const sessionId = await client.openSession();
    await client.accepted(message(sessionId, 'taken', PRIVATE));
    await client.event('session.status_idle', { sessionId });
    const head = client.lastSeq(sessionId);
    expect((await client.refused(message(sessionId, 'taken', 'Something else.'))).code).toBe('idempotency_conflict');
    const { status, body } = await post(`/v1/sessions/${sessionId}/events`, {
      events: [{ id: 'taken', type: 'user.message', content: 'Something else.' }],
    });
    expect([status, body.error.code]).toEqual([409, 'idempotency_conflict']);
    expect((await callHttp(server.url, 'GET', `/v1/sessions/${sessionId}`)).body.head_seq ?? head).toBe(head);
  });

  it('[CMD-2] may come twice in one batch and takes effect once', async () => {
    const client = await watchers.connect();
    const sessionId = await client.openSession();
    const event = { id: 'twin', type: 'user.message', content: PRIVATE };
    const { status, body } = await post(`/v1/sessions/${sessionId}/events`, { events: [event, event] });
    expect([status, body.data?.length]).toEqual([200, 2]);
    expect(body.data[0].seq).toBe(body.data[1].seq);
    await client.event('session.status_idle', { sessionId });
    const other = { ...event, content: 'Something else.' };
    const refused = await post(`/v1/sessions/${sessionId}/events`, {
      events: [
        { ...event, id: 'fresh' },
        { ...other, id: 'fresh' },
      ],
    });
    expect([refused.status, refused.body.error?.code]).toEqual([409, 'idempotency_conflict']);
    expect(client.events(sessionId).filter((e) => e.type === 'user.message')).toHaveLength(1);
  });

  it('[CMD-2] is remembered across a restart, for commands and for sessions made', async () => {
    const client = await watchers.connect();
    const create = { type: 'session.create' as const, id: 'make-one', title: 'The same' };
    const sessionId = (await client.accepted(create)).result.session.id as string;
    await client.attach(sessionId);
    const first = await client.accepted(message(sessionId, 'kept', PRIVATE));
    await client.event('session.status_idle', { sessionId });
    await server.restart();
    const again = await watchers.connect();
    const made = await again.accepted(create);
    expect([made.duplicate, made.result.session.id]).toEqual([true, sessionId]);
    expect((await again.refused({ ...create, title: 'Another' })).code).toBe('idempotency_conflict');
    const before = upstream.requests.length;
    const second = await again.accepted(message(sessionId, 'kept', PRIVATE));
    expect(second).toMatchObject({ duplicate: true, applied_at_seq: first.applied_at_seq, result: first.result });
    expect((await again.refused(message(sessionId, 'kept', 'Else.'))).code).toBe('idempotency_conflict');
    expect(upstream.requests.length).toBe(before);
  });

  it('[CMD-2] over REST stands in Idempotency-Key, for each command of a batch', async () => {
    const key = { 'Idempotency-Key': 'rest-key' };
    const made = await post('/v1/sessions', { title: 'Keyed' }, key);
    const again = await post('/v1/sessions', { title: 'Keyed' }, key);
    expect([made.status, again.body.id]).toEqual([201, made.body.id]);
    const events = [
      { type: 'user.message', content: `One, ${PRIVATE}.` },
      { type: 'user.message', content: 'Two.' },
    ];
    const first = await post(`/v1/sessions/${made.body.id}/events`, { events }, key);
    const second = await post(`/v1/sessions/${made.body.id}/events`, { events }, key);
    expect(first.status).toBe(200);
    expect(second.body.data.map((e: { id: string }) => e.id)).toEqual(first.body.data.map((e: { id: string }) => e.id));
  });

  it('is free again where the command was refused', async () => {
    const client = await watchers.connect();
    const sessionId = await client.openSession();
    expect((await client.refused({ type: 'user.steer', id: 'again', session_id: sessionId, content: 'x' })).code).toBe(
      'turn_not_active',
    );
    expect((await client.accepted(message(sessionId, 'again', PRIVATE))).duplicate).toBeUndefined();
    await client.event('session.status_idle', { sessionId });
  });
});

describe('order', () => {
  it('[CMD-5] is the order of sending on one connection, even without waiting for replies', async () => {
    const client = await watchers.connect();
    const sessionId = await client.openSession();
    const ids = Array.from({ length: 40 }, (_, n) => `in-order-${n}`);
    for (const id of ids) client.send(message(sessionId, id, `${id} ${PRIVATE}`));
    await client.replyTo('in-order-39');
    await client.until(() => client.events(sessionId).filter((e) => e.type === 'turn.ended').length === 40);
    const logged = client.events(sessionId).flatMap((e) => (e.type === 'user.message' ? [e.command_id] : []));
    expect(logged).toEqual(ids);
    const started = client.events(sessionId).flatMap((e) => (e.type === 'turn.started' ? [e.turn_id] : []));
    const messages = client.events(sessionId).flatMap((e) => (e.type === 'user.message' ? [e.turn_id] : []));
    expect(started).toEqual(messages);
  });

  it('[CAN-1] lets an interrupt that is sent right behind its message find it', async () => {
    const client = await watchers.connect();
    const sessionId = await client.openSession();
    upstream.script(() => ({ hang: 'before_headers' }));
    for (let n = 0; n < 20; n += 1) {
      const id = `stop-${n}`;
      client.send(message(sessionId, id, PRIVATE));
      const stop = client.send({ type: 'user.interrupt', session_id: sessionId, command_id: id });
      const reply = await client.replyTo(stop);
      expect(reply).toMatchObject({ type: 'command.accepted', result: { outcome: 'cancelled' } });
    }
    expect(client.events(sessionId).filter((e) => e.type === 'turn.ended')).toHaveLength(20);
  });

  it('[CMD-3] names the seq at which each command took effect', async () => {
    const client = await watchers.connect();
    const sessionId = await client.openSession();
    const reply = await client.accepted(message(sessionId, 'landed', PRIVATE));
    const event = client.events(sessionId).find((e) => e.seq === reply.applied_at_seq);
    expect(event).toMatchObject({ type: 'user.message', command_id: 'landed' });
    await client.event('session.status_idle', { sessionId });
  });
});

describe('a refusal', () => {
  it('[CMD-1] answers what it can’t do by the command’s id, and leaves the connection open', async () => {
    const client = await watchers.connect();
    const sessionId = await client.openSession();
    const refuse = async (frame: Record<string, unknown>) => {
      const error = await client.refused(frame as never);
      return error.code;
    };
    expect(await refuse({ type: 'user.message', id: 'r1', session_id: sessionId })).toBe('invalid_request');
    expect(await refuse({ type: 'user.message', id: 'r2', session_id: sessionId, content: '  ' })).toBe(
      'invalid_request',
    );
    expect(await refuse({ type: 'user.message', id: 'r3', session_id: sessionId, content: 'x', temperature: 1 })).toBe(
      'invalid_request',
    );
    expect(await refuse({ type: 'user.nonsense', id: 'r4', session_id: sessionId })).toBe('invalid_request');
    expect(await refuse({ type: 'user.message', id: 'r5', session_id: 'sesn_other', content: 'x' })).toBe(
      'session_not_found',
    );
    expect(await refuse({ type: 'user.interrupt', id: 'r6', session_id: sessionId, turn_id: 'turn_x' })).toBe(
      'turn_not_found',
    );
    client.send({ type: 'ping', id: 'p1' });
    await client.waitFor('pong');
  });

  it('[CMD-3] of one command of a batch leaves nothing of the others', async () => {
    const client = await watchers.connect();
    const sessionId = await client.openSession();
    const { status, body } = await post(`/v1/sessions/${sessionId}/events`, {
      events: [
        { type: 'user.message', content: PRIVATE },
        { type: 'user.tool_confirmation', tool_use_id: 'nothing', result: 'allow' },
      ],
    });
    expect([status, body.error.code, body.error.details.index]).toEqual([404, 'tool_call_not_found', 1]);
    const { body: log } = await callHttp(server.url, 'GET', `/v1/sessions/${sessionId}/events`);
    expect(log.data).toEqual([]);
  });

  it('[CMD-4] is not what a lost connection is: its turn goes on', async () => {
    const reply = manualReply();
    upstream.script([reply]);
    const client = await watchers.connect();
    const sessionId = await client.openSession();
    const { result } = await client.prompt(sessionId, PRIVATE);
    await reply.start();
    reply.openText();
    reply.text('Half');
    await client.event('event_delta', { turnId: result.turn_id });
    const seen = client.lastSeq(sessionId);
    await client.drop();
    reply.text(' and half');
    reply.closeBlock();
    reply.finish();
    const again = await watchers.connect();
    await again.attach(sessionId, { after_seq: seen });
    expect(await again.event('turn.ended', { turnId: result.turn_id })).toMatchObject({ stop_reason: 'end_turn' });
    expect((await again.event('agent.message', { turnId: result.turn_id })).content).toMatchObject([
      { text: 'Half and half' },
    ]);
  });
});
