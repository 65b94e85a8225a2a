/** Two built servers on one Redis, one of them killed half-way: the budget holds, and no hold is left behind. */
import { setTimeout as after } from 'node:timers/promises';
import { type BlackboxServer, startBlackbox } from '../support/blackbox-server.js';
import { type RedisServer, startRedis } from '../support/redis-server.js';
import { type Reply, startUpstream, textReply, type Upstream } from '../support/upstream/index.js';

// biome-ignore lint/suspicious/noExplicitAny: answers of several shapes.
type Json = Record<string, any>;

const EACH = 900;
const LIMIT = (200 * EACH) / 5;

let upstream: Upstream;
let redis: RedisServer;
const servers: BlackboxServer[] = [];

beforeEach(async () => {
  [upstream, redis] = await Promise.all([startUpstream(), startRedis()]);
});
afterEach(async () => {
  for (const server of servers.splice(0)) await server.dispose();
  await Promise.all([upstream.close(), redis.dispose()]);
});

async function start(env: Readonly<Record<string, string>> = {}): Promise<BlackboxServer> {
  const server = await startBlackbox({
    upstream,
    env: { REDIS_URL: redis.url, ...env },
    config: {
      agents: { default: { max_tokens: 400 } },
      roles: { admin: { tools: { allow: ['*'] }, models: ['*'], inspect: true, budget: { day: { tokens: LIMIT } } } },
      limits: { running_turns: 1_000 },
    },
  });
  servers.push(server);
  return server;
}

async function call(server: BlackboxServer, path: string, body?: unknown): Promise<{ status: number; body: Json }> {
  const res = await fetch(server.url + path, {
    ...(body !== undefined && { method: 'POST', body: JSON.stringify(body) }),
    headers: { 'content-type': 'application/json' },
  });
  return { status: res.status, body: (await res.json()) as Json };
}

const dayOf = async (server: BlackboxServer): Promise<{ used: number; held: number }> =>
  (await call(server, '/v1/usage')).body['windows'][0];

it('[BUD-1] [BUD-4] a server that is killed costs the other nothing of the budget but what it used', async () => {
  const [one, other] = [await start(), await start()];
  upstream.script(
    () =>
      ({
        ...textReply('Fine.'),
        usage: { input_tokens: 500, output_tokens: 400 },
        pace: { everyMs: 20 },
      }) as Reply,
  );
  let answered = 0;
  const prompt = async (n: number): Promise<string> => {
    for (;;) {
      const server = n % 2 ? one : other;
      const answer = await call(server, '/v1/chat', { message: `prompt ${n}`, stream: false }).catch(() => undefined);
      if (!answer) return 'lost';
      if (answer.status === 200) {
        answered += 1;
        if (answered === 10) await one.kill();
        return 'answered';
      }
      const { code, retry_after_ms: retryAfterMs } = answer.body['error'];
      if (code !== 'budget_held') return code as string;
      await after(retryAfterMs as number);
    }
  };
  let worst = 0;
  let isDone = false;
  const watching = (async () => {
    while (!isDone) {
      const { used, held } = await dayOf(other);
      worst = Math.max(worst, used + held);
      await after(5);
    }
  })();
  const fates = await Promise.all(Array.from({ length: 200 }, (_, n) => prompt(n)));
  isDone = true;
  await watching;
  expect(fates).toContain('lost');
  expect(worst).toBeLessThanOrEqual(LIMIT);
  // Its holds lapse after 10 s, and the other settles them though it holds nothing itself.
  let day = await dayOf(other);
  for (const until = Date.now() + 25_000; day.held > 0 && Date.now() < until; day = await dayOf(other)) await after(50);
  expect(day.held).toBe(0);
  expect(day.used).toBeLessThanOrEqual(LIMIT);
  expect(day.used).toBeGreaterThanOrEqual(answered * EACH);
  expect(day.used).toBeGreaterThanOrEqual(0.9 * LIMIT);
}, 90_000);

it('says at start that Redis is not there, without its secret, and ends with 1', async () => {
  await redis.kill();
  const failed = await start({ REDIS_URL: `redis://user:heliotrope@127.0.0.1:${redis.port}` }).catch(
    (error: Error) => error.message,
  );
  expect(failed).toContain('ended with 1 ');
  expect(failed).toContain(`127.0.0.1:${redis.port}`);
  expect(failed).not.toContain('heliotrope');
});
