/** `POST /v1/chat` over real sockets. */
import { request } from 'node:http';
import { MidstreamError, NO_USAGE } from '../../protocol/index.js';
import type { Accepted } from '../../server/session/session-api.js';
import type { FakeSession } from './support/fake-session-api.js';
import { SseReader } from './support/sse-reader.js';
import { startTransports, type Transports } from './support/start-transports.js';

let t: Transports;
let session: FakeSession;
beforeEach(async () => {
  t = await startTransports();
  session = t.api.create('local', { system: 'Be brief.' });
  t.api.answer = (command) => {
    if (command.type !== 'user.message') return { result: { outcome: 'cancelled' } };
    const record = t.api.sessions.get(command.session_id)?.append('user.message', { turn_id: 'turn_1' });
    return { applied_at_seq: record?.seq ?? 0, result: { turn_id: 'turn_1', message_id: 'm', position: 0 } };
  };
});
afterEach(() => t.stop());

const chat = (body: unknown, headers: Record<string, string> = {}, path = '/v1/chat'): Promise<Response> =>
  fetch(`${t.url}${path}`, {
    method: 'POST',
    headers: { 'Content-Type': 'application/json', ...headers },
    body: JSON.stringify(body),
  });
const start = (s = session) => s.append('turn.started', { turn_id: 'turn_1' });
const end = (fields: object = {}, s = session) =>
  s.append('turn.ended', {
    turn_id: 'turn_1',
    stop_reason: 'end_turn',
    partial: false,
    usage: { ...NO_USAGE, input_tokens: 10, output_tokens: 5 },
    cost_usd: 0.25,
    ...fields,
  });
const sent = (type: string) => t.api.calls.map((c) => c.command).filter((c) => c.type === type);
const waitUntil = async (holds: () => boolean): Promise<void> => {
  while (!holds()) await new Promise((resolve) => setImmediate(resolve));
};

it.each(['/v1/chat', '/chat'])('%s streams a turn: headers once accepted, then start, tokens, done', async (path) => {
  const response = await chat({ message: 'hi', conversation_id: session.id }, {}, path);
  expect(response.status).toBe(200);
  expect(Object.fromEntries(response.headers)).toMatchObject({
    'content-type': 'text/event-stream',
    'cache-control': 'no-cache, no-transform',
    connection: 'keep-alive',
    'x-accel-buffering': 'no',
  });
  const stream = new SseReader(response);
  start();
  session.delta('turn_1', 'm1', 'Hel');
  await stream.until((r) => r.events.length === 2);
  session.delta('turn_1', 'm1', 'lo');
  session.append('agent.message', { id: 'm1', turn_id: 'turn_1', content: [{ type: 'text', text: 'Hello' }] });
  end();
  expect((await stream.all()).map(({ event, data }) => [event, data])).toEqual([
    ['start', { conversation_id: session.id, turn_id: 'turn_1' }],
    ['token', { text: 'Hel' }],
    ['token', { text: 'lo' }],
    ['done', expect.objectContaining({ status: 'completed', cost_usd: 0.25, conversation_id: session.id })],
  ]);
  expect(session.subscriptions.size).toBe(0);
  expect(sent('user.interrupt')).toEqual([]);
});

it('misses nothing that happened before the message was answered', async () => {
  const { answer } = t.api;
  t.api.answer = async (command, caller) => {
    const accepted = await answer(command, caller);
    start();
    session.delta('turn_1', 'm1', 'quick');
    end();
    return accepted;
  };
  const stream = new SseReader(await chat({ message: 'hi', conversation_id: session.id }));
  expect((await stream.all()).map((e) => e.event)).toEqual(['start', 'token', 'done']);
});

it('a queued turn starts when it starts; comments keep the wait alive; another turn is not shown', async () => {
  const stream = new SseReader(await chat({ message: 'hi', conversation_id: session.id }));
  session.delta('turn_0', 'm0', 'not mine');
  session.append('turn.ended', { turn_id: 'turn_0' });
  t.clock.advance(15_000);
  await stream.until((r) => r.comments.length === 1);
  expect(stream.events).toEqual([]);
  start();
  end();
  expect((await stream.all()).map((e) => e.event)).toEqual(['start', 'done']);
});

it('without a conversation it makes a session of what was given', async () => {
  const response = await chat({
    message: 'hi',
    system_prompt: 'S',
    model: 'claude-haiku-5-5',
    max_tokens: 50,
    tags: ['a'],
  });
  expect(sent('session.create')).toMatchObject([{ agent: { system: 'S', model: 'claude-haiku-5-5', max_tokens: 50 } }]);
  const [message] = sent('user.message');
  expect(message).toMatchObject({ content: [{ type: 'text', text: 'hi' }], tags: ['a'] });
  expect(message).not.toHaveProperty('model');
  const made = t.api.sessions.get('sesn_2') as FakeSession;
  end({}, made);
  const events = await new SseReader(response).all();
  expect(events.at(-1)?.data.conversation_id).toBe('sesn_2');
});

it('in a conversation, model and max_tokens are the message’s', async () => {
  const response = await chat({ message: 'hi', conversation_id: session.id, model: 'm', max_tokens: 5 });
  expect(sent('user.message')).toMatchObject([{ model: 'm', max_tokens: 5 }]);
  end();
  await new SseReader(response).all();
});

it.each([
  [{ message: 'x', temperature: 1 }, 400, /^temperature: .*no longer/],
  [{ message: 'x', top_p: 1 }, 400, /^top_p: .*no longer/],
  [{ message: 'x', top_k: 1 }, 400, /^top_k: .*no longer/],
  [{ message: '  ' }, 400, /^message: must not be blank/],
  [{}, 400, /^message: /],
  [{ message: 'x', mesage: 'y' }, 400, /^mesage: is not known/],
  [{ message: 'x', conversation_id: 'none' }, 404, /session id/],
  [{ message: 'x', conversation_id: 'sesn_1', system_prompt: 'Another' }, 400, /^system_prompt: .*another one/],
])('refuses %j as a plain HTTP error', async (body, status, message) => {
  const response = await chat(body);
  expect(response.status).toBe(status);
  const { error } = (await response.json()) as { error: { message: string } };
  expect(error.message).toMatch(message);
  expect(sent('user.message')).toEqual([]);
  expect(session.subscriptions.size).toBe(0);
});

it('the system prompt that the conversation has is taken', async () => {
  const response = await chat({ message: 'x', conversation_id: session.id, system_prompt: 'Be brief.' });
  expect(response.status).toBe(200);
  end();
  await new SseReader(response).all();
});

it('[BUD-3] a refusal before acceptance is an HTTP status, and leaves no subscription', async () => {
  t.api.answer = () => {
    throw new MidstreamError('budget_exhausted', 'spent', { details: { resets_at: 'x' } });
  };
  const response = await chat({ message: 'hi', conversation_id: session.id });
  expect(response.status).toBe(429);
  expect(response.headers.get('x-should-retry')).toBe('false');
  expect(session.subscriptions.size).toBe(0);
});

it('a failed turn is error, then done', async () => {
  const stream = new SseReader(await chat({ message: 'hi', conversation_id: session.id }));
  const error = { type: 'api_error', code: 'upstream_error', message: 'broke', retryable: true };
  end({ stop_reason: 'error', partial: true, error });
  expect((await stream.all()).map((e) => e.event)).toEqual(['partial', 'error', 'done']);
});

it('a subscription that the server ends is error, then done', async () => {
  const stream = new SseReader(await chat({ message: 'hi', conversation_id: session.id }));
  for (const { sink } of session.subscriptions) sink.close(4500, 'broken');
  const events = await stream.all();
  expect(events.map((e) => e.event)).toEqual(['error', 'done']);
  expect(events[1]?.data).toMatchObject({ status: 'failed', conversation_id: session.id });
});

it('a shutdown is error draining, then done, and cancels nothing', async () => {
  const stream = new SseReader(await chat({ message: 'hi', conversation_id: session.id }));
  t.streams.close();
  expect((await stream.all()).map(({ event, data }) => [event, data.error ?? data.status])).toEqual([
    ['error', 'draining'],
    ['done', 'failed'],
  ]);
  await waitUntil(() => session.subscriptions.size === 0);
  expect(sent('user.interrupt')).toEqual([]);
});

describe('a client that goes away', () => {
  it('cancels its turn', async () => {
    const stream = new SseReader(await chat({ message: 'hi', conversation_id: session.id }));
    start();
    await stream.until((r) => r.events.length === 1);
    await stream.cancel();
    await waitUntil(() => sent('user.interrupt').length === 1);
    const [message] = sent('user.message');
    expect(sent('user.interrupt')).toMatchObject([{ session_id: session.id, command_id: message?.id }]);
    expect(session.subscriptions.size).toBe(0);
  });

  it('cancels nothing with on_disconnect: continue', async () => {
    const stream = new SseReader(await chat({ message: 'hi', conversation_id: session.id, on_disconnect: 'continue' }));
    await stream.cancel();
    await waitUntil(() => session.subscriptions.size === 0);
    expect(sent('user.interrupt')).toEqual([]);
  });

  it('[CAN-1] cancels a message that is not answered yet, and one that was still to be sent', async () => {
    let accept: (accepted: Accepted) => void = () => {};
    t.api.answer = (command) =>
      command.type === 'user.message'
        ? new Promise((resolve) => {
            accept = resolve;
          })
        : { result: { outcome: 'cancelled' } };
    const req = request({
      host: '127.0.0.1',
      port: t.port,
      path: '/v1/chat',
      method: 'POST',
      headers: { 'Content-Type': 'application/json' },
    });
    req.on('error', () => {});
    req.end(JSON.stringify({ message: 'hi', conversation_id: session.id }));
    await waitUntil(() => sent('user.message').length === 1);
    req.destroy();
    await waitUntil(() => sent('user.interrupt').length === 1);
    accept({ result: { turn_id: 'turn_1' } });
    await waitUntil(() => session.subscriptions.size === 0);
    expect(t.logger.records.filter((r) => r.level === 'error')).toEqual([]);
  });

  it('cancels in the one-JSON form too', async () => {
    const abort = new AbortController();
    const answer = fetch(`${t.url}/v1/chat`, {
      method: 'POST',
      headers: { 'Content-Type': 'application/json' },
      body: JSON.stringify({ message: 'hi', conversation_id: session.id, stream: false }),
      signal: abort.signal,
    });
    answer.catch(() => {});
    await waitUntil(() => [...session.subscriptions].some((s) => s.started));
    abort.abort();
    await waitUntil(() => sent('user.interrupt').length === 1);
    await waitUntil(() => session.subscriptions.size === 0);
  });
});

describe('stream: false', () => {
  const ask = async (work: () => void): Promise<Response> => {
    const answer = chat({ message: 'hi', conversation_id: session.id, stream: false });
    await waitUntil(() => [...session.subscriptions].some((s) => s.started));
    work();
    return answer;
  };

  it('answers one JSON', async () => {
    const response = await ask(() => {
      start();
      session.delta('turn_1', 'm1', 'Hello');
      end();
    });
    expect(response.status).toBe(200);
    expect(await response.json()).toEqual({
      response: 'Hello',
      conversation_id: session.id,
      turn_id: 'turn_1',
      stop_reason: 'end_turn',
      tokens_used: 15,
      usage: { ...NO_USAGE, input_tokens: 10, output_tokens: 5 },
      cost_usd: 0.25,
      timestamp: '2026-01-01T00:00:00.000Z',
    });
    expect(session.subscriptions.size).toBe(0);
  });

  const error = {
    type: 'overloaded_error',
    code: 'upstream_overloaded',
    message: 'busy',
    retryable: true,
    retry_after_ms: 3_000,
  };

  it('a turn that failed before it produced anything is an error with its status', async () => {
    const response = await ask(() => end({ stop_reason: 'error', partial: true, error }));
    expect(response.status).toBe(503);
    expect(response.headers.get('retry-after')).toBe('3');
    expect(await response.json()).toMatchObject({
      type: 'error',
      error: { code: 'upstream_overloaded', message: 'busy' },
    });
  });

  it('a turn that failed after that is 200 with what was produced', async () => {
    const response = await ask(() => {
      session.delta('turn_1', 'm1', 'Half');
      end({ stop_reason: 'error', partial: true, error });
    });
    expect(response.status).toBe(200);
    expect(await response.json()).toMatchObject({ response: 'Half', stop_reason: 'error' });
  });

  it('a session deleted meanwhile is an error', async () => {
    const response = await ask(() => {
      for (const { sink } of session.subscriptions)
        sink.control({ type: 'connection.detached', session_id: session.id, code: 'session_not_found' });
    });
    expect(response.status).toBe(404);
  });
});

it('[CMD-2] the same Idempotency-Key again shows the same turn from its beginning', async () => {
  session.append('user.message', { turn_id: 'turn_1' });
  start();
  session.append('agent.message', { id: 'm1', turn_id: 'turn_1', content: [{ type: 'text', text: 'Hello' }] });
  end();
  t.api.answer = () => ({ applied_at_seq: 1, duplicate: true, result: { turn_id: 'turn_1' } });
  const response = await chat({ message: 'hi', conversation_id: session.id }, { 'Idempotency-Key': 'again' });
  expect((await new SseReader(response).all()).map((e) => e.event)).toEqual(['start', 'token', 'done']);
  expect(sent('user.message')).toMatchObject([{ id: 'again' }]);
  expect(session.subscriptions.size).toBe(0);
});
