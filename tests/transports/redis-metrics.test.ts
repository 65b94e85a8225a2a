/** What two nodes on one Redis say at `/metrics` of each other, of their leases and of Redis, and at `/ready`. */
import { RedisConnection } from '../../server/adapters/redis/index.js';
import { keys } from '../../server/adapters/redis/keys.js';
import { startTestServer, type TestServer } from '../../server/testing.js';
import { type MetricsPage, metricsWhen, MetricsPage as Page } from '../support/metrics-page.js';
import { type RedisServer, startRedis } from '../support/redis-server.js';
import { manualReply, startUpstream, textReply, type Upstream } from '../support/upstream/index.js';
import { WsRecorder } from '../support/ws-recorder.js';

const PATIENCE_MS = 20_000;

let upstream: Upstream;
let redis: RedisServer;
let look: RedisConnection;
let servers: TestServer[] = [];
let clients: WsRecorder[] = [];

async function startServer(): Promise<TestServer> {
  const server = await startTestServer({
    env: {
      ANTHROPIC_API_KEY: 'sk-test',
      ANTHROPIC_BASE_URL: upstream.baseURL,
      REDIS_URL: redis.url,
      MIDSTREAM_LEASE_MS: '1000',
      MIDSTREAM_LEASE_RENEW_MS: '300',
    },
  });
  servers.push(server);
  return server;
}

beforeEach(async () => {
  [upstream, redis] = await Promise.all([startUpstream(), startRedis({ durable: true })]);
  look = await RedisConnection.open({ url: redis.url });
});
afterEach(async () => {
  for (const client of clients) await client.close();
  for (const server of servers) await server.stop();
  [servers, clients] = [[], []];
  await look.close();
  await Promise.all([upstream.close(), redis.dispose()]);
});

async function connect(server: TestServer): Promise<WsRecorder> {
  const client = await WsRecorder.connect(server.wsUrl);
  client.patienceMs = PATIENCE_MS;
  clients.push(client);
  return client;
}

const when = (server: TestServer, isSo: (page: MetricsPage) => boolean, what: string) =>
  metricsWhen(server.url, isSo, what);

async function ready(server: TestServer) {
  const response = await fetch(`${server.url}/ready`);
  const { checks } = (await response.json()) as { checks: Record<string, { ok: boolean; detail: string }> };
  return { status: response.status, checks };
}

async function readyWhen(server: TestServer, status: number) {
  for (const until = performance.now() + PATIENCE_MS; ; ) {
    const answer = await ready(server);
    if (answer.status === status) return answer;
    if (performance.now() > until) throw new Error(`/ready stayed ${answer.status}`);
    await new Promise((resolve) => setTimeout(resolve, 50));
  }
}

/** A turn that is in the middle of its text, on a server of its own. */
async function stream() {
  const server = await startServer();
  const reply = manualReply();
  upstream.script([reply, textReply('Said again.'), textReply('And again.')]);
  const client = await connect(server);
  const sessionId = await client.openSession();
  const { result } = await client.prompt(sessionId, 'Say it.');
  await reply.start();
  reply.openText();
  reply.text('One two ');
  const turnId = result.turn_id as string;
  await client.event('event_delta', { turnId });
  return { server, client, sessionId, reply, turnId };
}

it('[NODE-1] a node that is asked by another is timed, and each says what is its own and what it follows', async () => {
  const { server: a, sessionId, reply } = await stream();
  const b = await startServer();
  const onB = await connect(b);
  await onB.attach(sessionId);
  reply.text('three ');
  await when(a, (page) => page.value('log_append_seconds_count{contents="deltas"}') > 0, 'deltas are measured');
  await onB.accepted({ type: 'user.interrupt', session_id: sessionId });
  const [ofA, ofB] = await Promise.all([Page.read(a.url), Page.read(b.url)]);
  expect({
    claimed: ofA.value('lease_changes_total{change="claimed"}'),
    open: [ofA.value('sessions_open'), ofB.value('sessions_open')],
    followed: [ofA.value('sessions_followed'), ofB.value('sessions_followed')],
    watched: [ofA.value('subscriptions{state="live"}'), ofB.value('subscriptions{state="live"}')],
    unavailable: ofB.value('node_asks_total{outcome="unavailable"}'),
    cancels: [ofA.value('cancel_seconds_count'), ofB.value('cancel_seconds_count')],
  }).toEqual({ claimed: 1, open: [1, 0], followed: [0, 1], watched: [1, 1], unavailable: 0, cancels: [0, 1] });
  expect(ofB.value('node_asks_total{outcome="answered"}')).toBeGreaterThan(0);
  expect(ofB.value('node_ask_seconds_count')).toBe(ofB.value('node_asks_total{outcome="answered"}'));
});

it('[NODE-3] a lease that is lost, and its turn that is taken up again, are counted', async () => {
  const { server, client, sessionId, turnId } = await stream();
  // Another has it, for a moment.
  await look.do((redis) =>
    redis.hset(keys.session(sessionId), 'token', 'other', 'node', 'other', 'until', Date.now() + 100),
  );
  expect(await client.event('turn.ended', { turnId })).toMatchObject({ stop_reason: 'end_turn' });
  const page = await Page.read(server.url);
  expect({
    lost: page.value('lease_changes_total{change="lost"}'),
    claimed: page.value('lease_changes_total{change="claimed"}'),
    takenUp: page.value('turns_taken_up_total'),
    epochs: page.value('log_epochs_total'),
  }).toEqual({ lost: 1, claimed: 2, takenUp: 1, epochs: 0 });
});

it('[LOG-7] a log that begins a new epoch is counted', async () => {
  const { server: a, reply, client, sessionId, turnId } = await stream();
  reply.closeBlock();
  reply.finish();
  await client.event('turn.ended', { turnId });
  await a.stop();
  servers = servers.filter((server) => server !== a);
  await look.do((redis) => redis.hset(keys.session(sessionId), 'history', 'another'));
  const b = await startServer();
  await (await connect(b)).attach(sessionId);
  upstream.script([textReply('Fine.')]);
  const onB = clients.at(-1) as WsRecorder;
  const { result } = await onB.prompt(sessionId, 'Go on.');
  await onB.event('turn.ended', { turnId: result.turn_id as string });
  expect((await Page.read(b.url)).value('log_epochs_total')).toBe(1);
});

it('a Redis that goes away is named by /ready and /metrics until it is back, and the appends it did not take are counted', async () => {
  const { server, reply } = await stream();
  expect((await ready(server)).status).toBe(200);
  expect((await Page.read(server.url)).value('store_up{store="redis"}')).toBe(1);
  await redis.kill();
  reply.text('three');
  const away = await readyWhen(server, 503);
  expect(away.checks['redis']).toEqual({ ok: false, detail: expect.stringContaining('Redis did not answer') });
  const page = await when(server, (now) => now.value('store_up{store="redis"}') === 0, 'the store is down');
  expect(page.series.has('midstream_store_up{store="redis"}')).toBe(true);
  await when(server, (now) => now.value('log_append_failures_total{reason="store_failed"}') > 0, 'an append failed');
  await redis.start();
  expect((await readyWhen(server, 200)).checks['redis']?.ok).toBe(true);
  await when(server, (now) => now.value('store_up{store="redis"}') === 1, 'the store is back');
});

it('a Redis that answers and takes no writes is not ready, and says why', async () => {
  const server = await startServer();
  await look.do((redis) => redis.config('SET', 'maxmemory', '1'));
  const full = await readyWhen(server, 503);
  expect(full.checks['redis']).toEqual({ ok: false, detail: expect.stringContaining('maxmemory') });
  await look.do((redis) => redis.config('SET', 'maxmemory', '0'));
  await readyWhen(server, 200);
});
