/** The official SDK's session events against this server, by `baseURL` alone. */
import Anthropic from '@anthropic-ai/sdk';
import { startTransports, type Transports } from './support/start-transports.js';

let t: Transports;
let client: Anthropic;
beforeEach(async () => {
  for (const name of Object.keys(process.env)) if (name.startsWith('ANTHROPIC_')) delete process.env[name];
  t = await startTransports({ auth: 'required' });
  client = new Anthropic({ baseURL: t.url, apiKey: 'alice', logLevel: 'off', maxRetries: 0 });
});
afterEach(() => t.stop());

it('sends, lists and streams events, and retrieves the session', async () => {
  const session = t.api.create('alice');
  const stream = await client.beta.sessions.events.stream(session.id, { event_deltas: ['agent.message'] });
  const sent = await client.beta.sessions.events.send(session.id, {
    events: [
      { type: 'user.message', content: [{ type: 'text', text: 'hi' }] },
      { type: 'user.interrupt', session_thread_id: null },
    ],
  });
  expect(sent.data).toMatchObject([
    { type: 'user.message', content: [{ type: 'text', text: 'hi' }] },
    { type: 'user.interrupt' },
  ]);
  session.append('event_start', { event: { type: 'agent.message', id: 'm' } });
  session.delta('t', 'm', 'Hello');
  session.append('agent.message', { content: [{ type: 'text', text: 'Hello' }] });
  session.append('session.status_idle', { stop_reason: { type: 'end_turn' } });
  const types: string[] = [];
  for await (const event of stream) {
    types.push(event.type);
    if (event.type === 'event_delta') expect(event.delta.content.text).toBe('Hello');
    if (event.type === 'session.status_idle') break;
  }
  expect(types).toEqual([
    'user.message',
    'user.interrupt',
    'event_start',
    'event_delta',
    'agent.message',
    'session.status_idle',
  ]);

  const all: string[] = [];
  for await (const event of client.beta.sessions.events.list(session.id, { limit: 2 })) all.push(event.type);
  expect(all).toEqual(['user.message', 'user.interrupt', 'event_start', 'agent.message', 'session.status_idle']);
  const some = await client.beta.sessions.events.list(session.id, {
    order: 'desc',
    types: ['agent.message', 'session.status_idle'],
    'created_at[gte]': '2025-01-01T00:00:00Z',
  });
  expect(some.data.map((e) => e.type)).toEqual(['session.status_idle', 'agent.message']);

  const found = await client.beta.sessions.retrieve(session.id);
  expect(found).toMatchObject({
    id: session.id,
    type: 'session',
    status: 'idle',
    vault_ids: [],
    archived_at: null,
    agent: { id: 'default' },
  });
});

it('creates with the SDK’s required fields, lists and deletes', async () => {
  const made = await client.beta.sessions.create({
    agent: { type: 'agent', id: 'default', version: 1 },
    environment_id: 'env_1',
    title: 'One',
    resources: [],
    vault_ids: [],
  });
  expect(t.api.calls[0]?.command).toMatchObject({ type: 'session.create', agent: 'default', title: 'One' });
  await client.beta.sessions.create({ agent: 'default', environment_id: 'env_1' });
  const ids: string[] = [];
  for await (const session of client.beta.sessions.list({ limit: 1, order: 'desc', include_archived: true }))
    ids.push(session.id);
  expect(ids).toHaveLength(2);
  expect(await client.beta.sessions.delete(made.id)).toEqual({ id: made.id, type: 'session_deleted' });
});

it('refuses what it would have to ignore: a budget, a vault, first events', async () => {
  const create = (fields: object) =>
    client.beta.sessions.create({ agent: 'default', environment_id: 'e', ...fields }).catch((error: unknown) => error);
  for (const fields of [
    { vault_ids: ['v'] },
    { initial_events: [{ type: 'user.message', content: [] }] },
    { budget: { type: 'limit' } },
  ])
    expect(await create(fields)).toBeInstanceOf(Anthropic.BadRequestError);
});

it('its errors are the SDK’s error classes, and are not retried where that is no use', async () => {
  const eager = new Anthropic({ baseURL: t.url, apiKey: 'alice', logLevel: 'off', maxRetries: 2 });
  const missing = await eager.beta.sessions.retrieve('none').catch((error: unknown) => error);
  expect(missing).toBeInstanceOf(Anthropic.NotFoundError);
  expect(missing).toMatchObject({ type: 'not_found_error', requestID: expect.anything() });
  const stranger = new Anthropic({ baseURL: t.url, apiKey: 'bad', logLevel: 'off' });
  expect(await stranger.beta.sessions.retrieve('none').catch((error: unknown) => error)).toBeInstanceOf(
    Anthropic.AuthenticationError,
  );
  const seen = t.verifier.seen.length;
  expect(seen).toBe(2);
});
