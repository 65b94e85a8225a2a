/** The first frame, the deadline, renewal and expiry. */

import { TokenWatch } from '../../server/transports/token-watch.js';
import { FrameClient } from './support/frame-client.js';
import { ManualClock } from './support/manual-clock.js';
import { startTransports, type Transports } from './support/start-transports.js';

let t: Transports;
beforeEach(async () => {
  t = await startTransports({ auth: 'required' });
});
afterEach(() => t.stop());

const connectAs = async (token: string): Promise<FrameClient> => {
  const client = await FrameClient.connect(t.wsUrl, { headers: { Authorization: `Bearer ${token}` } });
  await client.ofType('connection.ready');
  return client;
};

/** Lets time pass for a client that is there and answers. */
const pass = async (client: FrameClient, ms: number): Promise<void> => {
  for (let left = ms; left > 0; left -= 20_000) {
    const id = `p${left}`;
    client.send({ type: 'ping', id });
    await client.frame((f) => f['id'] === id);
    t.clock.advance(Math.min(left, 20_000));
  }
};

it('takes connection.authenticate as the first frame: the reply, then the greeting', async () => {
  const client = await FrameClient.connect(t.wsUrl);
  client.send({ type: 'connection.authenticate', id: 'a', token: 'alice:600' });
  await client.ofType('connection.ready');
  expect(client.frames.map((f) => f.type)).toEqual(['command.accepted', 'connection.ready']);
  expect(client.frames[0]).toMatchObject({ id: 'a', result: { expires_at: client.frames[1]?.['token_expires_at'] } });
});

it('[CMD-5] carries out what was sent behind connection.authenticate, in order, as that user', async () => {
  const client = await FrameClient.connect(t.wsUrl);
  client.send({ type: 'connection.authenticate', id: 'a', token: 'alice' });
  client.send({ type: 'session.create', id: 'one' });
  client.send({ type: 'session.create', id: 'two' });
  await client.reply('two');
  expect(t.api.calls.map(({ caller, command }) => [caller.principal.user_id, command.id])).toEqual([
    ['alice', 'one'],
    ['alice', 'two'],
  ]);
});

it('[AUTH-1] closes with 4401 five seconds after the upgrade, whatever else was sent', async () => {
  const client = await FrameClient.connect(t.wsUrl);
  t.clock.advance(4_999);
  client.socket.ping();
  await new Promise((resolve) => client.socket.once('pong', resolve));
  expect(client.socket.readyState).toBe(client.socket.OPEN);
  t.clock.advance(1);
  expect((await client.closed).code).toBe(4401);
  expect(client.frames).toEqual([
    expect.objectContaining({ type: 'connection.closing', code: 4401, reconnect: false }),
  ]);
});

it('[AUTH-1] lets nothing through before: any other first frame is refused and ends the connection', async () => {
  const client = await FrameClient.connect(t.wsUrl);
  client.send({ type: 'session.create', id: 'x' });
  client.send({ type: 'session.create', id: 'y' });
  expect(await client.reply('x')).toMatchObject({ type: 'command.rejected', error: { code: 'unauthenticated' } });
  expect((await client.closed).code).toBe(4401);
  expect(t.api.calls).toHaveLength(0);
});

it('[AUTH-1] a malformed first frame gets no second try', async () => {
  const client = await FrameClient.connect(t.wsUrl);
  client.send({ type: 'connection.authenticate', id: 'x' });
  expect(await client.reply('x')).toMatchObject({ error: { code: 'invalid_request' } });
  expect((await client.closed).code).toBe(4401);
});

it('refuses a bad token in the first frame with its reason, and closes with 4401', async () => {
  const client = await FrameClient.connect(t.wsUrl);
  client.send({ type: 'connection.authenticate', id: 'x', token: 'bad' });
  expect(await client.reply('x')).toMatchObject({
    error: { code: 'unauthenticated', message: 'The token is not valid' },
  });
  expect((await client.closed).code).toBe(4401);
});

it('the deadline is off once authenticated', async () => {
  const client = await FrameClient.connect(t.wsUrl);
  client.send({ type: 'connection.authenticate', id: 'a', token: 'alice' });
  await client.ofType('connection.ready');
  t.clock.advance(10_000);
  client.send({ type: 'ping', id: 'p' });
  expect(await client.ofType('pong')).toEqual({ type: 'pong', id: 'p' });
});

it('[AUTH-2] warns 60 s ahead and closes with 4401 at exp', async () => {
  const client = await connectAs('alice:600');
  await pass(client, 539_999);
  client.send({ type: 'ping', id: 'p' });
  await client.frame((f) => f['id'] === 'p');
  expect(client.frames.map((f) => f.type)).not.toContain('connection.token_expiring');
  t.clock.advance(1);
  const warning = await client.ofType('connection.token_expiring');
  expect(Date.parse(String(warning['expires_at']))).toBe(t.clock.now() + 60_000);
  await pass(client, 60_000);
  expect((await client.closed).code).toBe(4401);
});

it('[AUTH-2] warns at 80 % of a life that is shorter than a minute', async () => {
  const client = await connectAs('alice:10');
  t.clock.advance(8_000);
  await client.ofType('connection.token_expiring');
  t.clock.advance(2_000);
  expect((await client.closed).code).toBe(4401);
});

it('[AUTH-2] renewal moves the end', async () => {
  const client = await connectAs('alice:100');
  client.send({ type: 'connection.authenticate', id: 'r', token: 'alice:1000' });
  const reply = await client.reply('r');
  expect(reply).toMatchObject({ type: 'command.accepted', result: { expires_at: expect.any(String) } });
  await pass(client, 900_000);
  client.send({ type: 'ping', id: 'p' });
  await client.frame((f) => f['id'] === 'p');
});

it('[AUTH-2] another user’s token is forbidden and changes nothing', async () => {
  const client = await connectAs('alice:100');
  client.send({ type: 'connection.authenticate', id: 'r', token: 'bob:1000' });
  expect(await client.reply('r')).toMatchObject({ type: 'command.rejected', error: { code: 'forbidden' } });
  client.send({ type: 'session.create', id: 'c' });
  await client.reply('c');
  expect(t.api.calls[0]?.caller.principal.user_id).toBe('alice');
  await pass(client, 100_000);
  expect((await client.closed).code).toBe(4401);
});

it('a token that lives for months is watched to its end, and no timer is longer than Node can wait', () => {
  const clock = new ManualClock();
  const waits: number[] = [];
  const events: string[] = [];
  const start = clock.now();
  const watch = new TokenWatch({
    clock: {
      now: () => clock.now(),
      schedule: (ms, fire) => {
        waits.push(ms);
        return clock.schedule(ms, fire);
      },
    },
    onExpiring: () => events.push(`expiring ${clock.now() - start}`),
    onExpired: () => events.push(`expired ${clock.now() - start}`),
  });
  const life = 90 * 86_400_000;
  watch.watch(start + life);
  clock.advance(life - 60_001);
  expect(events).toEqual([]);
  clock.advance(60_001);
  expect(events).toEqual([`expiring ${life - 60_000}`, `expired ${life}`]);
  expect(Math.max(...waits)).toBeLessThan(2 ** 31);
});
