/** The ledger on Redis beyond its contract: Redis that goes, stalls or forgets, and arithmetic in two languages. */
import { readFileSync } from 'node:fs';
import { join } from 'node:path';
import { NO_USAGE } from '../../protocol/index.js';
import { keys } from '../../server/adapters/redis/keys.js';
import { RedisConnection, RedisLedger, RedisUnavailable } from '../../server/adapters/redis/index.js';
import { checkHold, type Counter, type Limit, windowsAt } from '../../server/core/budget-math.js';
import { type Hold, type HoldRequest, LEDGER_TIMES, type Settlement } from '../../server/ports/ledger.js';
import { createRandom } from '../core/support/random.js';
import { startRedisCluster } from '../support/redis-cluster.js';
import { flushRedis, type RedisServer, type RedisSettings, startRedis } from '../support/redis-server.js';

const WHO = { userId: 'ada', orgId: 'acme' };
const DAY_TOKENS: Limit = { scope: 'user', window: 'day', unit: 'tokens', limit: 100 };
const aRequest = (over: Partial<HoldRequest> = {}): HoldRequest => ({
  ...WHO,
  ...{ sessionId: 'sesn_1', turnId: 'turn_1', step: 1, attempt: 1, model: 'm', tags: [] },
  amounts: { tokens: 40, nanoUsd: 0 },
  limits: [DAY_TOKENS],
  ...over,
});
const aSettlement = (tokens: number): Settlement => ({
  usage: { ...NO_USAGE, output_tokens: tokens },
  estimated: false,
  costNanoUsd: 0,
});

interface Node {
  readonly connection: RedisConnection;
  readonly ledger: RedisLedger;
}

const nodes: Node[] = [];
const servers: RedisServer[] = [];
let server: RedisServer;

async function start(settings: RedisSettings = {}): Promise<RedisServer> {
  const started = await startRedis(settings);
  servers.push(started);
  return started;
}

async function aNode(commandTimeoutMs = 2_000, waitMs = 0): Promise<Node> {
  const connection = await RedisConnection.open({ url: server.url, commandTimeoutMs });
  const node = { connection, ledger: new RedisLedger({ redis: connection, logger: undefined, waitMs }) };
  nodes.push(node);
  return node;
}

afterEach(async () => {
  for (const { connection, ledger } of nodes.splice(0)) {
    await ledger.close();
    await connection.close();
  }
  for (const started of servers.splice(0)) await started.dispose();
});

const hold = async (ledger: RedisLedger, over: Partial<HoldRequest> = {}): Promise<Hold> => {
  const reservation = await ledger.reserve(aRequest(over));
  if (!reservation.granted) throw new Error(reservation.error.code);
  return reservation.hold;
};
const tokensOf = async ({ ledger }: Node): Promise<{ used?: number | undefined; held?: number | undefined }> => {
  const [day] = await ledger.usage(WHO);
  return { used: day?.used.tokens, held: day?.held.tokens };
};
const whenReady = ({ connection }: Node): Promise<unknown> =>
  new Promise((resolve) => void connection.client.once('ready', resolve));

/** Asks again until it is so, or for long enough. */
async function until(node: Node, used: number): Promise<void> {
  for (const end = Date.now() + 10_000; Date.now() < end; ) if ((await tokensOf(node)).used === used) return;
  throw new Error('it was not settled');
}

describe('Redis that goes away', () => {
  it('[BUD-1] grants nothing, and what was settled meanwhile counts once it is back', async () => {
    server = await start({ durable: true });
    const node = await aNode();
    const [first, second] = [await hold(node.ledger), await hold(node.ledger)];
    await server.kill();
    await expect(node.ledger.reserve(aRequest())).rejects.toBeInstanceOf(RedisUnavailable);
    await expect(node.ledger.usage(WHO)).rejects.toBeInstanceOf(RedisUnavailable);
    expect(await node.ledger.settle(first, aSettlement(7))).toEqual([]);
    expect(await node.ledger.settle(second, aSettlement(8))).toEqual([]);
    expect(await node.ledger.settle(second, aSettlement(99))).toEqual([]);
    await node.ledger.extend([{ hold: first, known: aSettlement(3) }]);
    await Promise.all([whenReady(node), server.start()]);
    await until(node, 15);
    expect(await tokensOf(node)).toEqual({ used: 15, held: 0 });
  });

  it('[BUD-2] counts what was used though Redis forgot the hold, and counts it once', async () => {
    server = await start();
    const node = await aNode();
    const held = await hold(node.ledger);
    await flushRedis(node.connection);
    await node.ledger.settle(held, aSettlement(9));
    await node.ledger.settle(held, aSettlement(9));
    expect(await tokensOf(node)).toEqual({ used: 9, held: 0 });
  });

  it('[BUD-1] holds again what Redis forgot, with the next heartbeat', async () => {
    server = await start();
    const node = await aNode();
    const held = await hold(node.ledger);
    await flushRedis(node.connection);
    await node.ledger.extend([{ hold: held, known: undefined }]);
    expect(await tokensOf(node)).toEqual({ used: 0, held: 40 });
    await node.ledger.settle(held, aSettlement(9));
    expect(await tokensOf(node)).toEqual({ used: 9, held: 0 });
  });

  it('[BUD-2] counts once what Redis did without saying so', async () => {
    server = await start();
    const node = await aNode(100);
    const held = await hold(node.ledger);
    server.stall();
    // Sent, and not answered in time: Redis does it when it goes on, and it is sent again.
    expect(await node.ledger.settle(held, aSettlement(9))).toEqual([]);
    await expect(node.ledger.reserve(aRequest())).rejects.toBeInstanceOf(RedisUnavailable);
    server.resume();
    const other = await aNode();
    await until(other, 9);
    await node.ledger.close();
    expect((await tokensOf(other)).used).toBe(9);
    const rows = await other.ledger.spend({ ...WHO, sinceDay: '2020-01-01', groupBy: [], limit: 9 });
    expect(rows.map(({ requests }) => requests)).toEqual([1]);
  });

  it('[BUD-4] gives up nobody’s holds right after it is back', async () => {
    server = await start({ durable: true });
    let now = Date.now();
    const connection = await RedisConnection.open({ url: server.url, now: () => now });
    const node = { connection, ledger: new RedisLedger({ redis: connection, logger: undefined, waitMs: 0 }) };
    nodes.push(node);
    await hold(node.ledger);
    await server.kill();
    now += LEDGER_TIMES.leaseMs + 1;
    await Promise.all([whenReady(node), server.start()]);
    expect(await node.ledger.sweep()).toBe(0);
    const fresh = await RedisConnection.open({ url: server.url, now: () => now });
    nodes.push({ connection: fresh, ledger: new RedisLedger({ redis: fresh, logger: undefined, waitMs: 0 }) });
    expect(await nodes.at(-1)?.ledger.sweep()).toBe(1);
  });
});

it('[BUD-4] gives up nobody’s holds right after it stalled, though no connection was lost', async () => {
  server = await start();
  let now = Date.now();
  const connection = await RedisConnection.open({ url: server.url, now: () => now, commandTimeoutMs: 100 });
  const node = { connection, ledger: new RedisLedger({ redis: connection, logger: undefined, waitMs: 0 }) };
  nodes.push(node);
  const held = await hold(node.ledger);
  server.stall();
  await expect(node.ledger.sweep()).rejects.toBeInstanceOf(RedisUnavailable);
  now += LEDGER_TIMES.leaseMs + 1;
  server.resume();
  let swept: number | undefined;
  while (swept === undefined) {
    swept = await node.ledger.sweep().catch(() => undefined);
    // What fails at once lets nothing else happen.
    await new Promise((resolve) => setImmediate(resolve));
  }
  expect(swept).toBe(0);
  await node.ledger.extend([{ hold: held, known: undefined }]);
  await node.ledger.settle(held, aSettlement(9));
  expect(await tokensOf(node)).toEqual({ used: 9, held: 0 });
});

it('[BUD-1] grants nothing while a Cluster is away, and goes on when it is back', async () => {
  const cluster = await startRedisCluster();
  const connection = await RedisConnection.open({ url: cluster.url });
  const ledger = new RedisLedger({ redis: connection, logger: undefined, waitMs: 0 });
  try {
    const held = await hold(ledger);
    await Promise.all(cluster.nodes.map((node) => node.kill()));
    await expect(ledger.reserve(aRequest())).rejects.toBeInstanceOf(RedisUnavailable);
    expect(await ledger.settle(held, aSettlement(7))).toEqual([]);
    await Promise.all(cluster.nodes.map((node) => node.start()));
    let used: number | undefined;
    for (const end = Date.now() + 20_000; used !== 7 && Date.now() < end; ) {
      await new Promise((resolve) => setTimeout(resolve, 20));
      used = (await ledger.usage(WHO).catch(() => []))[0]?.used.tokens;
    }
    expect(used).toBe(7);
  } finally {
    await ledger.close();
    await connection.close();
    await cluster.dispose();
  }
});

describe('two nodes', () => {
  beforeEach(async () => {
    server = await start();
  });

  it('[BUD-1] grant together no more than there is', async () => {
    const [one, other] = [await aNode(), await aNode()];
    const asked = Array.from({ length: 60 }, (_, n) =>
      (n % 2 ? one : other).ledger.reserve(aRequest({ amounts: { tokens: 10, nanoUsd: 0 } })),
    );
    expect((await Promise.all(asked)).filter(({ granted }) => granted)).toHaveLength(10);
  });

  it('[BUD-3] wake each other', async () => {
    const [one, other] = [await aNode(), await aNode(2_000, 60_000)];
    const held = await hold(one.ledger, { amounts: { tokens: 100, nanoUsd: 0 } });
    const waiting = hold(other.ledger);
    await one.ledger.settle(held, aSettlement(60));
    expect((await waiting).amounts.tokens).toBe(40);
  });

  it('[BUD-4] settle each other’s holds once', async () => {
    let now = Date.now();
    for (let n = 0; n < 2; n++) {
      const connection = await RedisConnection.open({ url: server.url, now: () => now });
      nodes.push({ connection, ledger: new RedisLedger({ redis: connection, logger: undefined, waitMs: 0 }) });
    }
    const [one, other] = nodes as [Node, Node];
    const holds = await Promise.all(
      Array.from({ length: 30 }, () => hold(one.ledger, { amounts: { tokens: 2, nanoUsd: 0 } })),
    );
    await one.ledger.extend(holds.map((held) => ({ hold: held, known: aSettlement(1) })));
    now += LEDGER_TIMES.leaseMs + 1;
    const counts = await Promise.all([one.ledger.sweep(), other.ledger.sweep()]);
    expect(counts[0] + counts[1]).toBe(30);
    expect(await tokensOf(other)).toEqual({ used: 30, held: 0 });
  });
});

it('[BUD-4] leaves alone what was renewed since it was found lapsed', async () => {
  server = await start();
  const node = await aNode();
  const held = await hold(node.ledger);
  await node.connection.client.zadd(keys.leases(WHO.orgId), 1, held.id);
  expect(await node.ledger.sweep()).toBe(0);
  expect(await tokensOf(node)).toEqual({ used: 0, held: 40 });
});

describe('the scripts', () => {
  beforeEach(async () => {
    server = await start();
  });

  it('name every day as the calendar does', async () => {
    const { connection } = await aNode();
    const lua = ['clock', 'windows'].map((name) =>
      readFileSync(join(__dirname, `../../server/adapters/redis/lua/${name}.lua`), 'utf8'),
    );
    const script = `${lua.join('\n')}
      local days = {}
      for n = tonumber(ARGV[2]), tonumber(ARGV[3]) do days[#days + 1] = day_of(n * DAY_MS + DAY_MS - 1) end
      return days`;
    const [first, last] = [Date.UTC(1999, 0, 1) / 86_400_000, Date.UTC(2101, 0, 1) / 86_400_000];
    const days = (await connection.client.eval(script, 0, '', first, last)) as string[];
    expect(days).toHaveLength(last - first + 1);
    expect(days).toEqual(days.map((_, n) => new Date((first + n) * 86_400_000).toISOString().slice(0, 10)));
  });

  const seeds = process.env['SEED'] ? [Number(process.env['SEED'])] : [1, 2, 3];
  it.each(seeds)('[BUD-1] decide as `checkHold` does (SEED=%d)', async (seed) => {
    const random = createRandom(seed);
    const now = Date.UTC(2028, 1, 29, 23, 59, 59, 999);
    const connection = await RedisConnection.open({ url: server.url, now: () => now });
    const ledger = new RedisLedger({ redis: connection, logger: undefined, waitMs: 0 });
    nodes.push({ connection, ledger });
    const windows = windowsAt(now, WHO);
    const some = (): number => random.pick([0, 1, 50, 99, 100, 101, 9e15, random.int(120)]);
    const decisions = new Set<string>();
    for (let round = 0; round < 300; round++) {
      const counters = new Map<string, Counter>();
      for (const { key, scope, window } of windows) {
        const counter = {
          used: { tokens: random.int(120), nanoUsd: random.int(120) },
          held: { tokens: random.int(60), nanoUsd: random.int(60) },
        };
        counters.set(key, counter);
        const { used, held } = counter;
        const owner = scope === 'user' ? keys.budgetUser(WHO) : keys.budgetOrg(WHO.orgId);
        const packed = [used.tokens, used.nanoUsd, held.tokens, held.nanoUsd, 0, 0].join(' ');
        await connection.client.hset(owner, window === 'day' ? '2028-02-29' : '2028-02', packed);
      }
      const limits: Limit[] = (['user', 'org'] as const).flatMap((scope) =>
        (['day', 'month'] as const).flatMap((window) =>
          (['tokens', 'usd'] as const)
            .filter(() => random.chance(0.3))
            .map((unit) => ({ scope, window, unit, limit: random.chance(0.7) ? 200 + some() : some() })),
        ),
      );
      const amounts = { tokens: some() % 1_000, nanoUsd: some() % 1_000 };
      const expected = checkHold(windows, limits, amounts, (key) => counters.get(key) as Counter);
      const reservation = await ledger.reserve(aRequest({ amounts, limits }));
      decisions.add(expected?.code ?? 'granted');
      expect([round, reservation.granted ? undefined : reservation.error]).toEqual([round, expected]);
    }
    expect([...decisions].sort()).toEqual(['budget_exhausted', 'budget_held', 'budget_too_small', 'granted']);
  });

  it('keep nano-dollars exact up to 2^53', async () => {
    const { ledger } = await aNode();
    const nanoUsd = Number.MAX_SAFE_INTEGER - 1;
    const limits: Limit[] = [{ scope: 'org', window: 'month', unit: 'usd', limit: Number.MAX_SAFE_INTEGER }];
    const held = await hold(ledger, { amounts: { tokens: 1, nanoUsd }, limits });
    await ledger.settle(held, { ...aSettlement(1), costNanoUsd: nanoUsd });
    const counted = await ledger.usage(WHO);
    expect(counted.map(({ used }) => used.nanoUsd)).toEqual([nanoUsd, nanoUsd, nanoUsd, nanoUsd]);
    const [row] = await ledger.spend({ ...WHO, sinceDay: '2020-01-01', groupBy: [], limit: 9 });
    expect(row?.costNanoUsd).toBe(nanoUsd);
  });

  it('forget windows that are over, and keep those of this month', async () => {
    let now = Date.UTC(2026, 0, 1);
    const connection = await RedisConnection.open({ url: server.url, now: () => now });
    const ledger = new RedisLedger({ redis: connection, logger: undefined, waitMs: 0 });
    nodes.push({ connection, ledger });
    const open = await hold(ledger, { amounts: { tokens: 1, nanoUsd: 0 } });
    for (; now < Date.UTC(2026, 1, 20); now += 86_400_000)
      await ledger.settle(await hold(ledger, { amounts: { tokens: 1, nanoUsd: 0 } }), aSettlement(1));
    const fields = async () => (await connection.client.hkeys(keys.budgetUser(WHO))).sort();
    expect(await fields()).toEqual([
      ...['2026-01', '2026-01-01', '2026-02', '2026-02-12', '2026-02-13', '2026-02-14', '2026-02-15'],
      ...['2026-02-16', '2026-02-17', '2026-02-18', '2026-02-19'],
    ]);
    await ledger.settle(open, aSettlement(1));
    expect(await connection.client.hget(keys.budgetUser(WHO), '2026-01-01')).toMatch(/^2 0 0 0 /);
    expect(await connection.client.ttl(keys.budgetUser(WHO))).toBeGreaterThan(39 * 86_400);
  });
});
