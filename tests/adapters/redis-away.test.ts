/** Redis that stops, stalls, comes back, and forgets: what is asked of it fails soon and clearly, and nothing is missed. */
import { RedisConnection, RedisDirectory, RedisRates, RedisUnavailable } from '../../server/adapters/redis/index.js';
import { keys } from '../../server/adapters/redis/keys.js';
import { eventually as tryUntilItWorks } from '../support/eventually.js';
import type { DirectoryChange, Following } from '../../server/ports/directory-store.js';
import { type RedisServer, startRedis } from '../support/redis-server.js';

const ADA = { userId: 'ada', orgId: 'acme' };
const COMMAND_TIMEOUT_MS = 300;

let redis: RedisServer;
let connection: RedisConnection;
let logged: Record<string, unknown>[];

const note = (message: string, fields: object = {}): void => void logged.push({ message, ...fields });
const logger = { error: note, warn: note, info: note, debug: note, child: () => logger };

const open = (): Promise<RedisConnection> =>
  RedisConnection.open({
    url: `redis://:hunter2@127.0.0.1:${redis.port}`,
    logger,
    commandTimeoutMs: COMMAND_TIMEOUT_MS,
  });

beforeEach(async () => {
  logged = [];
  redis = await startRedis({ durable: true, settings: { requirepass: 'hunter2' } });
  connection = await open();
});
afterEach(async () => {
  redis.resume();
  await connection.close();
  await redis.dispose();
  expect(JSON.stringify(logged)).not.toContain('hunter2');
});

/** Tries until it works: nobody can be told when a connection is back. */
const eventually = <T>(work: () => Promise<T>): Promise<T> => tryUntilItWorks(work, 10_000);

it('refuses to open what can’t be reached, or does not know the password', async () => {
  await expect(RedisConnection.open({ url: redis.url })).rejects.toThrow(RedisUnavailable);
  await expect(RedisConnection.open({ url: 'redis://127.0.0.1:1' })).rejects.toThrow(/did not answer.*ECONNREFUSED/);
});

it('fails at once while it is gone, and works when it is back, with its scripts forgotten', async () => {
  const rates = new RedisRates(connection, logger);
  expect((await rates.take(ADA, 2)).allowed).toBe(true);
  await redis.kill();
  await expect(connection.ping()).rejects.toThrow(RedisUnavailable);
  await expect(rates.take(ADA, 2)).rejects.toThrow(RedisUnavailable);
  await expect(rates.giveBack(ADA, 2)).resolves.toBeUndefined();
  await redis.start();
  expect((await eventually(() => rates.take(ADA, 2))).remaining).toBe(0);
  expect(logged.map(({ message }) => message)).toEqual(expect.arrayContaining(['Redis is back']));
}, 30_000);

it('does not wait for one that stalls', async () => {
  redis.stall();
  await expect(new RedisRates(connection, logger).take(ADA, 2)).rejects.toThrow(RedisUnavailable);
  redis.resume();
  await eventually(() => connection.ping());
});

it('says that a replica is no place to write to', async () => {
  await connection.client.call('REPLICAOF', '127.0.0.1', '1');
  await expect(new RedisRates(connection, logger).take(ADA, 2)).rejects.toThrow(RedisUnavailable);
});

it('does not call a mistake of ours an outage', async () => {
  await connection.do((client) => client.hset(keys.rate(ADA), 'no', 'string'));
  const mistake = new RedisRates(connection, logger).take(ADA, 2);
  await expect(mistake).rejects.toThrow('WRONGTYPE');
  await expect(mistake).rejects.not.toThrow(RedisUnavailable);
});

describe('the directory', () => {
  let directory: RedisDirectory;
  let following: Following;
  let told: DirectoryChange[];
  const until = (matches: () => boolean): Promise<void> =>
    eventually(async () => {
      if (!matches()) throw new Error(`it did not come to pass; told ${JSON.stringify(told)}`);
    });

  beforeEach(async () => {
    directory = new RedisDirectory(connection, logger);
    told = [];
    following = await directory.follow((change) => void told.push(change));
  });
  afterEach(() => following.close());

  it('[TOOL-1] is not current while nobody can say who was revoked', async () => {
    expect(following.isCurrent).toBe(true);
    redis.stall();
    await until(() => !following.isCurrent);
    redis.resume();
    await until(() => following.isCurrent);
  });

  it('[TOOL-1] tells a change whose message was lost', async () => {
    await connection.do((client) => client.unsubscribe(keys.directoryChannel));
    await directory.putRoles(ADA, { roles: ['analyst'] });
    await until(() => told.some((change) => change.kind === 'roles'));
  });

  it('[TOOL-1] tells of what was revoked while it was away', async () => {
    const other = await open();
    redis.stall();
    await until(() => !following.isCurrent);
    redis.resume();
    await eventually(() =>
      new RedisDirectory(other, logger).revoke({ kind: 'revoked_user', orgId: 'acme', id: 'ada' }),
    );
    await until(() => told.some((change) => change.kind === 'revoked_user'));
    await other.close();
  });

  it('[TOOL-1] tells all anew where a failover lost changes, and later ones took their versions', async () => {
    for (const role of ['one', 'two']) await directory.putRoles(ADA, { roles: [role] });
    await until(() => told.length === 2);
    // One step, as a new master that never saw the last change: its version is given again.
    await connection.do((client) =>
      client
        .multi()
        .xdel(keys.directoryChanges, '2-1')
        .xadd(keys.directoryChanges, '2-2', 'change', '{}')
        .xtrim(keys.directoryChanges, 'MAXLEN', 0)
        .hset(keys.directoryRevocations, '["revoked_user","acme","ada"]', '5')
        .exec(),
    );
    await until(() => told.some((change) => change.kind === 'revoked_user' && change.at === 5));
  });

  it('tells all anew to who fell behind what is kept', async () => {
    await directory.putRoles({ ...ADA, userId: 'bob' }, { roles: ['b'] });
    await until(() => told.length === 1);
    const revocation = await directory.revoke({ kind: 'revoked_key', orgId: 'acme', id: 'ci' });
    await connection.do((client) => client.xtrim(keys.directoryChanges, 'MAXLEN', 0));
    told.length = 0;
    await until(() => told.some((change) => change.kind === 'roles'));
    expect(told).toContainEqual(revocation);
  });
});
