/** Subscriptions over one connection: order, replacement, races, limits. */
import type { FakeSubscription } from './support/fake-session-api.js';
import { FrameClient } from './support/frame-client.js';
import { startTransports, type Transports } from './support/start-transports.js';

let t: Transports;
let client: FrameClient;
beforeEach(async () => {
  t = await startTransports({ limits: { sessions_per_socket: 3 } });
  client = await FrameClient.connect(t.wsUrl);
  await client.ofType('connection.ready');
});
afterEach(() => t.stop());

const attach = (id: string, session: { id: string }, fields: object = {}): void =>
  client.send({ type: 'session.attach', id, session_id: session.id, ...fields });
const seqs = (): unknown[] => client.frames.filter((f) => 'seq' in f).map((f) => f['seq']);

it('the reply precedes the first event, and a replay gives every later one', async () => {
  const session = t.api.create();
  for (let n = 0; n < 5; n += 1) session.append('session.status_running');
  attach('a', session, { after_seq: 2 });
  await client.frame((f) => f['seq'] === 5);
  expect(client.frames[1]).toMatchObject({
    type: 'command.accepted',
    id: 'a',
    result: { mode: 'replay', epoch: 'e1', head_seq: 5 },
  });
  expect(seqs()).toEqual([3, 4, 5]);
});

it('without after_seq it is a snapshot, and what follows', async () => {
  const session = t.api.create();
  session.append('session.status_running');
  attach('a', session);
  expect(await client.reply('a')).toMatchObject({ result: { mode: 'snapshot', snapshot: { seq: 1 } } });
  session.append('session.status_idle', { stop_reason: { type: 'end_turn' } });
  await client.frame((f) => f['seq'] === 2);
  expect(seqs()).toEqual([2]);
});

it('[LOG-3] names prev_seq where deltas were left out', async () => {
  const session = t.api.create();
  attach('a', session, { after_seq: 0 });
  await client.reply('a');
  session.append('turn.started', { turn_id: 't' });
  session.delta('t', 'e', 'one');
  session.delta('t', 'e', 'two');
  session.append('turn.ended', { turn_id: 't' });
  expect(await client.frame((f) => f['seq'] === 4)).toMatchObject({ prev_seq: 1 });
  expect(client.frames.find((f) => f['seq'] === 1)).not.toHaveProperty('prev_seq');
});

it('deltas come as asked, in the shape of the protocol', async () => {
  const session = t.api.create();
  attach('a', session, { after_seq: 0, deltas: true });
  await client.reply('a');
  session.delta('turn_1', 'sevt_9', 'a "quoted" text\n');
  expect(await client.ofType('event_delta')).toEqual({
    type: 'event_delta',
    session_id: session.id,
    turn_id: 'turn_1',
    seq: 1,
    event_id: 'sevt_9',
    delta: { type: 'content_delta', index: 0, content: { type: 'text', text: 'a "quoted" text\n' } },
  });
});

it('a second attach replaces the first', async () => {
  const session = t.api.create();
  attach('a', session);
  attach('b', session, { after_seq: 0 });
  await client.reply('b');
  session.append('session.status_running');
  await client.frame((f) => f['seq'] === 1);
  client.send({ type: 'ping', id: 'p' });
  await client.ofType('pong');
  expect(seqs()).toEqual([1]);
  expect(session.subscriptions.size).toBe(1);
});

it('attaches that race take effect in the order sent, though the first takes longer', async () => {
  const session = t.api.create();
  session.append('session.status_running');
  let release: () => void = () => {};
  const slow = new Promise<void>((resolve) => {
    release = resolve;
  });
  t.api.beforeAttach = ({ afterSeq }) => (afterSeq === undefined ? slow : Promise.resolve());
  attach('slow', session);
  attach('fast', session, { after_seq: 0 });
  client.send({ type: 'ping', id: 'p' });
  await client.ofType('pong');
  release();
  await client.frame((f) => f['seq'] === 1);
  const replies = client.frames.filter((f) => f.type === 'command.accepted').map((f) => f['id']);
  expect(replies).toEqual(['slow', 'fast']);
  expect(session.subscriptions.size).toBe(1);
  expect(seqs()).toEqual([1]);
});

it('[CMD-3] a refused attach leaves the earlier one as it was', async () => {
  const session = t.api.create();
  attach('a', session);
  await client.reply('a');
  t.api.beforeAttach = () => Promise.reject(new Error('store'));
  attach('b', session);
  expect(await client.reply('b')).toMatchObject({ type: 'command.rejected', error: { code: 'internal' } });
  session.append('session.status_running');
  await client.frame((f) => f['seq'] === 1);
});

it('after detach nothing of the session comes', async () => {
  const session = t.api.create();
  attach('a', session);
  client.send({ type: 'session.detach', id: 'd', session_id: session.id });
  expect(await client.reply('d')).toEqual({ type: 'command.accepted', id: 'd', session_id: session.id, result: {} });
  session.append('session.status_running');
  client.send({ type: 'ping', id: 'p' });
  await client.ofType('pong');
  expect(seqs()).toEqual([]);
  expect(session.subscriptions.size).toBe(0);
});

it('watches as many sessions as the limit says, and no more; attaching one again doesn’t count twice', async () => {
  const sessions = Array.from({ length: 4 }, () => t.api.create());
  for (const session of sessions.slice(0, 3)) attach(`a${session.id}`, session);
  attach('again', sessions[0] as { id: string });
  attach('over', sessions[3] as { id: string });
  expect(await client.reply('again')).toMatchObject({ type: 'command.accepted' });
  expect(await client.reply('over')).toMatchObject({
    type: 'command.rejected',
    error: { code: 'invalid_request', message: expect.stringContaining('3 sessions') },
  });
  client.send({ type: 'session.detach', id: 'd', session_id: sessions[0]?.id });
  await client.reply('d');
  attach('now', sessions[3] as { id: string });
  expect(await client.reply('now')).toMatchObject({ type: 'command.accepted' });
});

it('a failed attach takes no place', async () => {
  for (const n of [1, 2, 3, 4, 5]) {
    attach(`x${n}`, { id: `none${n}` });
    expect(await client.reply(`x${n}`)).toMatchObject({ error: { code: 'session_not_found' } });
  }
});

it('passes on what concerns the subscription, and forgets it when the server ended it', async () => {
  const sessions = Array.from({ length: 4 }, () => t.api.create());
  for (const session of sessions.slice(0, 3)) attach(`a${session.id}`, session);
  await client.reply(`a${sessions[2]?.id}`);
  const [subscription] = [...(sessions[0]?.subscriptions ?? [])] as FakeSubscription[];
  subscription?.sink.control({ type: 'presence.changed', session_id: 's', members: [] });
  subscription?.sink.control({
    type: 'connection.detached',
    session_id: sessions[0]?.id ?? '',
    code: 'session_not_found',
  });
  await client.ofType('connection.detached');
  expect(sessions[0]?.subscriptions.size).toBe(0);
  attach('again', sessions[3] as { id: string });
  expect(await client.reply('again')).toMatchObject({ type: 'command.accepted' });
});

it('a connection that goes while it attaches leaves no subscription behind', async () => {
  const session = t.api.create();
  let release: () => void = () => {};
  t.api.beforeAttach = () =>
    new Promise<void>((resolve) => {
      release = resolve;
    });
  attach('a', session);
  client.send({ type: 'ping', id: 'p' });
  await client.ofType('pong');
  const gone = new Promise<void>((resolve) => {
    t.api.connectionClosed = () => resolve();
  });
  client.socket.terminate();
  await gone;
  release();
  await new Promise((resolve) => setImmediate(resolve));
  expect(session.subscriptions.size).toBe(0);
});
