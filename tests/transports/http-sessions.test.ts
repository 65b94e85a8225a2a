/** Sessions, events, conversations, tools and feedback over REST. */
import { startTransports, type Transports } from './support/start-transports.js';

let t: Transports;
beforeEach(async () => {
  t = await startTransports();
});
afterEach(() => t.stop());

// biome-ignore lint/suspicious/noExplicitAny: a test looks into whatever came.
type Answer = { status: number; body: any };
async function call(
  method: string,
  path: string,
  body?: unknown,
  headers: Record<string, string> = {},
): Promise<Answer> {
  const init = body === undefined ? {} : { body: JSON.stringify(body) };
  const response = await fetch(`${t.url}${path}`, {
    method,
    headers: { 'Content-Type': 'application/json', ...headers },
    ...init,
  });
  return { status: response.status, body: await response.json() };
}

it('creates with 201, reads, lists by pages, deletes', async () => {
  const created = await call('POST', '/v1/sessions', {
    agent: { system: 'Be brief.' },
    title: 'One',
    metadata: { a: 'b' },
  });
  expect(created.status).toBe(201);
  expect(created.body).toMatchObject({
    type: 'session',
    agent: { type: 'agent', id: 'default', system: 'Be brief.', version: 1 },
    archived_at: null,
    vault_ids: [],
  });
  expect(t.api.calls[0]?.command).toMatchObject({ type: 'session.create', title: 'One', metadata: { a: 'b' } });
  await call('POST', '/v1/sessions');
  await call('POST', '/v1/sessions', {});
  expect((await call('GET', `/v1/sessions/${created.body.id}`)).body).toEqual(created.body);
  const first = await call('GET', '/v1/sessions?limit=2');
  expect(first.body.data).toHaveLength(2);
  const second = await call('GET', `/v1/sessions?limit=2&page=${first.body.next_page}`);
  expect(second.body).toMatchObject({ data: [{ id: 'sesn_3' }], next_page: null });
  expect((await call('DELETE', '/v1/sessions/sesn_1')).body).toEqual({ id: 'sesn_1', type: 'session_deleted' });
  expect((await call('GET', '/v1/sessions/sesn_1')).status).toBe(404);
});

it.each(['limit=0', 'limit=101', 'limit=x', 'limit=-1', 'limit=1.5'])('refuses ?%s', async (query) => {
  const answer = await call('GET', `/v1/sessions?${query}`);
  expect(answer.body.error).toMatchObject({ code: 'invalid_request', message: expect.stringMatching(/^limit: /) });
});

it('sends a batch: ids from the body, the Idempotency-Key, or made here; the echoes come back as logged', async () => {
  const { id } = t.api.create();
  const events = [
    { type: 'user.message', content: 'one' },
    { type: 'user.message', content: 'two', id: 'own' },
  ];
  const answer = await call('POST', `/v1/sessions/${id}/events`, { events }, { 'Idempotency-Key': 'key-1' });
  expect(answer.body.data).toMatchObject([
    { type: 'user.message', seq: 1, command_id: 'key-1_0', content: [{ type: 'text', text: 'one' }] },
    { seq: 2, command_id: 'own' },
  ]);
  await call('POST', `/v1/sessions/${id}/events`, { events: [{ type: 'user.interrupt' }] });
  expect(t.api.batches[1]?.commands[0]).toMatchObject({ id: expect.stringMatching(/^cmd_/), session_id: id });
});

it('an odd or long key becomes a valid id, the same for the same key', async () => {
  const { id } = t.api.create();
  const keys = ['white space!', 'x'.repeat(200), 'x'.repeat(63), 'white space!'];
  for (const key of keys)
    await call(
      'POST',
      `/v1/sessions/${id}/events`,
      { events: [{ type: 'user.interrupt' }] },
      { 'Idempotency-Key': key },
    );
  const ids = t.api.batches.map((b) => b.commands[0]?.id as string);
  for (const commandId of ids) expect(commandId).toMatch(/^[A-Za-z0-9_-]{1,64}$/);
  expect(ids[3]).toBe(ids[0]);
  expect(new Set(ids).size).toBe(3);
  await call('POST', '/v1/sessions', {}, { 'Idempotency-Key': 'white space!' });
  await call('POST', '/v1/sessions', {}, { 'Idempotency-Key': 'plain' });
  expect(t.api.calls[1]?.command.id).toBe('plain');
  const refused = await call('POST', '/v1/sessions', {}, { 'Idempotency-Key': 'x'.repeat(256) });
  expect(refused.body.error.code).toBe('invalid_request');
});

it.each([
  [{}, /^events: /],
  [{ events: [] }, /^events: /],
  [{ events: [{ type: 'session.attach' }] }, /^events\[0\]\.type: must be one of user\.message, /],
  [{ events: [{ type: 'user.message', content: 'x', session_id: 's' }] }, /^events\[0\]\.session_id: is not known/],
  [{ events: [{ type: 'user.interrupt' }, { type: 'user.message' }] }, /^events\[1\]\.content: /],
])('refuses the batch %j, naming the place', async (body, message) => {
  const { id } = t.api.create();
  const answer = await call('POST', `/v1/sessions/${id}/events`, body);
  expect(answer.status).toBe(400);
  expect(answer.body.error.message).toMatch(message);
  expect(t.api.batches).toEqual([]);
});

it('lists the log without deltas, by pages, filtered, in either order', async () => {
  const session = t.api.create();
  session.append('turn.started', { turn_id: 't', processed_at: '2026-01-01T00:00:01Z' });
  session.delta('t', 'e', 'text');
  session.append('agent.message', { processed_at: '2026-01-01T00:00:02Z' });
  session.append('turn.ended', { turn_id: 't', processed_at: '2026-01-01T00:00:03Z' });
  const list = async (query: string) => (await call('GET', `/v1/sessions/${session.id}/events?${query}`)).body;
  const seqs = async (query: string) => (await list(query)).data.map((e: { seq: number }) => e.seq);
  expect(await seqs('')).toEqual([1, 3, 4]);
  const first = await list('limit=2');
  expect(first.next_page).toBe('3');
  expect(await seqs(`limit=2&page=${first.next_page}`)).toEqual([4]);
  expect((await list('limit=3')).next_page).toBeNull();
  expect(await seqs('after_seq=1')).toEqual([3, 4]);
  expect(await seqs('order=desc&limit=2')).toEqual([4, 3]);
  expect(await seqs('order=desc&limit=2&page=3')).toEqual([1]);
  expect(await seqs('types=turn.ended&types=agent.message')).toEqual([3, 4]);
  expect(await seqs('types[]=turn.ended&unknown=1')).toEqual([4]);
  expect(await seqs('types[]=session.updated')).toEqual([]);
  expect(await seqs('created_at[gt]=2026-01-01T00:00:01Z&created_at[lt]=2026-01-01T00:00:03Z')).toEqual([3]);
  for (const bad of ['limit=1001', 'order=up', 'page=x', 'created_at[gt]=soon', 'after_seq=-1'])
    expect((await list(bad)).error.code).toBe('invalid_request');
});

it('shows the history, and the simple view of it, at both of its paths', async () => {
  const session = t.api.create();
  session.messages = [{ role: 'user', content: [{ type: 'text', text: 'hi' }] }];
  expect((await call('GET', `/v1/sessions/${session.id}/messages`)).body.data).toEqual(session.messages);
  for (const path of ['/v1/conversations', '/conversation'])
    expect((await call('GET', `${path}/${session.id}`)).body).toEqual({
      conversation_id: session.id,
      messages: session.messages,
      message_count: 1,
    });
  expect((await call('DELETE', `/conversation/${session.id}`)).body).toEqual({ status: 'deleted' });
  expect((await call('GET', `/v1/conversations/${session.id}`)).status).toBe(404);
});

it('lists the tools, and records feedback at both of its paths', async () => {
  expect((await call('GET', '/v1/tools')).body.data).toEqual([
    { name: 'search', description: 'Searches', input_schema: { type: 'object' }, label: 'Searching…' },
  ]);
  for (const path of ['/v1/feedback', '/feedback'])
    expect((await call('POST', path, { conversation_id: 'any', rating: 'thumbs_up' })).body).toEqual({
      status: 'recorded',
    });
  expect(t.api.feedback).toHaveLength(2);
  const refused = await call('POST', '/feedback', { conversation_id: 'any', rating: 'meh' });
  expect(refused.body.error.message).toMatch(/^rating: .*thumbs_up/);
});
