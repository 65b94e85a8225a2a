/** Two servers, one Redis, one user: the budget is one, whichever server is asked, and whichever dies. */
import { createHmac } from 'node:crypto';
import { setTimeout as after } from 'node:timers/promises';
import { type RecordedRequest, startUpstream, textReply, type Upstream } from '../support/upstream/index.js';
import { type BlackboxServer, startBlackbox } from '../support/blackbox-server.js';
import { callHttp, type HttpAnswer } from '../support/blackbox-http.js';
import { type RedisServer, startRedis } from '../support/redis-server.js';

const PROMPTS = 200;
/** What each request uses, as the upstream says. */
const EACH = { input_tokens: 500, output_tokens: 400 };
const USED_BY_EACH = EACH.input_tokens + EACH.output_tokens;
/** The prompts want five times as much. */
const LIMIT = (PROMPTS * USED_BY_EACH) / 5;
const SECRET = 'of-thirty-two-bytes-at-the-very-least';
const IDENTITY = { issuer: 'https://issuer.test', audience: 'midstream' };

const encode = (part: object): string => Buffer.from(JSON.stringify(part)).toString('base64url');

function tokenOf(user: string): string {
  const exp = Math.floor(Date.now() / 1_000) + 600;
  const claims = { iss: IDENTITY.issuer, aud: IDENTITY.audience, sub: user, org: 'acme', roles: ['user'], exp };
  const signed = `${encode({ alg: 'HS256' })}.${encode(claims)}`;
  return `${signed}.${createHmac('sha256', SECRET).update(signed).digest('base64url')}`;
}

const headers = { authorization: `Bearer ${tokenOf('ada')}` };

let upstream: Upstream;
let redis: RedisServer;
let servers: BlackboxServer[] = [];

const startServer = (): Promise<BlackboxServer> =>
  startBlackbox({
    upstream,
    env: {
      REDIS_URL: redis.url,
      MIDSTREAM_JWT_SECRET: SECRET,
      MIDSTREAM_JWT_ISSUER: IDENTITY.issuer,
      MIDSTREAM_JWT_AUDIENCE: IDENTITY.audience,
    },
    config: {
      agents: { default: { max_tokens: 400 } },
      roles: { user: { tools: { allow: ['*'] }, models: ['*'], budget: { day: { tokens: LIMIT } } } },
      limits: { running_turns: 1_000 },
    },
  });

beforeEach(async () => {
  [upstream, redis] = await Promise.all([startUpstream(), startRedis()]);
  upstream.scriptCounts(() => EACH.input_tokens);
  servers = await Promise.all([startServer(), startServer()]);
});
afterEach(async () => {
  await Promise.all(servers.map((server) => server.dispose()));
  await Promise.all([upstream.close(), redis.dispose()]);
});

interface Day {
  readonly used: number;
  readonly held: number;
  readonly limit: number;
}

/** Asked again where a busy server can't say at that moment who was revoked, and so lets nobody in. */
async function readDay(server: BlackboxServer): Promise<Day> {
  for (;;) {
    const { status, body } = await callHttp(server.url, 'GET', '/v1/usage', undefined, headers);
    if (status === 200) return body.windows[0] as Day;
    if (status !== 503) throw new Error(`/v1/usage answered ${status}`);
    await after(50);
  }
}

/** Reads the budget until it is stopped; resolves with the most that was ever used and held. */
function watchBudget(server: BlackboxServer): () => Promise<number> {
  let isDone = false;
  let most = 0;
  const watching = (async () => {
    while (!isDone) {
      const { used, held } = await readDay(server);
      most = Math.max(most, used + held);
      await after(5);
    }
  })();
  return async () => {
    isDone = true;
    await watching;
    return most;
  };
}

/** One prompt, sent again while only holds are in the way, and to another server where the first is gone. */
async function prompt(number: number): Promise<string> {
  for (let tries = 0; ; tries++) {
    const server = servers[(number + tries) % servers.length] as BlackboxServer;
    const body = { message: `prompt ${number}`, stream: false };
    const answer = await callHttp(server.url, 'POST', '/v1/chat', body, headers).catch(() => undefined);
    if (answer?.status === 200) return answer.body.stop_reason as string;
    const error = answer?.body.error as HttpAnswer['body'];
    if (error !== undefined && !error.retryable) return error.code as string;
    await after((error?.retry_after_ms as number | undefined) ?? 10);
  }
}

const promptAll = (): Promise<string[]> => Promise.all(Array.from({ length: PROMPTS }, (_, n) => prompt(n)));

const settled = async (server: BlackboxServer): Promise<Day> => {
  for (const until = Date.now() + 30_000; Date.now() < until; await after(50)) {
    const day = await readDay(server);
    if (day.held === 0) return day;
  }
  throw new Error('a hold was left');
};

const replyPaced = () => ({ ...textReply('word '.repeat(40)), usage: EACH, pace: { everyMs: 2 } });

it('[BUD-1] spends never more than the budget, and nearly all of it', async () => {
  upstream.script(replyPaced);
  const stopWatching = watchBudget(servers[0] as BlackboxServer);
  const fates = await promptAll();
  expect(await stopWatching()).toBeLessThanOrEqual(LIMIT);
  const answered = fates.filter((fate) => fate === 'end_turn').length;
  expect(new Set(fates)).toEqual(new Set(['end_turn', 'budget_exhausted']));
  expect(answered * USED_BY_EACH).toBeGreaterThanOrEqual(0.9 * LIMIT);
  // Whoever is asked tells the same, and no prompt was begun that could not be paid to its end.
  for (const server of servers) expect(await settled(server)).toMatchObject({ used: answered * USED_BY_EACH, held: 0 });
  const requests = upstream.requests.filter(({ path }) => path === '/v1/messages');
  const ends = await Promise.all(requests.map((request) => request.closed));
  expect(ends.map(({ by }) => by)).toEqual(Array.from({ length: answered }, () => 'finished'));
}, 60_000);

it('[BUD-1] [BUD-4] keeps to it when one of them is killed half-way, and leaves no hold of the dead one', async () => {
  const [survivor, victim] = servers as [BlackboxServer, BlackboxServer];
  let begun = 0;
  let killed: Promise<void> | undefined;
  upstream.script((_request: RecordedRequest) => {
    begun++;
    if (begun === PROMPTS / 10) killed = victim.kill();
    return replyPaced();
  });
  const stopWatching = watchBudget(survivor);
  const fates = await promptAll();
  await killed;
  expect(killed).toBeDefined();
  expect(await stopWatching()).toBeLessThanOrEqual(LIMIT);
  expect(new Set(fates)).toEqual(new Set(['end_turn', 'budget_exhausted']));
  const { used } = await settled(survivor);
  expect(used).toBeLessThanOrEqual(LIMIT);
  expect(used).toBeGreaterThanOrEqual(0.9 * LIMIT);
}, 90_000);
