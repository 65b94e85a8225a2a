/** One connection after another: silence, drain, tokens, refusals, and when to stop. */
import { MidstreamError } from '../../client-sdk/index.js';
import { closeAll, createTurnWriter, startClient, startFakeServer } from './support/harness.js';

afterEach(closeAll);

const isReady = ({ state }: { state: string }): boolean => state === 'ready';

it('reconnects when the server falls silent, for a socket may die without a word', async () => {
  const server = await startFakeServer();
  const { client, status } = startClient(server, { pingAfterMs: 15, pongTimeoutMs: 15 });
  const session = await client.createSession();
  server.treat = (frame) => (frame.type === 'ping' && frame.connection.id === 'conn_1' ? 'ignored' : 'usual');
  const lost = await status(({ state }) => state === 'waiting');
  expect(lost).toMatchObject({ reason: 'the server fell silent' });
  await server.command('session.attach', 2);
  expect(session.id).toBe('sesn_1');
});

it('stays connected while pings are answered', async () => {
  const server = await startFakeServer();
  const { statuses } = startClient(server, { pingAfterMs: 5, pongTimeoutMs: 100 });
  await server.command('ping', 3);
  expect(statuses.map(({ state }) => state)).toEqual(['connecting', 'ready']);
});

it('gives up a connection that never becomes ready', async () => {
  const server = await startFakeServer({ auth: 'token' });
  const { status } = startClient(server, { openTimeoutMs: 20 });
  await expect(status(({ state }) => state === 'waiting')).resolves.toMatchObject({
    reason: 'no answer while connecting',
  });
});

it('leaves a draining node after the hint, without losing an answer', async () => {
  const server = await startFakeServer();
  const { client, statuses } = startClient(server);
  const session = await client.createSession();
  server.connection.send({ type: 'connection.draining', reconnect_after_ms: 5 });
  const turn = session.prompt('while draining');
  await expect(turn.accepted).resolves.toMatchObject({ position: 0 });
  await server.until(() => server.connections.length === 2);
  await server.command('session.attach', 2);
  expect(statuses.map(({ state }) => state)).not.toContain('closed');
});

it.each([
  [4400, 'invalid_request'],
  [4401, 'unauthenticated'],
  [4403, 'forbidden'],
  [4429, 'rate_limited'],
  [1009, 'payload_too_large'],
])('stops after close code %i, for coming back unchanged would fail again', async (code, expected) => {
  const server = await startFakeServer();
  const { client, status } = startClient(server);
  const session = await client.createSession();
  const turn = session.prompt('go');
  await turn.accepted;
  server.connection.close(code, 'said why');
  const closed = await status(({ state }) => state === 'closed');
  expect(closed).toMatchObject({ error: { code: expected, message: expect.stringContaining('said why') } });
  await expect(turn.ended).rejects.toBeInstanceOf(MidstreamError);
  await expect(session.interrupt()).rejects.toMatchObject({ code: expected });
  expect(server.connections).toHaveLength(1);
});

it.each([1001, 1006, 1011, 4408, 4500, 4508])('comes back after close code %i', async (code) => {
  const server = await startFakeServer();
  const { client } = startClient(server);
  const session = await client.createSession();
  if (code === 1006) server.connection.terminate();
  else server.connection.close(code);
  await server.until(() => server.of('session.attach').length === 2);
  await expect(session.prompt('go').accepted).resolves.toMatchObject({ position: 0 });
});

it('[AUTH-1] sends its token first, and asks its source for each connection', async () => {
  const server = await startFakeServer({ auth: 'token' });
  let asked = 0;
  const { client, status } = startClient(server, { token: async () => `token ${++asked}` });
  await client.createSession();
  expect(server.received[0]).toMatchObject({ type: 'connection.authenticate', token: 'token 1' });
  client.drop();
  await server.until(() => server.tokens.length === 2);
  expect(server.tokens).toEqual(['token 1', 'token 2']);
  await status(isReady);
});

it('[AUTH-2] renews its token when it is told that it runs out', async () => {
  const server = await startFakeServer({ auth: 'token' });
  let asked = 0;
  const { client } = startClient(server, { token: () => `token ${++asked}` });
  await client.createSession();
  server.connection.send({ type: 'connection.token_expiring', expires_at: '2026-01-01T00:00:00.000Z' });
  await server.command('connection.authenticate', 2);
  expect(server.tokens).toEqual(['token 1', 'token 2']);
  expect(server.connections).toHaveLength(1);
});

it('[AUTH-2] comes back with a new token after its old one ran out, where it can get one', async () => {
  const server = await startFakeServer({ auth: 'token' });
  let asked = 0;
  const { client } = startClient(server, { token: () => `token ${++asked}` });
  await client.createSession();
  server.connection.close(4401, 'token_expired');
  await server.command('connection.authenticate', 2);
  expect(server.tokens).toEqual(['token 1', 'token 2']);
});

it('waits and tries again when the source of tokens fails', async () => {
  const server = await startFakeServer({ auth: 'token' });
  let asked = 0;
  const token = async (): Promise<string> => {
    asked += 1;
    if (asked === 1) throw new Error('the identity provider is away');
    return 'late';
  };
  const { client, statuses } = startClient(server, { token });
  await client.createSession();
  expect(statuses).toContainEqual(expect.objectContaining({ reason: 'the identity provider is away' }));
});

it('keeps below the command rate that the server named', async () => {
  const server = await startFakeServer({ limits: { commands_per_second: 50 } });
  const { client } = startClient(server);
  const session = await client.createSession();
  const startedMs = performance.now();
  // 40 may go at once (80 % of 50); the rest follow at 40 a second.
  await Promise.all(Array.from({ length: 50 }, (_, at) => session.steer(`${at}`)));
  expect(performance.now() - startedMs).toBeGreaterThan(200);
  expect(server.of('user.steer').map(({ content }) => content)).toEqual(Array.from({ length: 50 }, (_, at) => `${at}`));
});

it('refuses a command that is larger than the server takes, and keeps the connection', async () => {
  const server = await startFakeServer({ limits: { frame_bytes: 1_000 } });
  const { client } = startClient(server);
  const session = await client.createSession();
  await expect(session.steer('é'.repeat(600))).rejects.toMatchObject({ code: 'payload_too_large' });
  await expect(session.steer('é'.repeat(300))).resolves.toBeDefined();
});

it('tells a listener’s exception to onError, and goes on', async () => {
  const server = await startFakeServer();
  const { client, errors } = startClient(server);
  const session = await client.createSession();
  session.subscribe(() => {
    throw new Error('broken listener');
  });
  const turn = session.prompt('go');
  await turn.accepted;
  createTurnWriter(server, session.id, turn.turnId!).end();
  await turn.ended;
  expect(errors).toContainEqual(expect.objectContaining({ message: 'broken listener' }));
});

it('finds `ws` in a Node without a WebSocket of its own', async () => {
  const original = globalThis.WebSocket;
  // @ts-expect-error Node 20 has none, later ones do.
  globalThis.WebSocket = undefined;
  try {
    const server = await startFakeServer();
    await expect(startClient(server).client.createSession()).resolves.toBeDefined();
  } finally {
    globalThis.WebSocket = original;
  }
});
