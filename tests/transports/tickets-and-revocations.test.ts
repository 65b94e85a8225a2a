/** Tickets and revocations, as each wire takes them: before a session room and stores of the test's choice. */
import { FrameClient, refusalOf } from './support/frame-client.js';
import { SseReader } from './support/sse-reader.js';
import { startTransports, type TransportOptions, type Transports } from './support/start-transports.js';

let t: Transports;
const start = async (options: TransportOptions = { auth: 'required' }): Promise<void> => {
  t = await startTransports(options);
};
afterEach(() => t.stop());

const ADA = { principal: { user_id: 'ada', org_id: 'acme', roles: ['analyst'] }, expiresAt: undefined };
const bearer = (user: string) => ({ Authorization: `Bearer ${user}` });
const post = (path: string, headers: Record<string, string> = {}, body?: unknown) =>
  fetch(`${t.url}${path}`, {
    method: 'POST',
    headers: { ...headers, ...(body !== undefined && { 'Content-Type': 'application/json' }) },
    ...(body !== undefined && { body: JSON.stringify(body) }),
  });
const withTicket = (ticket: string, headers = {}) =>
  FrameClient.connect(t.wsUrl, { protocols: ['midstream.v1', `ticket.${ticket}`], headers });

describe('a ticket', () => {
  it('is given to who is known, with the whole of their identity, and is not to be kept by caches', async () => {
    await start();
    const response = await post('/v1/ws-tickets', bearer('ada:100'));
    expect(response.status).toBe(200);
    expect(response.headers.get('cache-control')).toBe('no-store');
    const expires_at = new Date(t.clock.now() + 30_000).toISOString();
    expect(await response.json()).toEqual({ ticket: 'ticket-1', expires_at });
    expect(t.tickets.issuedTo).toEqual([{ ...ADA, expiresAt: t.clock.now() + 100_000 }]);
    expect((await post('/v1/ws-tickets')).status).toBe(401);
    expect((await post('/v1/ws-tickets', bearer('ada'), { user_id: 'eve' })).status).toBe(400);
    expect((await fetch(`${t.url}/v1/ws-tickets`, { headers: bearer('ada') })).status).toBe(404);
    expect(t.tickets.issuedTo).toHaveLength(1);
  });

  it('in dev is given to everybody, and looked at by nobody', async () => {
    await start({ auth: 'dev' });
    expect(((await (await post('/v1/ws-tickets')).json()) as { ticket: string }).ticket).toBe('ticket-1');
    t.tickets.waiting.set('abc', ADA);
    const client = await withTicket('abc');
    expect(await client.ofType('connection.ready')).toMatchObject({ principal: { user_id: 'local' } });
    expect(t.tickets.waiting.size).toBe(1);
  });

  it('[AUTH-1] opens a socket as a second subprotocol, and the server answers with the first only', async () => {
    await start();
    t.tickets.waiting.set('abc', { ...ADA, expiresAt: t.clock.now() + 50_000 });
    const client = await withTicket('abc');
    expect(client.socket.protocol).toBe('midstream.v1');
    const ready = await client.ofType('connection.ready');
    expect(ready).toMatchObject({ principal: ADA.principal });
    expect(ready['token_expires_at']).toBe(new Date(t.clock.now() + 50_000).toISOString());
    expect(t.verifier.seen).toEqual([]);
  });

  it('[AUTH-1] that is wrong is refused with 401 before the upgrade, on record, and is in no log', async () => {
    await start();
    const refusal = await refusalOf(withTicket('heliotrope'));
    expect([refusal.status, JSON.parse(refusal.body).error.code]).toEqual([401, 'unauthenticated']);
    expect(t.audit.records).toMatchObject([{ kind: 'authentication', outcome: 'refused', rule: 'unauthenticated' }]);
    const sse = await fetch(`${t.url}/v1/sessions/sesn_1/events/stream?ticket=heliotrope`);
    expect(sse.status).toBe(401);
    expect(t.audit.records).toHaveLength(2);
    expect(JSON.stringify([t.logger.records, t.audit.records, refusal.body, await sse.text()])).not.toContain(
      'heliotrope',
    );
  });

  it('comes behind a header, and is left as it is then', async () => {
    await start();
    t.tickets.waiting.set('abc', ADA);
    const client = await withTicket('abc', bearer('bob'));
    expect(await client.ofType('connection.ready')).toMatchObject({ principal: { user_id: 'bob' } });
    expect(t.tickets.waiting.size).toBe(1);
  });

  it('is not used up by an upgrade that is refused for another reason', async () => {
    await start();
    t.tickets.waiting.set('abc', ADA);
    expect((await refusalOf(withTicket('abc', { Origin: 'https://evil.example' }))).status).toBe(403);
    const alone = FrameClient.connect(t.wsUrl, { protocols: ['ticket.abc'] });
    expect((await refusalOf(alone)).status).toBe(400);
    expect(t.tickets.waiting.size).toBe(1);
  });

  it('[AUTH-1] in the URL opens the stream of events, and nothing else', async () => {
    await start();
    const { id } = t.api.create('ada');
    const url = (path: string) => `${t.url}${path}?ticket=abc`;
    const routes = ['/v1/sessions', `/v1/sessions/${id}`, `/v1/sessions/${id}/events`, '/v1/tools', '/v1/audit'];
    for (const path of routes) {
      t.tickets.waiting.set('abc', ADA);
      expect({ path, status: (await fetch(url(path))).status }).toEqual({ path, status: 401 });
    }
    for (const path of ['/v1/ws-tickets', '/v1/chat', '/v1/sessions', `/v1/sessions/${id}/events/stream`])
      expect({ path, status: (await fetch(url(path), { method: 'POST' })).status }).toEqual({ path, status: 401 });
    const refusal = await refusalOf(FrameClient.connect(`${t.wsUrl}?ticket=abc`));
    expect([refusal.status, JSON.parse(refusal.body).error.code]).toEqual([401, 'unauthenticated']);
    expect(t.tickets.waiting.size).toBe(1);
    const stream = await fetch(url(`/v1/sessions/${id}/events/stream`));
    expect(stream.status).toBe(200);
    await stream.body?.cancel();
    expect((await fetch(url(`/v1/sessions/${id}/events/stream`))).status).toBe(401);
  });
});

describe('a revocation', () => {
  beforeEach(() => start());

  it('[AUTH-2] closes the sockets of who it is about, at once, and no others', async () => {
    const [ada, bob] = [
      await FrameClient.connect(t.wsUrl, { headers: bearer('ada') }),
      await FrameClient.connect(t.wsUrl, { headers: bearer('bob') }),
    ];
    await Promise.all([ada.ofType('connection.ready'), bob.ofType('connection.ready')]);
    t.revoked.revoke('ada');
    expect(await ada.closed).toEqual({ code: 4401, reason: 'The credential was revoked' });
    expect(ada.frames.at(-1)).toMatchObject({ type: 'connection.closing', code: 4401, reconnect: false });
    bob.send({ type: 'ping', id: 'p' });
    await bob.ofType('pong');
  });

  it('listens no longer for sockets and streams that are gone', async () => {
    const { id } = t.api.create('ada');
    const ada = await FrameClient.connect(t.wsUrl, { headers: bearer('ada') });
    await ada.ofType('connection.ready');
    const stream = await fetch(`${t.url}/v1/sessions/${id}/events/stream`, { headers: bearer('ada') });
    expect(t.revoked.listeners.size).toBe(2);
    ada.close();
    await ada.closed;
    await stream.body?.cancel();
    while (t.revoked.listeners.size > 0) await new Promise((resolve) => setImmediate(resolve));
  });

  it('[AUTH-2] ends a stream of events', async () => {
    const { id } = t.api.create('ada');
    const reader = new SseReader(await fetch(`${t.url}/v1/sessions/${id}/events/stream`, { headers: bearer('ada') }));
    t.revoked.revoke('ada');
    const events = await reader.all();
    expect(events.at(-1)).toMatchObject({ event: 'connection.closing', data: { code: 4401, reconnect: false } });
  });

  it('[AUTH-2] that came while a credential was verified counts too', async () => {
    t.revoked.users.add('ada');
    const { id } = t.api.create('ada');
    const ada = await FrameClient.connect(t.wsUrl, { headers: bearer('ada') });
    expect((await ada.closed).code).toBe(4401);
    const stream = await fetch(`${t.url}/v1/sessions/${id}/events/stream`, { headers: bearer('ada') });
    expect(await stream.text()).toContain('4401');
  });

  it('[AUTH-2] of the credential before spares a socket that was renewed', async () => {
    const client = await FrameClient.connect(t.wsUrl, { headers: bearer('ada:50') });
    await client.ofType('connection.ready');
    const { isRevoked } = t.revoked;
    t.revoked.isRevoked = (identity) =>
      identity.expiresAt === t.clock.now() + 50_000 && isRevoked.call(t.revoked, identity);
    client.send({ type: 'connection.authenticate', id: 'a', token: 'ada:100' });
    await client.reply('a');
    t.revoked.revoke('ada');
    client.send({ type: 'ping', id: 'p' });
    await client.ofType('pong');
  });
});
