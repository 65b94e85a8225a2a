/** What becomes a WebSocket, and what is refused before. */
import { connect } from 'node:net';
import { FrameClient, refusalOf } from './support/frame-client.js';
import { startTransports, type TransportOptions, type Transports } from './support/start-transports.js';

let t: Transports;
const start = async (options: TransportOptions): Promise<void> => {
  t = await startTransports(options);
};
afterEach(() => t.stop());

describe('in dev', () => {
  beforeEach(() => start({ auth: 'dev' }));

  it('greets with who it is, and answers with the one subprotocol', async () => {
    const client = await FrameClient.connect(t.wsUrl, { protocols: ['midstream.v1', 'ticket.abc'] });
    expect(client.socket.protocol).toBe('midstream.v1');
    expect(await client.ofType('connection.ready')).toMatchObject({
      protocol: 'midstream.v1',
      principal: { user_id: 'local', org_id: 'local', roles: ['admin'] },
      token_expires_at: null,
      ping_interval_ms: 25_000,
      limits: { sessions_per_socket: 64 },
    });
    expect(client.socket.extensions).toBe('');
  });

  it('looks at no credential', async () => {
    const client = await FrameClient.connect(t.wsUrl, { headers: { Authorization: 'Bearer bad' } });
    await client.ofType('connection.ready');
    client.send({ type: 'connection.authenticate', id: 'a', token: 'bad' });
    expect(await client.reply('a')).toMatchObject({ type: 'command.accepted', result: { expires_at: null } });
    expect(t.verifier.seen).toEqual([undefined, undefined]);
  });

  it('[AUTH-4] refuses a Host that is no loopback name with 403', async () => {
    const refusal = await refusalOf(FrameClient.connect(t.wsUrl, { headers: { Host: 'evil.example' } }));
    expect(refusal.status).toBe(403);
    const body = JSON.parse(refusal.body);
    expect(body).toMatchObject({ type: 'error', error: { code: 'forbidden', type: 'permission_error' } });
    expect(body.request_id).toBe(refusal.headers['x-request-id']);
    for (const host of ['localhost:1', '127.0.0.1', '[::1]:9'])
      await FrameClient.connect(t.wsUrl, { headers: { Host: host } });
  });

  it.each(['http://evil.example', 'null', 'http://127.0.0.1:1', 'not a url'])(
    '[AUTH-4] refuses the origin %s with 403',
    async (origin) => {
      const refusal = await refusalOf(FrameClient.connect(t.wsUrl, { headers: { Origin: origin } }));
      expect(refusal.status).toBe(403);
    },
  );

  it('takes its own origin', async () => {
    const client = await FrameClient.connect(t.wsUrl, { headers: { Origin: t.url } });
    await client.ofType('connection.ready');
  });

  it('takes a client that asks for no subprotocol', async () => {
    const client = await FrameClient.connect(t.wsUrl, { protocols: [] });
    await client.ofType('connection.ready');
  });

  it.each([[['graphql-ws']], [['midstream.v9', 'mqtt']]])(
    'refuses the subprotocols %j with a sentence that names the right one',
    async (protocols) => {
      const refusal = await refusalOf(FrameClient.connect(t.wsUrl, { protocols }));
      expect(refusal.status).toBe(400);
      expect(JSON.parse(refusal.body).error.message).toContain('midstream.v1');
    },
  );

  it('refuses another path with 404', async () => {
    const refusal = await refusalOf(FrameClient.connect(`${t.url.replace('http', 'ws')}/elsewhere`));
    expect(refusal.status).toBe(404);
    expect(refusal.headers['x-should-retry']).toBe('false');
  });

  it('refuses upgrades while it drains, and says that trying again helps', async () => {
    t.ws.drain(1_000);
    const refusal = await refusalOf(FrameClient.connect(t.wsUrl));
    expect(refusal.status).toBe(503);
    expect(JSON.parse(refusal.body).error).toMatchObject({ code: 'draining', retryable: true });
  });

  it('survives an upgrade whose socket is reset at once', async () => {
    const socket = connect(t.port, '127.0.0.1');
    await new Promise<void>((resolve) => socket.once('connect', resolve));
    socket.write(
      'GET /v1/ws HTTP/1.1\r\nHost: localhost\r\nConnection: Upgrade\r\nUpgrade: websocket\r\nSec-WebSocket-Version: 13\r\n' +
        'Sec-WebSocket-Key: dGhlIHNhbXBsZSBub25jZQ==\r\nSec-WebSocket-Protocol: midstream.v1\r\n\r\n',
    );
    socket.resetAndDestroy();
    const client = await FrameClient.connect(t.wsUrl);
    await client.ofType('connection.ready');
  });
});

describe('with authentication', () => {
  beforeEach(() => start({ auth: 'required', origins: ['https://app.example'], limits: { sockets_per_user: 2 } }));

  it.each<Record<string, string>>([
    { Authorization: 'Bearer alice' },
    { authorization: 'bearer alice' },
    { 'X-API-Key': 'alice' },
  ])('takes the credential of %j at the upgrade', async (headers) => {
    const client = await FrameClient.connect(t.wsUrl, { headers });
    expect(await client.ofType('connection.ready')).toMatchObject({ principal: { user_id: 'alice' } });
  });

  it('prefers Authorization to X-API-Key', async () => {
    const client = await FrameClient.connect(t.wsUrl, {
      headers: { Authorization: 'Bearer alice', 'X-API-Key': 'bob' },
    });
    expect(await client.ofType('connection.ready')).toMatchObject({ principal: { user_id: 'alice' } });
  });

  it('[AUTH-1] refuses a bad credential with 401 at the upgrade', async () => {
    const refusal = await refusalOf(FrameClient.connect(t.wsUrl, { headers: { Authorization: 'Bearer bad' } }));
    expect(refusal.status).toBe(401);
    expect(refusal.headers['www-authenticate']).toBe('Bearer');
    expect(JSON.parse(refusal.body).error.code).toBe('unauthenticated');
  });

  it('never takes a credential from the URL', async () => {
    const client = await FrameClient.connect(`${t.wsUrl}?token=alice`);
    client.send({ type: 'ping', id: 'p' });
    expect((await client.closed).code).toBe(4401);
  });

  it('[AUTH-4] takes a listed origin and refuses another before looking at the credential', async () => {
    const headers = { Authorization: 'Bearer alice', Origin: 'https://app.example' };
    await (await FrameClient.connect(t.wsUrl, { headers })).ofType('connection.ready');
    const seen = t.verifier.seen.length;
    const refusal = await refusalOf(
      FrameClient.connect(t.wsUrl, { headers: { ...headers, Origin: 'https://evil.example' } }),
    );
    expect(refusal.status).toBe(403);
    expect(t.verifier.seen).toHaveLength(seen);
  });

  it('opens no more sockets for one user than the limit, and gives a seat back when one closes', async () => {
    const headers = { Authorization: 'Bearer alice' };
    const first = await FrameClient.connect(t.wsUrl, { headers });
    await FrameClient.connect(t.wsUrl, { headers });
    expect((await refusalOf(FrameClient.connect(t.wsUrl, { headers }))).status).toBe(429);
    await FrameClient.connect(t.wsUrl, { headers: { Authorization: 'Bearer bob' } });
    const third = await FrameClient.connect(t.wsUrl);
    third.send({ type: 'connection.authenticate', id: 'a', token: 'alice' });
    expect(await third.reply('a')).toMatchObject({ error: { code: 'rate_limited' } });
    expect((await third.closed).code).toBe(4429);
    first.close();
    await first.closed;
    await (await FrameClient.connect(t.wsUrl, { headers })).ofType('connection.ready');
  });
});
