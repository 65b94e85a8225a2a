/** What a failing model looks like on the wire: a typed end, what was produced kept, and a session that goes on. */
import { type Reply, startUpstream, textReply, type Upstream } from '../support/upstream/index.js';
import { PRIVATE } from '../support/blackbox-server.js';
import { type Service, startService } from '../support/service.js';
import type { WsRecorder } from '../support/ws-recorder.js';
import { Watchers } from '../support/ws-watchers.js';

let upstream: Upstream;
let server: Service;
const watchers = new Watchers(() => server.wsUrl);

beforeAll(async () => {
  upstream = await startUpstream();
  server = await startService({
    upstream,
    config: {
      limits: {
        upstream_attempts: 2,
        headers_timeout_ms: 400,
        first_content_timeout_ms: 500,
        silence_timeout_ms: 400,
      },
    },
  });
});

afterEach(async () => {
  await watchers.release();
  expect(upstream.violations).toEqual([]);
});

afterAll(async () => {
  await server.dispose();
  await upstream.close();
});

const TEXT = 'one two three four five six seven eight';
const broken = (fault: NonNullable<Extract<Reply, { blocks: unknown }>['fault']>): Reply => ({
  blocks: [{ type: 'text', text: TEXT }],
  fault,
});
const status = (code: number, type: string, message: string, headers = {}): Reply => ({
  status: code,
  body: { type, message },
  headers,
});

async function turnWith(replies: readonly Reply[]): Promise<{ client: WsRecorder; sessionId: string; turnId: string }> {
  upstream.script([...replies, textReply('And on it goes.')]);
  const client = await watchers.connect();
  const sessionId = await client.openSession();
  const { turn_id: turnId } = await watchers.turn(client, sessionId, `Tell me, ${PRIVATE}.`);
  return { client, sessionId, turnId };
}

/** The session is as good as before: the next prompt is answered, and its history is one that the API takes. */
async function goesOn(client: WsRecorder, sessionId: string): Promise<readonly { role: string; content: unknown }[]> {
  const ended = await watchers.turn(client, sessionId, 'Go on.');
  expect(ended).toMatchObject({ stop_reason: 'end_turn', partial: false });
  return upstream.requests.at(-1)?.body['messages'] as { role: string; content: unknown }[];
}

describe('a failure before anything was said', () => {
  it.each<[string, Reply]>([
    ['429 with retry-after', status(429, 'rate_limit_error', 'slow down', { 'retry-after': '1' })],
    ['529', status(529, 'overloaded_error', 'overloaded')],
    ['500', status(500, 'api_error', 'oops')],
    ['a stream cut before its first token', broken({ type: 'cut', afterEvents: 1 })],
    ['a reset before its first token', broken({ type: 'reset', afterEvents: 1 })],
    ['no headers', { hang: 'before_headers' }],
    ['a stream without content', broken({ type: 'hang', afterEvents: 1, pingEveryMs: 100 })],
  ])('is tried again: %s', async (_name, reply) => {
    const { client, sessionId, turnId } = await turnWith([reply, textReply(TEXT)]);
    expect(await client.event('turn.ended', { turnId })).toMatchObject({ stop_reason: 'end_turn' });
    expect(watchers.textOf(client, turnId)).toBe(TEXT);
    const spans = client.events(sessionId).flatMap((e) => (e.type === 'span.model_request_end' ? [e.is_error] : []));
    expect(spans).toEqual([true, false]);
    const told = client.events(sessionId).find((e) => e.type === 'session.error');
    expect(told).toMatchObject({ error: { retry_status: { type: 'retrying' } } });
    const [first, second] = upstream.requests.slice(-2);
    expect(second?.body['messages']).toEqual(first?.body['messages']);
    if (_name.startsWith('429')) expect((second?.at ?? 0) - (first?.at ?? 0)).toBeGreaterThan(990);
    await goesOn(client, sessionId);
  });

  it.each<[string, Reply, string | RegExp]>([
    ['529 again and again', status(529, 'overloaded_error', 'overloaded'), 'upstream_overloaded'],
    ['429 again and again', status(429, 'rate_limit_error', 'slow down'), 'upstream_rate_limited'],
    ['no headers again and again', { hang: 'before_headers' }, 'upstream_timeout'],
    // A reset right behind the headers may reach us as a plain end of the stream.
    ['resets again and again', broken({ type: 'reset', afterEvents: 0 }), /^upstream_(error|truncated)$/],
  ])('ends the turn when it stays: %s', async (_name, reply, code) => {
    const { client, sessionId, turnId } = await turnWith([reply, reply]);
    const ended = await client.event('turn.ended', { turnId });
    const expected = code instanceof RegExp ? expect.stringMatching(code) : code;
    expect(ended).toMatchObject({ stop_reason: 'error', partial: true, error: { code: expected, retryable: true } });
    const history = await goesOn(client, sessionId);
    expect(history).toHaveLength(1);
    expect(JSON.stringify(history)).not.toContain(PRIVATE);
  });

  it.each<[string, Reply, string, string]>([
    ['a bad key', status(401, 'authentication_error', 'invalid x-api-key'), 'error', 'upstream_auth'],
    ['a request that it refuses', status(400, 'invalid_request_error', 'no such thing'), 'error', 'upstream_refused'],
    [
      'a prompt too long',
      status(400, 'invalid_request_error', 'prompt is too long: 1000001 tokens > 1000000 maximum'),
      'context_window_exceeded',
      'context_window_exceeded',
    ],
    [
      'a spent account',
      status(400, 'invalid_request_error', 'Your credit balance is too low'),
      'error',
      'upstream_auth',
    ],
    [
      'a 429 that asks for an hour',
      status(429, 'rate_limit_error', 'no', { 'retry-after': '3600' }),
      'error',
      'upstream_rate_limited',
    ],
  ])('[TURN-5] is not tried again where that can’t help: %s', async (_name, reply, stopReason, code) => {
    const before = upstream.requests.length;
    const { client, sessionId, turnId } = await turnWith([reply]);
    expect(upstream.requests.length - before).toBe(1);
    expect(await client.event('turn.ended', { turnId })).toMatchObject({ stop_reason: stopReason, error: { code } });
    const history = await goesOn(client, sessionId);
    expect(JSON.stringify(history)).not.toContain(PRIVATE);
  });
});

describe('a failure in the middle of an answer', () => {
  it.each<[string, Reply, string]>([
    ['a stream cut short', broken({ type: 'cut', afterEvents: 6 }), 'upstream_truncated'],
    ['a connection closed', broken({ type: 'drop', afterEvents: 6 }), 'upstream_truncated'],
    // Where the kernel still had bytes to deliver, a reset looks like an end.
    ['a reset', broken({ type: 'reset', afterEvents: 6 }), expect.stringMatching(/^upstream_(error|truncated)$/)],
    [
      'an error event',
      broken({ type: 'error', afterEvents: 6, error: { type: 'overloaded_error', message: 'overloaded' } }),
      'upstream_overloaded',
    ],
    ['silence', broken({ type: 'hang', afterEvents: 6 }), 'upstream_timeout'],
    ['nothing but pings', broken({ type: 'hang', afterEvents: 6, pingEveryMs: 100 }), 'upstream_timeout'],
    ['words that are no JSON', broken({ type: 'malformed', afterEvents: 6 }), 'upstream_error'],
  ])('keeps what was said, and is not tried again: %s', async (_name, reply, code) => {
    const before = upstream.requests.length;
    const { client, sessionId, turnId } = await turnWith([reply]);
    const ended = await client.event('turn.ended', { turnId });
    expect(ended).toMatchObject({ stop_reason: 'error', partial: true, estimated: true, error: { code } });
    expect(upstream.requests.length - before).toBe(1);
    const message = await client.event('agent.message', { turnId });
    const kept = String(message.content[0]?.['text']);
    expect(message.status).toBe('incomplete');
    expect(kept).not.toBe('');
    expect(TEXT.startsWith(kept)).toBe(true);
    const history = await goesOn(client, sessionId);
    expect(history).toMatchObject([
      { role: 'user' },
      { role: 'assistant', content: [{ type: 'text', text: kept.trimEnd() === kept ? kept : expect.any(String) }] },
      { role: 'user' },
    ]);
  });

  it('[TURN-3] closes a call that was complete and drops one that was not', async () => {
    const call = (id: string) => ({ type: 'tool_use' as const, id, name: 'nothing', input: { a: 'b'.repeat(50) } });
    const reply: Reply = {
      blocks: [{ type: 'text', text: TEXT }, call('toolu_whole'), call('toolu_cut')],
      fault: { type: 'cut', afterEvents: 20 },
    };
    const { client, sessionId, turnId } = await turnWith([reply]);
    expect(await client.event('turn.ended', { turnId })).toMatchObject({ stop_reason: 'error' });
    const history = JSON.stringify(await goesOn(client, sessionId));
    expect(history).toContain('toolu_whole');
    expect(history).not.toContain('toolu_cut');
  });

  it('says refusal and the full window as the model did', async () => {
    const { client, turnId } = await turnWith([{ ...textReply('I'), stop_reason: 'refusal' }]);
    expect(await client.event('turn.ended', { turnId })).toMatchObject({ stop_reason: 'refusal', partial: false });
    const full = await turnWith([{ ...textReply('I was saying'), stop_reason: 'model_context_window_exceeded' }]);
    expect(await full.client.event('turn.ended', { turnId: full.turnId })).toMatchObject({
      stop_reason: 'context_window_exceeded',
    });
    await goesOn(full.client, full.sessionId);
  });
});

it('answers a wire that isn’t there with an error that can be tried again', async () => {
  const lonely = await startService({
    upstream: { baseURL: 'http://127.0.0.1:9' },
    config: { limits: { upstream_attempts: 1 } },
  });
  const others = new Watchers(() => lonely.wsUrl);
  const client = await others.connect();
  const sessionId = await client.openSession();
  const ended = await others.turn(client, sessionId, PRIVATE);
  expect(ended).toMatchObject({ stop_reason: 'error', error: { code: 'upstream_error', retryable: true } });
  await others.release();
  await lonely.dispose();
});
