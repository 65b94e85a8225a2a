/** Redis that answers nothing for long, or is not ready yet: nothing piles up, and nothing waits for ever. */
import { connect } from 'node:net';
import { NO_USAGE } from '../../protocol/index.js';
import { RedisConnection, type RedisConnectionOptions, RedisLedger } from '../../server/adapters/redis/index.js';
import type { HoldRequest, Settlement } from '../../server/ports/ledger.js';
import { type RedisServer, type RedisSettings, startRedis } from '../support/redis-server.js';

const TIMEOUT_MS = 200;
/** Of the settlements that wait. */
const RETRY_MS = 500;
const REQUEST: HoldRequest = {
  ...{ userId: 'ada', orgId: 'acme', sessionId: 'sesn_1', turnId: 'turn_1', step: 1, attempt: 1, model: 'm', tags: [] },
  amounts: { tokens: 40, nanoUsd: 0 },
  limits: [{ scope: 'user', window: 'day', unit: 'tokens', limit: 1_000 }],
};
const SETTLEMENT: Settlement = { usage: { ...NO_USAGE, output_tokens: 7 }, estimated: false, costNanoUsd: 0 };

let redis: RedisServer;
let logged: Record<string, unknown>[];
const connections: RedisConnection[] = [];

const note = (message: string, fields: object = {}): void => void logged.push({ message, ...fields });
const logger = { error: note, warn: note, info: note, debug: note, child: () => logger };

async function open(options: Partial<RedisConnectionOptions> = {}): Promise<RedisConnection> {
  const connection = await RedisConnection.open({ url: redis.url, logger, commandTimeoutMs: TIMEOUT_MS, ...options });
  connections.push(connection);
  return connection;
}
const start = async (settings?: RedisSettings): Promise<void> => {
  redis = await startRedis(settings);
};
const createLedger = (connection: RedisConnection): RedisLedger =>
  new RedisLedger({ redis: connection, logger, waitMs: 0 });

beforeEach(() => {
  logged = [];
});
afterEach(async () => {
  jest.restoreAllMocks();
  redis.resume();
  for (const connection of connections.splice(0)) await connection.close();
  await redis.dispose();
});

it('lets nothing pile up for one that stalls: soon what is asked of it fails at once', async () => {
  await start();
  const connection = await open();
  const { client } = connection as unknown as { client: { commandQueue: { length: number } } };
  const closed = new Promise<void>((resolve) => void connection.client.once('close', resolve));
  redis.stall();
  const began = performance.now();
  let asked = 0;
  const asking = setInterval(() => {
    asked++;
    connection.ping().catch(() => undefined);
  }, 5);
  await closed;
  clearInterval(asking);
  expect(performance.now() - began).toBeLessThan(10 * TIMEOUT_MS);
  expect(asked).toBeGreaterThan(10);
  const again = performance.now();
  await expect(connection.run('rate-take', ['midstream:{acme}:rate:ada'], [5])).rejects.toThrow('Redis did not answer');
  expect(performance.now() - again).toBeLessThan(TIMEOUT_MS / 2);
  expect(client.commandQueue.length).toBeLessThan(5);
  const back = new Promise<void>((resolve) => void connection.client.once('ready', resolve));
  redis.resume();
  await back;
  await connection.ping();
});

it('is not left while it is only slow to answer, or asked nothing', async () => {
  await start();
  const connection = await open();
  let closed = 0;
  connection.client.on('close', () => closed++);
  for (let n = 0; n < 4; n++)
    await connection.do((client) => client.call('DEBUG', 'SLEEP', '0.15')).catch(() => undefined);
  expect(closed).toBe(0);
});

it('[BUD-2] a settlement that comes when the ledger is closed is in the log, and nothing is tried for ever', async () => {
  await start();
  const connection = await open();
  const ledger = createLedger(connection);
  const holds = [];
  for (let n = 0; n < 2; n++) {
    const reservation = await ledger.reserve(REQUEST);
    if (reservation.granted) holds.push(reservation.hold);
  }
  const [first, second] = holds;
  if (!first || !second) throw new Error('nothing was granted');
  redis.stall();
  await ledger.settle(first, SETTLEMENT);
  await ledger.close();
  const armed = jest.spyOn(globalThis, 'setTimeout');
  await ledger.settle(second, SETTLEMENT);
  const retries = armed.mock.calls.filter(([, ms]) => ms === RETRY_MS);
  expect(retries).toEqual([]);
  const lost = logged.filter(({ message }) => message === 'a settlement was not written');
  expect(lost).toEqual([first, second].map(({ id }) => expect.objectContaining({ hold: id, usage: SETTLEMENT.usage })));
});

it('[BUD-4] looks for holds of the dead once at a time, however long it takes', async () => {
  await start();
  const connection = await open();
  const ledger = createLedger(connection);
  await ledger.reserve(REQUEST);
  const run = jest.spyOn(connection, 'run');
  await Promise.all([ledger.sweep(), ledger.sweep(), ledger.sweep()]);
  expect(run.mock.calls.map(([script]) => script)).toEqual(['orgs-read', 'ledger-lapsed']);
  run.mockClear();
  await ledger.sweep();
  expect(run).toHaveBeenCalled();
  await ledger.close();
});

it('[BUD-4] keeps an organisation known that was announced by a node whose clock is days behind', async () => {
  await start();
  const [behind, other] = [createLedger(await open()), createLedger(await open())];
  const dateNow = jest.spyOn(Date, 'now').mockReturnValue(Date.now() - 3 * 86_400_000);
  await behind.reserve(REQUEST);
  dateNow.mockRestore();
  await other.sweep();
  await other.sweep();
  const names = await (connections[0] as RedisConnection).do((client) =>
    client.zrange('midstream:ledger:orgs', '0', '-1'),
  );
  expect(names).toEqual(['acme']);
});

describe('one that reads its data from disk', () => {
  /** Reads so slowly that it is at it for as long as is asked, and answers LOADING meanwhile. */
  async function startLoading(forMs: number): Promise<void> {
    // It answers once in 1,024 of them.
    const KEYS = 16_384;
    await start({ durable: true, settings: { 'aof-use-rdb-preamble': 'no', appendfsync: 'no' } });
    const connection = await open({ commandTimeoutMs: 20_000 });
    const pairs = Array.from({ length: KEYS }, (_, n) => n);
    await Promise.all(pairs.map((n) => connection.client.set(`key${n}`, 'x'.repeat(64))));
    await connection.close();
    await redis.kill();
    redis.set('key-load-delay', String(Math.ceil((forMs * 1_000) / KEYS)));
    void redis.start().catch(() => undefined);
    await listening(redis.port);
  }

  it('is waited for', async () => {
    await startLoading(1_500);
    const connection = await open({ commandTimeoutMs: 2_000 });
    expect(await connection.client.get('key0')).toHaveLength(64);
    expect(logged.map(({ message }) => message)).toContain('waiting for Redis, which is there but not ready');
  }, 30_000);

  it('is waited for no longer than is said, and the reason says so', async () => {
    await startLoading(20_000);
    const began = performance.now();
    await expect(open({ commandTimeoutMs: 2_000, loadingMs: 1_200 })).rejects.toThrow(
      'it was not ready within 1200 ms; it may be reading its data from disk',
    );
    expect(performance.now() - began).toBeLessThan(5_000);
  }, 30_000);
});

/** Resolves when somebody listens there. */
async function listening(port: number): Promise<void> {
  for (;;) {
    const isOpen = await new Promise<boolean>((resolve) => {
      const socket = connect(port, '127.0.0.1', () => resolve(true)).on('error', () => resolve(false));
      socket.once('connect', () => socket.destroy());
    });
    if (isOpen) return;
    await new Promise((resolve) => setTimeout(resolve, 10));
  }
}
