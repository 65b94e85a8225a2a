/** Heartbeat, slow consumers, drain and close. */

import type { FakeSubscription } from './support/fake-session-api.js';
import { FrameClient } from './support/frame-client.js';
import { startTransports, type Transports } from './support/start-transports.js';

let t: Transports;
beforeEach(async () => {
  t = await startTransports();
});
afterEach(() => t.stop());

const open = async (): Promise<FrameClient> => {
  const client = await FrameClient.connect(t.wsUrl);
  await client.ofType('connection.ready');
  return client;
};

it('pings every 25 s, by one timer for all connections', async () => {
  const clients = await Promise.all([open(), open(), open()]);
  expect(t.clock.pending).toBe(1);
  const pings = clients.map((client) => new Promise((resolve) => client.socket.once('ping', resolve)));
  t.clock.advance(25_000);
  await Promise.all(pings);
  expect(t.clock.pending).toBe(1);
  for (const client of clients) client.close();
  await Promise.all(clients.map((client) => client.closed));
  await waitUntil(() => t.ws.connectionCount === 0);
  expect(t.clock.pending).toBe(0);
});

it('drops a peer of which nothing was heard for 60 s with 4408, and says that reconnecting helps', async () => {
  const client = await open();
  t.clock.advance(60_000);
  expect((await client.closed).code).toBe(4408);
  expect(client.frames.at(-1)).toMatchObject({ type: 'connection.closing', code: 4408, reconnect: true });
});

it('a pong is enough to stay', async () => {
  const client = await open();
  for (let n = 0; n < 8; n += 1) {
    const pinged = new Promise((resolve) => client.socket.once('ping', resolve));
    t.clock.advance(25_000);
    await pinged;
    client.send({ type: 'ping', id: `p${n}` });
    await client.frame((f) => f['id'] === `p${n}`);
  }
});

it('[LOG-6] a subscriber that does not read costs at most 256 KiB of buffer beyond one pull, delays nobody, and gets all later', async () => {
  const session = t.api.create();
  const slow = await open();
  const quick = await open();
  for (const client of [slow, quick]) {
    client.send({ type: 'session.attach', id: 'a', session_id: session.id });
    await client.reply('a');
  }
  slow.socket.pause();
  const [stuck] = [...session.subscriptions] as [FakeSubscription];
  const text = 'x'.repeat(60_000);
  let seq = 0;
  while (!stuck.isBlocked) {
    session.append('agent.message', { content: [{ type: 'text', text }], status: 'complete' });
    seq += 1;
    await quick.frame((f) => f['seq'] === seq);
    if (seq > 2_000) throw new Error('the slow subscriber never blocked');
  }
  const position = stuck.position;
  for (let n = 0; n < 20; n += 1) {
    session.append('session.status_running');
    seq += 1;
  }
  await quick.frame((f) => f['seq'] === seq);
  expect(stuck.position).toBe(position);
  slow.socket.resume();
  await slow.frame((f) => f['seq'] === seq);
  expect(slow.frames.filter((f) => 'seq' in f).map((f) => f['seq'])).toEqual(
    Array.from({ length: seq }, (_, n) => n + 1),
  );
});

it('[LOG-6] closes with 4508 when the subscription says so, announced', async () => {
  const session = t.api.create();
  const client = await open();
  client.send({ type: 'session.attach', id: 'a', session_id: session.id });
  await client.reply('a');
  const [subscription] = [...session.subscriptions] as [FakeSubscription];
  subscription.sink.close(4508, 'The socket took nothing for 30 s');
  expect((await client.closed).code).toBe(4508);
  expect(client.frames.at(-1)).toMatchObject({ type: 'connection.closing', code: 4508, reconnect: true });
  await waitUntil(() => session.subscriptions.size === 0);
});

it('a client that floods without reading the replies is not read any further, and closed after 30 s', async () => {
  const session = t.api.create();
  session.messages = [{ role: 'assistant', content: [{ type: 'text', text: 'x'.repeat(500_000) }] }];
  const client = await open();
  client.socket.pause();
  let attaches = 0;
  t.api.beforeAttach = async () => {
    attaches += 1;
  };
  for (let n = 0; n < 300; n += 1) client.send({ type: 'session.attach', id: `a${n}`, session_id: session.id });
  await waitUntil(() => attaches > 3);
  let before = -1;
  while (before !== attaches) {
    before = attaches;
    for (let n = 0; n < 50; n += 1) await new Promise((resolve) => setImmediate(resolve));
  }
  expect(attaches).toBeLessThan(300);
  // On a busy machine the socket may fill up only now; then the next 30 s count.
  while (t.ws.connectionCount > 0) {
    t.clock.advance(31_000);
    for (let n = 0; n < 50; n += 1) await new Promise((resolve) => setImmediate(resolve));
  }
});

it('joins what is written in one tick into one segment', async () => {
  const session = t.api.create();
  const client = await open();
  client.send({ type: 'session.attach', id: 'a', session_id: session.id, deltas: true });
  await client.reply('a');
  const tcp = (client.socket as unknown as { _socket: NodeJS.EventEmitter })._socket;
  let segments = 0;
  tcp.on('data', () => {
    segments += 1;
  });
  for (let n = 0; n < 20; n += 1) session.delta('t', 'e', `word${n} `);
  await client.frame((f) => f['seq'] === 20);
  expect(segments).toBe(1);
});

it('drain tells every client; close ends each with 1001 and resolves when the last is gone', async () => {
  const clients = await Promise.all([open(), open()]);
  t.ws.drain(2_500);
  for (const client of clients)
    expect(await client.ofType('connection.draining')).toEqual({
      type: 'connection.draining',
      reconnect_after_ms: 2_500,
    });
  await t.ws.close();
  expect(t.ws.connectionCount).toBe(0);
  for (const client of clients) {
    expect((await client.closed).code).toBe(1001);
    expect(client.frames.at(-1)).toMatchObject({ type: 'connection.closing', code: 1001, reconnect: true });
  }
});

async function waitUntil(holds: () => boolean): Promise<void> {
  while (!holds()) await new Promise((resolve) => setImmediate(resolve));
}
