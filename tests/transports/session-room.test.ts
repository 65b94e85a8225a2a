/** The three wires before the real session room: a whole server, the scripted model, raw frames and the official SDK. */
import { randomUUID } from 'node:crypto';
import Anthropic from '@anthropic-ai/sdk';
import { startTestServer, type TestServer } from '../../server/testing.js';
import { type Frame, FrameClient } from './support/frame-client.js';
import { SseReader } from './support/sse-reader.js';
import { RecordingLogger } from './support/start-transports.js';

const LONG = Array.from({ length: 400 }, (_, n) => `word${n}`).join(' ');
const script = {
  turns: [
    { match: { text: 'slowly' }, steps: [{ blocks: [{ type: 'text', text: LONG, tokens_per_second: 200 }] }] },
    { match: { text: 'much' }, steps: [{ blocks: [{ type: 'text', text: LONG.repeat(200) }] }] },
    {
      match: { text: 'look' },
      steps: [
        { blocks: [{ type: 'tool_use', name: 'look_up', input: { q: 'x' } }] },
        { blocks: [{ type: 'text', text: 'Found it.' }] },
      ],
    },
    { match: { text: 'fail' }, steps: [{ error: { kind: 'refused', message: 'no' } }] },
  ],
  fallback: { steps: [{ blocks: [{ type: 'text', text: 'Hello there.' }] }] },
};

let s: TestServer;
const logger = new RecordingLogger();
beforeAll(async () => {
  s = await startTestServer({
    logger,
    script,
    tools: [
      {
        name: 'look_up',
        description: 'Looks it up',
        input_schema: { type: 'object' },
        label: 'Looking up…',
        run: async () => 'the result',
      },
    ],
  });
});
afterAll(async () => {
  await s.stop();
  expect(logger.records.filter((record) => record.level === 'error')).toEqual([]);
});

const connect = async (): Promise<FrameClient> => {
  const client = await FrameClient.connect(s.wsUrl);
  await client.ofType('connection.ready');
  return client;
};
const createSession = async (client: FrameClient): Promise<string> => {
  // Creating dedupes by id for the user: each test needs its own.
  const id = `create_${randomUUID()}`;
  client.send({ type: 'session.create', id });
  const reply = await client.reply(id);
  return (reply['result'] as { session: { id: string } }).session.id;
};
const logged = (client: FrameClient): Frame[] =>
  client.frames.filter((f) => 'seq' in f && f.type !== 'command.accepted');
const textOf = (frames: readonly Frame[]): string =>
  frames
    .filter((f) => f.type === 'event_delta')
    .map((f) => (f['delta'] as { content?: { text: string } }).content?.text ?? '')
    .join('');
/** [LOG-3]'s proof that nothing was lost, from `last` on. */
const expectChain = (frames: readonly Frame[], from: number): void => {
  let last = from;
  for (const frame of frames) {
    expect(frame['prev_seq'] ?? (frame['seq'] as number) - 1).toBe(last);
    last = frame['seq'] as number;
  }
};
const post = (path: string, body: unknown, init: RequestInit = {}, headers: Record<string, string> = {}) =>
  fetch(`${s.url}${path}`, {
    method: 'POST',
    headers: { 'Content-Type': 'application/json', ...headers },
    body: JSON.stringify(body),
    ...init,
  });

it('[LOG-3] a turn over raw frames: the reply, then a log without a hole, whose deltas are the message', async () => {
  const client = await connect();
  const session_id = await createSession(client);
  client.send({ type: 'session.attach', id: 'a', session_id, deltas: true });
  const attached = (await client.reply('a'))['result'] as { head_seq: number };
  client.send({ type: 'user.message', id: 'm', session_id, content: 'hi' });
  expect(await client.reply('m')).toMatchObject({ type: 'command.accepted', result: { position: 0 } });
  await client.ofType('turn.ended');
  expectChain(logged(client), attached.head_seq);
  expect(textOf(logged(client))).toBe('Hello there.');
  expect(await client.ofType('agent.message')).toMatchObject({ content: [{ type: 'text', text: 'Hello there.' }] });
  client.close();
});

it('[CAN-1] an interrupt in the same burst as its message ends the turn, once', async () => {
  const client = await connect();
  const session_id = await createSession(client);
  client.send({ type: 'session.attach', id: 'a', session_id, deltas: true });
  client.send({ type: 'user.message', id: 'm', session_id, content: 'slowly' });
  client.send({ type: 'user.interrupt', id: 'i', session_id, command_id: 'm' });
  expect(await client.reply('m')).toMatchObject({ type: 'command.accepted' });
  const reply = await client.reply('i');
  expect(reply).toMatchObject({ type: 'command.accepted', result: { outcome: 'cancelled' } });
  await client.ofType('turn.ended');
  const after = logged(client).filter((f) => (f['seq'] as number) > (reply['applied_at_seq'] as number));
  expect(after.filter((f) => f.type === 'event_delta')).toEqual([]);
  expect(logged(client).filter((f) => f.type === 'turn.ended')).toHaveLength(1);
  client.close();
});

it('[LOG-4] a client that lost its socket mid-turn resumes by its cursor and has everything once', async () => {
  const first = await connect();
  const session_id = await createSession(first);
  first.send({ type: 'session.attach', id: 'a', session_id, deltas: true });
  const { epoch, head_seq } = (await first.reply('a'))['result'] as { epoch: string; head_seq: number };
  first.send({ type: 'user.message', id: 'm', session_id, content: 'slowly' });
  await first.frame(() => textOf(logged(first)).length > 100);
  first.socket.terminate();
  await first.closed;
  const before = logged(first);
  const second = await connect();
  const after_seq = before.at(-1)?.['seq'];
  second.send({ type: 'session.attach', id: 'b', session_id, deltas: true, after_seq, epoch });
  expect(await second.reply('b')).toMatchObject({ result: { mode: 'replay', epoch } });
  await second.ofType('turn.ended');
  expectChain([...before, ...logged(second)], head_seq);
  expect(textOf([...before, ...logged(second)])).toBe(LONG);
  second.close();
});

it('[LOG-6] a watcher that does not read delays nobody, and has the whole text when it reads again', async () => {
  const quick = await connect();
  const slow = await connect();
  const session_id = await createSession(quick);
  for (const client of [quick, slow]) {
    client.send({ type: 'session.attach', id: 'a', session_id, deltas: true });
    await client.reply('a');
  }
  slow.socket.pause();
  quick.send({ type: 'user.message', id: 'm', session_id, content: 'much', max_tokens: 500_000 });
  await quick.ofType('turn.ended');
  const message = (await quick.ofType('agent.message')) as Frame & { content: [{ text: string }] };
  const [{ text }] = message.content;
  // Compared by length and end: a difference of a megabyte is no use to print.
  const told = textOf(logged(quick));
  expect([told.length, told === text]).toEqual([text.length, true]);
  expect(text.length).toBeGreaterThan(500_000);
  slow.socket.resume();
  await slow.ofType('turn.ended');
  expectChain(logged(slow), 0);
  const seen = (await slow.ofType('agent.message')) as typeof message;
  expect(seen.content[0].text === text).toBe(true);
  quick.close();
  slow.close();
});

it('two attaches in one burst, mid-turn: the second is the one that delivers', async () => {
  const client = await connect();
  const session_id = await createSession(client);
  client.send({ type: 'user.message', id: 'm', session_id, content: 'hi' });
  client.send({ type: 'session.attach', id: 'a', session_id });
  client.send({ type: 'session.attach', id: 'b', session_id, after_seq: 0, deltas: true });
  await client.reply('b');
  await client.ofType('turn.ended');
  const second = client.frames.indexOf(await client.reply('b'));
  expectChain(
    client.frames.slice(second).filter((f) => logged(client).includes(f)),
    0,
  );
  client.close();
});

it('a session deleted under its watchers tells each of them, on either wire', async () => {
  const client = await connect();
  const session_id = await createSession(client);
  client.send({ type: 'session.attach', id: 'a', session_id });
  await client.reply('a');
  const stream = new SseReader(await fetch(`${s.url}/v1/sessions/${session_id}/events/stream`));
  expect((await fetch(`${s.url}/v1/sessions/${session_id}`, { method: 'DELETE' })).status).toBe(200);
  await client.ofType('connection.detached');
  expect((await stream.all()).map((e) => e.event)).toContain('session.deleted');
  client.send({ type: 'user.message', id: 'm', session_id, content: 'hi' });
  expect(await client.reply('m')).toMatchObject({ error: { code: 'session_not_found' } });
  client.close();
});

it('a thousand hostile connections and frames later, the server serves', async () => {
  const junk = ['', '{', '[]', '{"id":1}', '['.repeat(1_000), '{"type":"x","id":"a"}', '\u0000'];
  for (let n = 0; n < 200; n += 1) {
    const client = await FrameClient.connect(s.wsUrl);
    client.socket.on('error', () => {});
    for (let m = 0; m < 5; m += 1) client.send(junk[(n + m) % junk.length]);
    if (n % 2 === 0) client.socket.terminate();
    await client.closed;
  }
  const response = await post('/v1/chat', { message: 'hi', stream: false });
  expect(await response.json()).toMatchObject({ response: 'Hello there.' });
}, 60_000);

describe('chat', () => {
  it('streams a turn with a tool, in order', async () => {
    const events = await new SseReader(await post('/v1/chat', { message: 'look' })).all();
    expect(events.map((e) => e.event).filter((e) => e !== 'token')).toEqual([
      'start',
      'tool_call',
      'step_complete',
      'tool_start',
      'tool_result',
      'step_complete',
      'done',
    ]);
    expect(events.find((e) => e.event === 'tool_result')?.data).toMatchObject({
      name: 'look_up',
      content: [{ type: 'text', text: 'the result' }],
      is_error: false,
    });
    expect(events.at(-1)?.data).toMatchObject({ status: 'completed', stop_reason: 'end_turn' });
  });

  it('goes on in its conversation, and shows it in the simple view', async () => {
    const first = (await (await post('/v1/chat', { message: 'hi', stream: false })).json()) as {
      conversation_id: string;
    };
    await (await post('/chat', { message: 'again', stream: false, conversation_id: first.conversation_id })).json();
    const view = (await (await fetch(`${s.url}/conversation/${first.conversation_id}`)).json()) as {
      message_count: number;
    };
    expect(view.message_count).toBe(4);
  });

  it('[CAN-3] a client that goes away cancels its turn, and what was said stays', async () => {
    const stream = new SseReader(await post('/v1/chat', { message: 'slowly' }));
    await stream.until((r) => r.events.filter((e) => e.event === 'token').length > 5);
    const conversation_id = stream.events[0]?.data.conversation_id as string;
    await stream.cancel();
    const log = new SseReader(await fetch(`${s.url}/v1/sessions/${conversation_id}/events/stream?after_seq=0`));
    await log.until((r) => r.events.some((e) => e.event === 'turn.ended'));
    expect(log.events.find((e) => e.event === 'turn.ended')?.data).toMatchObject({
      stop_reason: 'cancelled',
      partial: true,
    });
    expect(log.events.find((e) => e.event === 'agent.message')?.data).toMatchObject({ status: 'incomplete' });
    await log.cancel();
  });

  it('on_disconnect: continue lets the turn end by itself', async () => {
    const stream = new SseReader(await post('/v1/chat', { message: 'hi', on_disconnect: 'continue' }));
    await stream.until((r) => r.events.length > 0);
    const conversation_id = stream.events[0]?.data.conversation_id as string;
    await stream.cancel();
    const log = new SseReader(await fetch(`${s.url}/v1/sessions/${conversation_id}/events/stream?after_seq=0`));
    await log.until((r) => r.events.some((e) => e.event === 'turn.ended'));
    expect(log.events.find((e) => e.event === 'turn.ended')?.data).toMatchObject({ stop_reason: 'end_turn' });
    await log.cancel();
  });

  it('[CMD-2] sent again under its key it is the same turn, whether it runs or has ended', async () => {
    const headers = { 'Idempotency-Key': `key-${process.pid}` };
    const first = new SseReader(await post('/v1/chat', { message: 'slowly', on_disconnect: 'continue' }, {}, headers));
    await first.until((r) => r.events.length > 3);
    const again = new SseReader(await post('/v1/chat', { message: 'slowly', on_disconnect: 'continue' }, {}, headers));
    const text = (reader: SseReader) =>
      reader.events.flatMap((e) => (e.event === 'token' ? [e.data.text as string] : [])).join('');
    await Promise.all([first.all(), again.all()]);
    const third = new SseReader(await post('/v1/chat', { message: 'slowly', on_disconnect: 'continue' }, {}, headers));
    await third.all();
    for (const reader of [first, again, third]) {
      expect(text(reader)).toBe(LONG);
      expect(reader.events[0]?.data).toEqual(first.events[0]?.data);
      expect(reader.events.filter((e) => e.event === 'done')).toHaveLength(1);
    }
    const other = await post('/v1/chat', { message: 'another' }, {}, headers);
    expect(other.status).toBe(409);
  });

  it('a turn that failed before it said anything is an error with its status', async () => {
    const response = await post('/v1/chat', { message: 'fail', stream: false });
    expect(response.status).toBe(502);
    expect(await response.json()).toMatchObject({ error: { code: 'upstream_refused' } });
    const events = await new SseReader(await post('/v1/chat', { message: 'fail' })).all();
    expect(events.slice(-2).map((e) => e.event)).toEqual(['error', 'done']);
  });
});

it('the official SDK talks to it unchanged', async () => {
  for (const name of Object.keys(process.env)) if (name.startsWith('ANTHROPIC_')) delete process.env[name];
  const client = new Anthropic({ baseURL: s.url, apiKey: 'any', logLevel: 'off', maxRetries: 0 });
  const session = await client.beta.sessions.create({ agent: 'default', environment_id: 'env_1' });
  const stream = await client.beta.sessions.events.stream(session.id, { event_deltas: ['agent.message'] });
  await client.beta.sessions.events.send(session.id, {
    events: [{ type: 'user.message', content: [{ type: 'text', text: 'look' }] }],
  });
  let text = '';
  const types = new Set<string>();
  for await (const event of stream) {
    types.add(event.type);
    if (event.type === 'event_delta') text += event.delta.content.text;
    if (event.type === 'session.status_idle') break;
  }
  expect(text).toBe('Found it.');
  expect([...types]).toEqual(
    expect.arrayContaining(['user.message', 'agent.tool_use', 'agent.tool_result', 'event_start']),
  );
  const listed: string[] = [];
  for await (const event of client.beta.sessions.events.list(session.id, { limit: 3 })) listed.push(event.type);
  expect(listed).toEqual(expect.arrayContaining(['user.message', 'agent.message', 'session.status_idle']));
  expect(listed).not.toContain('event_delta');
  expect((await client.beta.sessions.retrieve(session.id)).status).toBe('idle');
});
