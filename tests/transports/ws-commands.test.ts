/** Commands and replies over one connection. */
import { MidstreamError } from '../../protocol/index.js';
import type { Accepted } from '../../server/session/session-api.js';
import { FrameClient } from './support/frame-client.js';
import { startTransports, type Transports } from './support/start-transports.js';

let t: Transports;
let client: FrameClient;
beforeEach(async () => {
  t = await startTransports();
  client = await FrameClient.connect(t.wsUrl);
  await client.ofType('connection.ready');
});
afterEach(() => t.stop());

it('[CMD-1] answers a command once, with where it took effect', async () => {
  const session = t.api.create();
  t.api.answer = () => ({ applied_at_seq: 7, result: { turn_id: 'turn_1', message_id: 'm', position: 0 } });
  client.send({ type: 'user.message', id: 'c1', session_id: session.id, content: 'hello' });
  expect(await client.reply('c1')).toEqual({
    type: 'command.accepted',
    id: 'c1',
    session_id: session.id,
    applied_at_seq: 7,
    result: { turn_id: 'turn_1', message_id: 'm', position: 0 },
  });
  expect(t.api.calls[0]).toMatchObject({
    caller: { principal: { user_id: 'local' }, connectionId: expect.stringMatching(/^conn_/) },
    command: { type: 'user.message', content: [{ type: 'text', text: 'hello' }] },
  });
});

it('[CMD-1] answers a refusal with its place in the error table', async () => {
  const session = t.api.create();
  t.api.answer = () => {
    throw new MidstreamError('budget_held', 'held', { retryAfterMs: 1_500, details: { window: 'day' } });
  };
  client.send({ type: 'user.message', id: 'c1', session_id: session.id, content: 'x' });
  expect(await client.reply('c1')).toEqual({
    type: 'command.rejected',
    id: 'c1',
    session_id: session.id,
    error: {
      type: 'rate_limit_error',
      code: 'budget_held',
      message: 'held',
      retryable: true,
      retry_after_ms: 1_500,
      details: { window: 'day' },
    },
  });
});

it('answers a bug of the server with internal, logs it, and goes on', async () => {
  const session = t.api.create();
  t.api.answer = () => {
    throw new TypeError('secret detail');
  };
  client.send({ type: 'user.message', id: 'c1', session_id: session.id, content: 'x' });
  const reply = await client.reply('c1');
  expect(reply).toMatchObject({ type: 'command.rejected', error: { code: 'internal', retryable: true } });
  expect(JSON.stringify(reply)).not.toContain('secret detail');
  expect(t.logger.records.find((r) => r.level === 'error')?.fields).toMatchObject({
    stack: expect.stringContaining('secret detail'),
  });
  client.send({ type: 'ping', id: 'p' });
  await client.ofType('pong');
});

it('[CAN-1] an interrupt overtakes a message that is not answered yet; [CMD-5] both are handed over in order', async () => {
  const session = t.api.create();
  let acceptMessage: (accepted: Accepted) => void = () => {};
  t.api.answer = (command) =>
    command.type === 'user.message'
      ? new Promise((resolve) => {
          acceptMessage = resolve;
        })
      : { result: { outcome: 'cancelled' } };
  client.send({ type: 'user.message', id: 'm', session_id: session.id, content: 'x' });
  client.send({ type: 'user.interrupt', id: 'i', session_id: session.id, command_id: 'm' });
  expect(await client.reply('i')).toMatchObject({ type: 'command.accepted' });
  expect(client.frames.some((f) => f['id'] === 'm')).toBe(false);
  expect(t.api.calls.map((c) => c.command.type)).toEqual(['user.message', 'user.interrupt']);
  acceptMessage({ result: {} });
  await client.reply('m');
});

it('[CMD-5] hands over a burst of a hundred commands in the order sent', async () => {
  const session = t.api.create();
  const ids = Array.from({ length: 100 }, (_, n) => `c${n}`);
  for (const id of ids) client.send({ type: 'user.message', id, session_id: session.id, content: id });
  await client.reply('c99');
  expect(t.api.calls.map((c) => c.command.id)).toEqual(ids);
  expect(client.frames.filter((f) => f.type === 'command.accepted')).toHaveLength(100);
});

it('[AUTH-3] a session of nobody’s is session_not_found, for every command', async () => {
  const at = { session_id: 'sesn_none' };
  const commands = [
    { type: 'user.message', content: 'x', ...at },
    { type: 'user.steer', content: 'x', ...at },
    { type: 'user.interrupt', ...at },
    { type: 'tools.unregister', names: ['a'], ...at },
    { type: 'presence.update', state: {}, ...at },
    { type: 'session.attach', ...at },
  ];
  for (const [n, command] of commands.entries()) {
    client.send({ ...command, id: `c${n}` });
    expect(await client.reply(`c${n}`)).toMatchObject({ error: { code: 'session_not_found' } });
  }
});

it('registers tools and presence for its connection', async () => {
  const session = t.api.create();
  client.send({
    type: 'tools.register',
    id: 't',
    session_id: session.id,
    tools: [{ name: 'edit', description: 'd', input_schema: { type: 'object', properties: {} } }],
  });
  client.send({ type: 'presence.update', id: 'p', session_id: session.id, state: { cursor: 3 } });
  await client.reply('p');
  const ids = new Set(t.api.calls.map((c) => c.caller.connectionId));
  expect([...ids]).toEqual([(await client.ofType('connection.ready'))['connection_id']]);
});

it('[CMD-4] a disconnect sends no command; the session room hears that the connection is gone', async () => {
  const session = t.api.create();
  let accept: (accepted: Accepted) => void = () => {};
  const accepted = new Promise<Accepted>((resolve) => {
    accept = resolve;
  });
  t.api.answer = () => accepted;
  client.send({ type: 'user.message', id: 'm', session_id: session.id, content: 'x' });
  client.send({ type: 'ping', id: 'p' });
  await client.ofType('pong');
  const gone = new Promise<void>((resolve) => {
    t.api.connectionClosed = (id) => {
      t.api.closedConnections.push(id);
      resolve();
    };
  });
  client.socket.terminate();
  await gone;
  accept({ result: {} });
  await accepted;
  expect(t.api.calls).toHaveLength(1);
  expect(t.api.closedConnections).toHaveLength(1);
  expect(t.ws.connectionCount).toBe(0);
});

it('a bug behind the door closes this connection with 4500, announced, and no other', async () => {
  const other = await FrameClient.connect(t.wsUrl);
  const session = t.api.create();
  const { attach } = t.api;
  t.api.attach = async (...args) => ({
    ...(await attach.apply(t.api, args)),
    start: () => {
      throw new TypeError('a bug');
    },
  });
  client.send({ type: 'session.attach', id: 'a', session_id: session.id });
  expect((await client.closed).code).toBe(4500);
  expect(client.frames.map((f) => f.type)).toEqual(['connection.ready', 'command.accepted', 'connection.closing']);
  t.api.connectionClosed = () => {
    throw new TypeError('another bug');
  };
  const third = await FrameClient.connect(t.wsUrl);
  third.close();
  await third.closed;
  other.send({ type: 'ping', id: 'p' });
  await other.ofType('pong');
});
