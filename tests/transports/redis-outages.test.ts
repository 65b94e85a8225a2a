/** Two servers on a Redis that restarts, fails over, moves, is full or forgets, while a turn streams through both. */
import { setTimeout as after } from 'node:timers/promises';
import { Redis } from 'ioredis';
import { keys } from '../../server/adapters/redis/keys.js';
import { DIRECTORY_TIMES } from '../../server/ports/directory-store.js';
import { startTestServer, type TestServer } from '../../server/testing.js';
import { found } from '../support/eventually.js';
import { startRedisCluster } from '../support/redis-cluster.js';
import { startRedisSentinel } from '../support/redis-sentinel.js';
import { startRedis } from '../support/redis-server.js';
import { type ManualReply, manualReply, startUpstream, textReply, type Upstream } from '../support/upstream/index.js';
import { WsRecorder } from '../support/ws-recorder.js';

// biome-ignore lint/suspicious/noExplicitAny: answers of several shapes.
type Json = Record<string, any>;

let upstream: Upstream;
let endings: (() => Promise<unknown>)[];

beforeEach(async () => {
  endings = [];
  upstream = await startUpstream();
});
afterEach(async () => {
  for (const end of endings.reverse()) await end();
  await upstream.close();
  expect(upstream.violations).toEqual([]);
});

interface Scene {
  readonly a: TestServer;
  readonly b: TestServer;
  /** On the server that has the turn, and on the other. */
  readonly onA: WsRecorder;
  readonly onB: WsRecorder;
  readonly sessionId: string;
  readonly turnId: string;
  readonly epoch: string;
  readonly reply: ManualReply;
}

async function start(url: string): Promise<TestServer> {
  const server = await startTestServer({
    tools: [{ name: 'look', description: 'look', input_schema: { type: 'object' as const }, run: () => 'seen' }],
    env: { ANTHROPIC_API_KEY: 'sk-test', ANTHROPIC_BASE_URL: upstream.baseURL, REDIS_URL: url },
    config: {
      agents: { default: { max_tokens: 400, tools: ['look'] } },
      roles: {
        admin: { tools: { allow: ['*'] }, models: ['*'], inspect: true, budget: { day: { tokens: 1_000_000 } } },
      },
    },
  });
  endings.push(() => server.stop());
  return server;
}

async function connect(server: TestServer): Promise<WsRecorder> {
  const client = await WsRecorder.connect(server.wsUrl);
  client.patienceMs = 15_000;
  endings.push(() => client.drop());
  return client;
}

/** A turn of the first server that streams, watched on both. */
async function stream(url: string): Promise<Scene> {
  const reply = manualReply();
  upstream.script([reply, textReply('Said again.'), textReply('And again.')]);
  const [a, b] = [await start(url), await start(url)];
  const [onA, onB] = [await connect(a), await connect(b)];
  const sessionId = await onA.openSession();
  const { epoch } = await onB.attach(sessionId, { deltas: true });
  const { result } = await onA.prompt(sessionId, 'Say it.');
  await reply.start();
  reply.openText();
  reply.text('One ');
  for (const client of [onA, onB]) await client.until(() => textOf(client) === 'One ', 'the first word');
  return { a, b, onA, onB, sessionId, turnId: result.turn_id as string, epoch: epoch as string, reply };
}

const textOf = (client: WsRecorder): string =>
  client
    .events()
    .map((event) => (event.type === 'event_delta' && 'content' in event.delta ? event.delta.content.text : ''))
    .join('');

const get = async (server: TestServer, path: string): Promise<{ status: number; body: Json }> => {
  const res = await fetch(server.url + path);
  return { status: res.status, body: (await res.json()) as Json };
};

/** What fails is looked at again, too: a store may be away. */
const eventually = <T>(what: string, look: () => Promise<T | undefined>): Promise<T> =>
  found(what, () => look().catch(() => undefined), { withinMs: 15_000, everyMs: 20 });

/** The turn ends, both have seen all of it in the epoch in which it began, and its hold is settled. */
async function goesOn({ a, b, onA, onB, sessionId, turnId, epoch, reply }: Scene): Promise<void> {
  reply.text('three.');
  reply.closeBlock();
  reply.finish('end_turn', 60);
  for (const client of [onA, onB]) {
    expect(await client.event('turn.ended', { turnId })).toMatchObject({ stop_reason: 'end_turn' });
    expect(textOf(client)).toBe('One two three.');
    expect(client.violations).toEqual([]);
    expect(client.frames.filter(({ type }) => type === 'connection.reset')).toEqual([]);
  }
  for (const server of [a, b]) {
    const { data } = await eventually('the log', async () => {
      const { status, body } = await get(server, `/v1/sessions/${sessionId}/events?limit=1000`);
      return status === 200 ? body : undefined;
    });
    const types = (data as Json[]).map(({ type }) => type as string);
    expect(types.filter((type) => type === 'turn.ended' || type === 'step.superseded')).toEqual(['turn.ended']);
  }
  expect((await onB.attach(sessionId, { epoch, after_seq: 1 })).mode).toBe('replay');
  await eventually('a settled hold', async () => {
    const [window] = (await get(a, '/v1/usage')).body['windows'];
    return window.held === 0 && window.used > 0 ? window : undefined;
  });
}

describe('a turn goes on', () => {
  it('[LOG-2] [LOG-7] after a restart of Redis that lost nothing, in its epoch', async () => {
    const redis = await startRedis({ durable: true });
    endings.push(() => redis.dispose());
    const scene = await stream(redis.url);
    await redis.kill();
    scene.reply.text('two ');
    expect((await get(scene.a, '/ready')).status).toBe(503);
    await redis.start();
    await goesOn(scene);
  }, 40_000);

  it('[TOOL-1] with the tools that it would have called, once it is known again who was revoked', async () => {
    const redis = await startRedis({ durable: true });
    endings.push(() => redis.dispose());
    const scene = await stream(redis.url);
    const { onB, reply, turnId } = scene;
    await redis.kill();
    // Until nobody can say any more who was revoked; nothing tells from outside when that is.
    await after(DIRECTORY_TIMES.staleMs + 200);
    reply.closeBlock();
    reply.toolUse('toolu_look', 'look', {}, 1);
    reply.finish('tool_use', 60);
    await reply.closed;
    await redis.start();
    expect(await onB.event('turn.ended', { turnId })).toMatchObject({ stop_reason: 'end_turn' });
    const types = onB.events().map(({ type }) => type);
    expect(types).not.toContain('tool.denied');
    expect(onB.events().find(({ type }) => type === 'agent.tool_result')).toMatchObject({ is_error: false });
  }, 40_000);

  it('[LOG-7] after a failover that lost nothing, in its epoch', async () => {
    const sentinel = await startRedisSentinel();
    endings.push(() => sentinel.dispose());
    const scene = await stream(sentinel.url);
    await sentinel.replicated();
    await sentinel.master.kill();
    scene.reply.text('two ');
    await goesOn(scene);
  }, 60_000);

  it('when its session moves to another server of a Cluster', async () => {
    const cluster = await startRedisCluster();
    endings.push(() => cluster.dispose());
    const scene = await stream(cluster.url);
    await moveSlot(
      cluster.nodes.map(({ port }) => port),
      keys.session(scene.sessionId),
      () => undefined,
    );
    scene.reply.text('two ');
    await goesOn(scene);
  }, 60_000);

  it('[CMD-3] when a full Redis has room again; what would need room is refused meanwhile', async () => {
    const redis = await startRedis({ settings: { 'maxmemory-policy': 'noeviction' } });
    endings.push(() => redis.dispose());
    const operator = new Redis(redis.url);
    endings.push(async () => operator.disconnect());
    const scene = await stream(redis.url);
    const other = await scene.onB.createSession();
    await operator.config('SET', 'maxmemory', '1');
    scene.reply.text('two ');
    const command = { type: 'user.message' as const, session_id: other, content: 'Say it.', id: 'full' };
    expect(await scene.onB.refused(command)).toMatchObject({ code: 'store_unavailable', retryable: true });
    const { checks } = await eventually('a server that is not ready', async () => {
      const { status, body } = await get(scene.a, '/ready');
      return status === 503 && body['checks'].log.ok === false ? body : undefined;
    });
    expect(checks.redis).toMatchObject({ ok: false, detail: expect.stringContaining('OOM') });
    await operator.config('SET', 'maxmemory', '0');
    await goesOn(scene);
    expect((await get(scene.a, '/ready')).status).toBe(200);
    const { result } = await scene.onB.accepted(command);
    await eventually('the end of the turn', async () => {
      const { body } = await get(scene.b, `/v1/sessions/${other}/events`);
      return (body['data'] as Json[]).find((e) => e['type'] === 'turn.ended' && e['turn_id'] === result.turn_id);
    });
  }, 60_000);
});

it('[LOG-7] [TURN-1] a failover that lost the tail begins another epoch: watchers are told, and the turn ends once', async () => {
  const sentinel = await startRedisSentinel();
  endings.push(() => sentinel.dispose());
  const scene = await stream(sentinel.url);
  const { a, onA, onB, sessionId, turnId, epoch, reply } = scene;
  await sentinel.replicated();
  await sentinel.cutReplication();
  reply.text('two, which is lost');
  for (const client of [onA, onB]) await client.until(() => textOf(client).includes('lost'), 'the lost words');
  await sentinel.master.kill();
  for (const client of [onA, onB]) {
    const reset = await client.waitFor('connection.reset');
    expect(reset).toMatchObject({ session_id: sessionId, epoch: expect.not.stringMatching(`^${epoch}$`) });
  }
  const watcher = await connect(scene.b);
  const attached = await eventually('an attachment', () => watcher.attach(sessionId, { epoch, after_seq: 6 }));
  expect(attached).toMatchObject({ mode: 'snapshot', epoch: expect.not.stringMatching(`^${epoch}$`) });
  const log = await eventually('the end of the turn', async () => {
    const data = (await get(a, `/v1/sessions/${sessionId}/events?limit=1000`)).body['data'] as Json[];
    return data.some(({ type }) => type === 'turn.ended') ? data : undefined;
  });
  expect(log.filter(({ type }) => type === 'turn.ended')).toMatchObject([{ turn_id: turnId, stop_reason: 'end_turn' }]);
  expect(JSON.stringify(log)).not.toContain('which is lost');
  expect(new Set(log.map(({ seq }) => seq)).size).toBe(log.length);
  expect(watcher.violations).toEqual([]);
}, 60_000);

it('[LOG-7] a Redis that forgot all has its watchers told that the session is gone', async () => {
  const redis = await startRedis();
  endings.push(() => redis.dispose());
  const { a, onA, onB, sessionId } = await stream(redis.url);
  await redis.kill();
  await redis.start();
  for (const client of [onA, onB])
    expect(await client.waitFor('connection.detached')).toMatchObject({
      session_id: sessionId,
      code: 'session_not_found',
    });
  await eventually('a server that works', async () => {
    const client = await connect(a);
    return client.createSession();
  });
}, 60_000);

/** Key by key, as `redis-cli --cluster reshard` does; `between` is called while part of it is here and part there. */
async function moveSlot(ports: readonly number[], key: string, between: () => unknown): Promise<void> {
  const clients = ports.map((port) => new Redis({ port, host: '127.0.0.1' }));
  try {
    const slot = (await clients[0]?.cluster('KEYSLOT', key)) as number;
    const ids = (await Promise.all(clients.map((client) => client.cluster('MYID')))) as string[];
    const counts = await Promise.all(clients.map((client) => client.cluster('COUNTKEYSINSLOT', slot)));
    const from = counts.findIndex((count) => Number(count) > 0);
    const to = (from + 1) % clients.length;
    const [source, target] = [clients[from] as Redis, clients[to] as Redis];
    await target.cluster('SETSLOT', slot, 'IMPORTING', ids[from] as string);
    await source.cluster('SETSLOT', slot, 'MIGRATING', ids[to] as string);
    for (;;) {
      const some = (await source.cluster('GETKEYSINSLOT', slot, 1)) as string[];
      if (some.length === 0) break;
      await source.call('MIGRATE', '127.0.0.1', String(ports[to]), '', '0', '5000', 'KEYS', ...some);
      between();
    }
    for (const client of [target, source, ...clients]) await client.cluster('SETSLOT', slot, 'NODE', ids[to] as string);
  } finally {
    for (const client of clients) client.disconnect();
  }
}
