/** `GET /v1/sessions/:id/events/stream`: the log as Server-Sent Events. */
import { get, type IncomingMessage } from 'node:http';
import type { FakeSubscription } from './support/fake-session-api.js';
import { SseReader } from './support/sse-reader.js';
import { startTransports, type Transports } from './support/start-transports.js';

let t: Transports;
beforeEach(async () => {
  t = await startTransports();
});
afterEach(() => t.stop());

async function open(id: string, query = '', headers: Record<string, string> = {}): Promise<SseReader> {
  const response = await fetch(`${t.url}/v1/sessions/${id}/events/stream${query}`, { headers });
  return new SseReader(response);
}

it('sends its headers at once, before any event', async () => {
  const session = t.api.create();
  const { response } = await open(session.id);
  expect(response.status).toBe(200);
  expect(Object.fromEntries(response.headers)).toMatchObject({
    'content-type': 'text/event-stream',
    'cache-control': 'no-cache, no-transform',
    'x-accel-buffering': 'no',
    'x-request-id': expect.any(String),
  });
});

it('is live from the head: id, event, and data that is the frame', async () => {
  const session = t.api.create();
  session.append('session.status_running');
  const stream = await open(session.id);
  const record = session.append('turn.started', { turn_id: 't' });
  await stream.until((r) => r.events.length === 1);
  expect(stream.events[0]).toEqual({
    id: 'e1:2',
    event: 'turn.started',
    data: JSON.parse(record.kind === 'event' ? record.json : ''),
  });
});

it('resumes from after_seq, and from Last-Event-ID before that', async () => {
  const session = t.api.create();
  for (let n = 0; n < 4; n += 1) session.append('session.status_running');
  const byQuery = await (await open(session.id, '?after_seq=2')).until((r) => r.events.length === 2);
  expect(byQuery.events.map((e) => e.id)).toEqual(['e1:3', 'e1:4']);
  const byHeader = await open(session.id, '?after_seq=0', { 'Last-Event-ID': 'e1:3' });
  await byHeader.until((r) => r.events.length === 1);
  expect(byHeader.events[0]?.id).toBe('e1:4');
});

it('[LOG-4] another epoch gives a snapshot, then what follows', async () => {
  const session = t.api.create();
  session.append('session.status_running');
  const stream = await open(session.id, '', { 'Last-Event-ID': 'other:7' });
  await stream.until((r) => r.events.length === 1);
  expect(stream.events[0]).toMatchObject({
    id: 'e1:1',
    event: 'session.snapshot',
    data: { epoch: 'e1', seq: 1, messages: [] },
  });
  session.append('session.status_running');
  await stream.until((r) => r.events.length === 2);
});

it.each([
  ['?after_seq=x', {}],
  ['', { 'Last-Event-ID': 'nonsense' }],
])('refuses a cursor that is none: %s %j', async (query, headers) => {
  const { response } = await open(t.api.create().id, query, headers as Record<string, string>);
  expect(response.status).toBe(400);
});

it.each(['?event_deltas=agent.message', '?event_deltas[]=agent.message&event_deltas[]=nonsense'])(
  '[LOG-3] %s previews text only, and names prev_seq where something was left out',
  async (query) => {
    const session = t.api.create();
    const stream = await open(session.id, query);
    session.append('event_start', { event: { type: 'agent.thinking', id: 'th' } });
    session.delta('t', 'th', 'hm', 'thinking');
    session.append('event_start', { event: { type: 'agent.message', id: 'e' } });
    session.delta('t', 'e', 'Hello');
    session.delta('t', 'x', '{"a"', 'input');
    session.append('agent.message', { content: [] });
    await stream.until((r) => r.events.at(-1)?.event === 'agent.message');
    expect(stream.events.map((e) => [e.event, e.id, e.data.prev_seq])).toEqual([
      ['event_start', 'e1:3', 0],
      ['event_delta', 'e1:4', undefined],
      ['agent.message', 'e1:6', 4],
    ]);
    let last = 0;
    for (const { data } of stream.events) {
      expect(data.prev_seq ?? data.seq - 1).toBe(last);
      last = data.seq;
    }
  },
);

it('without event_deltas none comes', async () => {
  const session = t.api.create();
  const stream = await open(session.id);
  session.append('event_start', { event: { type: 'agent.message', id: 'e' } });
  session.delta('t', 'e', 'Hello');
  session.append('agent.message', { content: [] });
  await stream.until((r) => r.events.length === 1);
  expect(stream.events[0]?.data).toMatchObject({ seq: 3, prev_seq: 0 });
});

it('sends a comment every 15 s, by one timer for all streams', async () => {
  const session = t.api.create();
  const streams = await Promise.all([open(session.id), open(session.id)]);
  const timers = t.clock.pending;
  t.clock.advance(15_000);
  for (const stream of streams) await stream.until((r) => r.comments.length === 1);
  t.clock.advance(15_000);
  for (const stream of streams) await stream.until((r) => r.comments.length === 2);
  expect(timers).toBe(1);
  for (const stream of streams) await stream.cancel();
  await waitUntil(() => t.streams.streamCount === 0);
  expect(t.clock.pending).toBe(0);
});

it('[CMD-4] a client that goes away is detached, and nothing is cancelled', async () => {
  const session = t.api.create();
  const stream = await open(session.id);
  expect(session.subscriptions.size).toBe(1);
  await stream.cancel();
  await waitUntil(() => session.subscriptions.size === 0);
  expect(t.api.calls).toEqual([]);
});

it('writes what one pull gave as one chunk', async () => {
  const session = t.api.create();
  for (let n = 0; n < 20; n += 1) session.append('session.status_running');
  const path = `/v1/sessions/${session.id}/events/stream?after_seq=0`;
  const chunks: string[] = [];
  const res = await new Promise<IncomingMessage>((resolve) => get({ port: t.port, host: '127.0.0.1', path }, resolve));
  res.on('data', (chunk) => chunks.push(String(chunk)));
  await waitUntil(() => chunks.join('').includes('"seq":20'));
  expect(chunks).toHaveLength(1);
  res.destroy();
});

it('[LOG-6] a stream that is not read blocks its own cursor only, and goes on when it is read', async () => {
  const session = t.api.create();
  const path = `/v1/sessions/${session.id}/events/stream`;
  const res = await new Promise<IncomingMessage>((resolve) => get({ port: t.port, host: '127.0.0.1', path }, resolve));
  res.pause();
  const [stuck] = [...session.subscriptions] as [FakeSubscription];
  while (!stuck.isBlocked) {
    session.append('agent.message', { content: [{ type: 'text', text: 'x'.repeat(60_000) }] });
    await new Promise((resolve) => setImmediate(resolve));
    if (session.head > 2_000) throw new Error('the slow stream never blocked');
  }
  const other = await open(session.id);
  session.append('session.status_running');
  await other.until((r) => r.events.length === 1);
  expect(stuck.position).toBeLessThan(session.head);
  let text = '';
  res.setEncoding('utf8').on('data', (chunk) => {
    text = (text + chunk).slice(-200);
  });
  res.resume();
  await waitUntil(() => text.includes(`"seq":${session.head}`));
  res.destroy();
});

it('ends when the session is gone, after saying so', async () => {
  const session = t.api.create();
  const stream = await open(session.id);
  const [subscription] = [...session.subscriptions] as [FakeSubscription];
  subscription.sink.control({ type: 'presence.changed', session_id: session.id, members: [] });
  session.append('session.deleted');
  subscription.sink.control({ type: 'connection.detached', session_id: session.id, code: 'session_not_found' });
  expect((await stream.all()).map((e) => e.event)).toEqual(['session.deleted', 'connection.detached']);
});

it('ends a slow stream with what became of it', async () => {
  const session = t.api.create();
  const stream = await open(session.id);
  const [subscription] = [...session.subscriptions] as [FakeSubscription];
  subscription.sink.close(4508, 'slow');
  expect((await stream.all()).at(-1)).toMatchObject({
    event: 'connection.closing',
    data: { code: 4508, reconnect: true },
  });
});

it('[AUTH-2] a stream ends with its token, and says why', async () => {
  await t.stop();
  t = await startTransports({ auth: 'required' });
  const session = t.api.create('alice');
  const stream = await open(session.id, '', { 'X-API-Key': 'alice:100' });
  const lasting = await open(session.id, '', { 'X-API-Key': 'alice' });
  t.clock.advance(99_999);
  session.append('session.status_running');
  await stream.until((r) => r.events.length === 1);
  t.clock.advance(1);
  expect((await stream.all()).at(-1)).toMatchObject({
    event: 'connection.closing',
    data: { code: 4401, reconnect: false },
  });
  session.append('session.status_running');
  await lasting.until((r) => r.events.length === 2);
});

it('a shutdown ends the streams, and says that reconnecting helps', async () => {
  const stream = await open(t.api.create().id);
  t.streams.close();
  expect(await stream.all()).toMatchObject([{ event: 'connection.closing', data: { code: 1001, reconnect: true } }]);
});

async function waitUntil(holds: () => boolean): Promise<void> {
  while (!holds()) await new Promise((resolve) => setImmediate(resolve));
}
