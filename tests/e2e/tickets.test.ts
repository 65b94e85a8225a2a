/** One-time tickets seen from outside: one opens one socket or one stream, as who asked for it, and nothing else. */
import { createClient } from '../../client-sdk/index.js';
import { mintKey } from '../../server/adapters/api-keys/index.js';
import { startTestServer, type TestServer } from '../../server/testing.js';
import { callHttp } from '../support/blackbox-http.js';
import { type BlackboxServer, startBlackbox } from '../support/blackbox-server.js';
import { FrameClient, refusalOf } from '../transports/support/frame-client.js';
import { ManualClock } from '../transports/support/manual-clock.js';
import { RecordingLogger } from '../transports/support/start-transports.js';

const keys = { ada: mintKey(), boss: mintKey() };
const config = {
  roles: { worker: { tools: { allow: ['*'] }, models: ['*'] }, admin: { tools: { allow: ['*'] }, inspect: true } },
  api_keys: [
    { id: 'ada-key', sha256: keys.ada.sha256, user_id: 'ada', org_id: 'acme', roles: ['worker'] },
    { id: 'boss-key', sha256: keys.boss.sha256, user_id: 'boss', org_id: 'acme', roles: ['admin'] },
  ],
};
const as = (name: keyof typeof keys) => ({ 'X-API-Key': keys[name].key });

describe('a ticket', () => {
  let clock: ManualClock;
  let server: TestServer;
  const logger = new RecordingLogger();
  beforeEach(async () => {
    clock = new ManualClock();
    server = await startTestServer({ config, clock, logger });
  });
  afterEach(() => server.stop());

  const issue = async (): Promise<string> =>
    (await callHttp(server.url, 'POST', '/v1/ws-tickets', undefined, as('ada'))).body.ticket;
  const connect = (ticket: string): Promise<FrameClient> =>
    FrameClient.connect(server.wsUrl, { protocols: ['midstream.v1', `ticket.${ticket}`] });
  const statusOf = async (ticket: string): Promise<number> => (await refusalOf(connect(ticket))).status;

  it('[AUTH-1] opens one socket, as who asked for it, and does not open another', async () => {
    const ticket = await issue();
    expect(ticket).toMatch(/^[A-Za-z0-9_-]{43}$/);
    const client = await connect(ticket);
    const principal = { user_id: 'ada', org_id: 'acme', roles: ['worker'], key_id: 'ada-key' };
    expect(await client.ofType('connection.ready')).toMatchObject({ principal });
    expect(await statusOf(ticket)).toBe(401);
    client.close();
    await client.closed;
    expect(await statusOf(ticket)).toBe(401);
    const audit = await callHttp(server.url, 'GET', '/v1/audit?kind=authentication', undefined, as('boss'));
    expect(audit.body.data).toHaveLength(2);
    expect(JSON.stringify([logger.records, audit.body])).not.toContain(ticket);
  });

  it('[AUTH-1] raced for by many opens exactly one', async () => {
    for (let round = 0; round < 5; round++) {
      const ticket = await issue();
      const tries = await Promise.allSettled(Array.from({ length: 8 }, () => connect(ticket)));
      const won = tries.filter((one) => one.status === 'fulfilled').map(({ value }) => value);
      expect(won).toHaveLength(1);
      for (const one of tries) if (one.status === 'rejected') expect(one.reason).toMatchObject({ status: 401 });
      for (const client of won) client.close();
    }
  });

  it('[AUTH-1] opens nothing when its 30 s are over', async () => {
    const [inTime, late] = [await issue(), await issue()];
    clock.advance(29_999);
    const client = await connect(inTime);
    client.close();
    clock.advance(1);
    expect(await statusOf(late)).toBe(401);
  });

  it('of a user who was revoked meanwhile opens nothing, and the socket that it opened is closed', async () => {
    const [first, second] = [await issue(), await issue()];
    const client = await connect(first);
    await callHttp(server.url, 'POST', '/v1/revocations', { user_id: 'ada' }, as('boss'));
    expect((await client.closed).code).toBe(4401);
    const refusal = await refusalOf(connect(second));
    expect([refusal.status, JSON.parse(refusal.body).error.message]).toEqual([401, 'The credential was revoked']);
  });

  it('[AUTH-1] opens one event stream by its URL, and no socket and no other route that way', async () => {
    const { body } = await callHttp(server.url, 'POST', '/v1/sessions', {}, as('ada'));
    const ticket = await issue();
    const at = (path: string) => `${server.url}${path}?ticket=${ticket}`;
    expect((await refusalOf(FrameClient.connect(`${server.wsUrl}?ticket=${ticket}`))).status).toBe(401);
    for (const path of ['/v1/sessions', `/v1/sessions/${body.id}`, `/v1/sessions/${body.id}/events`])
      expect((await fetch(at(path))).status).toBe(401);
    expect((await fetch(at('/v1/ws-tickets'), { method: 'POST' })).status).toBe(401);
    const stream = await fetch(at(`/v1/sessions/${body.id}/events/stream`));
    expect([stream.status, stream.headers.get('content-type')]).toEqual([200, 'text/event-stream']);
    await stream.body?.cancel();
    expect((await fetch(at(`/v1/sessions/${body.id}/events/stream`))).status).toBe(401);
    expect(JSON.stringify(logger.records)).not.toContain(ticket);
  });

  it.each(['', 'x', '../../etc/passwd', 'A'.repeat(43), 'A'.repeat(5_000)])(
    'that is a guess opens nothing: %.20j',
    async (guess) => {
      const refusal = await refusalOf(
        FrameClient.connect(server.wsUrl, {
          headers: { 'Sec-WebSocket-Protocol': `midstream.v1, ticket.${guess}` },
          protocols: [],
        }),
      ).catch((error: unknown) => error);
      expect(refusal).toMatchObject({ status: 401 });
    },
  );
});

it('the client connects with a ticket each time, and without a token', async () => {
  const server = await startTestServer({ config });
  const tickets: string[] = [];
  const client = createClient({
    url: server.url,
    backoff: { baseMs: 1, maxMs: 5 },
    ticket: async () => {
      // The second one is of no use: the client asks for another.
      const { body } = await callHttp(server.url, 'POST', '/v1/ws-tickets', undefined, as('ada'));
      tickets.push(body.ticket);
      return tickets.length === 2 ? 'A'.repeat(43) : body.ticket;
    },
  });
  await client.createSession();
  client.drop();
  await client.createSession();
  expect(new Set(tickets).size).toBe(3);
  client.close();
  await server.stop();
});

describe('the program', () => {
  let server: BlackboxServer;
  beforeAll(async () => {
    server = await startBlackbox({ config });
  });
  afterAll(() => server.dispose());

  it('writes no ticket into its log, used or not, and knows none of the run before', async () => {
    const issue = async (): Promise<string> =>
      (await callHttp(server.url, 'POST', '/v1/ws-tickets', undefined, as('ada'))).body.ticket;
    const [used, kept] = [await issue(), await issue()];
    const protocols = (ticket: string) => ({ protocols: ['midstream.v1', `ticket.${ticket}`] });
    const client = await FrameClient.connect(server.wsUrl, protocols(used));
    await client.ofType('connection.ready');
    await refusalOf(FrameClient.connect(server.wsUrl, protocols(used)));
    await fetch(`${server.url}/v1/sessions?ticket=${kept}`);
    await server.restart();
    expect((await refusalOf(FrameClient.connect(server.wsUrl, protocols(kept)))).status).toBe(401);
    for (const ticket of [used, kept]) expect(server.stdout + server.stderr).not.toContain(ticket);
  });
});
