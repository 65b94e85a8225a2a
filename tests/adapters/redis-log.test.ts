/** The log, sessions and leases on Redis that dies, stalls, is full or forgets, and between nodes that take each other's place. */
import { keys } from '../../server/adapters/redis/keys.js';
import { OwnerAnswers } from '../../server/adapters/redis/owner-answers.js';
import { StoreDoor } from '../../server/adapters/redis/store-door.js';
import { eventually as tryUntilItWorks } from '../support/eventually.js';
import type { LogUnavailable } from '../../server/ports/event-log.js';
import { type RedisServer, type RedisSettings, startRedis } from '../support/redis-server.js';
import { openRedisNode, type RedisNode, type RedisNodeOptions } from '../support/redis-store.js';
import { aDelta, anAnswer, anEvent, aRow } from '../support/store-records.js';

const S = 'sesn_one';
const T0 = Date.UTC(2026, 0, 1);
const all = { afterSeq: 0, limit: 1_000 };
const COMMAND_TIMEOUT_MS = 300;

let servers: RedisServer[];
let nodes: RedisNode[];

beforeEach(() => {
  servers = [];
  nodes = [];
});
afterEach(async () => {
  for (const server of servers) server.resume();
  await Promise.all(nodes.map((node) => node.close()));
  await Promise.all(servers.map((server) => server.dispose()));
});

async function start(settings?: RedisSettings): Promise<RedisServer> {
  const server = await startRedis(settings);
  servers.push(server);
  return server;
}

async function openNode(server: RedisServer, options: RedisNodeOptions = {}): Promise<RedisNode> {
  const node = await openRedisNode(server.url, { commandTimeoutMs: COMMAND_TIMEOUT_MS, ...options });
  nodes.push(node);
  return node;
}

async function claim(
  node: RedisNode,
  id = S,
): Promise<{ sessionId: string; token: string; epoch: string | undefined }> {
  const lease = await node.leases.claim(id);
  if (!lease) throw new Error('somebody else holds the lease');
  return { sessionId: id, token: lease.token, epoch: lease.epoch };
}

const reasonOf = (attempt: Promise<unknown>): Promise<LogUnavailable['reason'] | 'resolved'> =>
  attempt.then(
    () => 'resolved',
    (error: LogUnavailable) => error.reason,
  );

/** Tries until it works: nobody can be told when a connection is back. */
const eventually = <T>(work: () => Promise<T>): Promise<T> => tryUntilItWorks(work, 10_000);

const lost = (node: RedisNode): Promise<string> => new Promise((resolve) => node.leases.onLost?.(resolve));
const seqsOf = async (node: RedisNode): Promise<number[]> => (await node.log.read(S, all)).map(({ seq }) => seq);

describe('a log on Redis', () => {
  it('writes what one session appends in a moment as one entry', async () => {
    const node = await openNode(await start());
    await node.sessions.create(aRow(S));
    const one = await claim(node);
    const appends = Array.from({ length: 50 }, (_, i) => node.log.append({ ...one, records: [aDelta(i + 1)] }));
    expect(new Set(appends).size).toBe(1);
    await Promise.all(appends);
    expect(await node.redis.client.xrange(keys.deltas(S), '-', '+')).toHaveLength(1);
    expect(await node.log.readDeltas(S, 0)).toHaveLength(50);
  });

  it('[LOG-5] keeps nothing of deltas that are completed', async () => {
    const server = await start();
    const [node, other] = [await openNode(server), await openNode(server)];
    await node.sessions.create(aRow(S));
    const one = await claim(node);
    await node.log.append({ ...one, records: [aDelta(1)] });
    await node.log.append({ ...one, records: [aDelta(2), anEvent(3)] });
    node.log.trimDeltas(S, 3);
    expect(await node.log.readDeltas(S, 0)).toEqual([]);
    await node.close();
    expect(await other.redis.client.exists(keys.deltas(S))).toBe(0);
  });

  it('[LOG-5] leaves deltas to who watches on another node, also where the session is opened again or put to rest', async () => {
    const server = await start();
    const [node, other] = [await openNode(server), await openNode(server)];
    await node.sessions.create(aRow(S));
    const first = await claim(node);
    await node.log.append({ ...first, records: [aDelta(1), aDelta(2), anEvent(3)] });
    node.log.trimDeltas(S, 3);
    const again = await claim(node);
    expect(await node.log.readDeltas(S, 0)).toEqual([]);
    const seen = async () => (await other.tail.read(S, 0))?.records.map(({ seq }) => seq);
    expect(await seen()).toEqual([1, 2, 3]);
    await node.leases.release(S, again);
    expect(await seen()).toEqual([1, 2, 3]);
    await node.close();
    expect(await seen()).toEqual([3]);
  });

  it('[NODE-3] trims nothing when another node has the session', async () => {
    const server = await start();
    const [node, other] = [await openNode(server), await openNode(server)];
    await node.sessions.create(aRow(S));
    const one = await claim(node);
    await node.log.append({ ...one, records: [aDelta(1), anEvent(2)] });
    node.log.trimDeltas(S, 2);
    await node.leases.release(S, one);
    await claim(other);
    await node.close();
    expect(await other.log.readDeltas(S, 0)).toHaveLength(1);
  });

  it('waits for a Redis that died, and goes on where it was, in its epoch', async () => {
    const server = await start({ durable: true });
    const node = await openNode(server);
    await node.sessions.create(aRow(S));
    const one = await claim(node);
    await node.log.append({ ...one, records: [anEvent(1), aDelta(2)] });
    await server.kill();
    const waiting = [3, 4, 5].map((seq) => node.log.append({ ...one, records: [anEvent(seq)] }));
    expect(await reasonOf(node.log.read(S, all))).toBe('store_failed');
    await server.start();
    await Promise.all(waiting);
    await node.log.append({ ...one, records: [anEvent(6)] });
    expect(await seqsOf(node)).toEqual([1, 3, 4, 5, 6]);
    expect(await node.log.readDeltas(S, 0)).toHaveLength(1);
    // Proven by the one who wrote it: the next holder goes on in it.
    expect((await claim(node)).epoch).toBe(one.epoch);
  });

  it('[NODE-3] waits for no longer than the lease lives, and takes nothing until it is claimed again', async () => {
    const server = await start({ durable: true });
    const node = await openNode(server, { times: { leaseMs: 500, renewMs: 100 } });
    await node.sessions.create(aRow(S));
    const one = await claim(node);
    await node.log.append({ ...one, records: [anEvent(1)] });
    await server.kill();
    expect(await reasonOf(node.log.append({ ...one, records: [anEvent(2)] }))).toBe('store_failed');
    await server.start();
    await eventually(() => node.redis.ping());
    expect(await reasonOf(node.log.append({ ...one, records: [anEvent(2)] }))).toBe('lease_lost');
    const again = await claim(node);
    await node.log.append({ ...again, records: [anEvent(2)] });
    expect(await seqsOf(node)).toEqual([1, 2]);
  });

  it('[LOG-7] begins another epoch after each start of Redis, and keeps it as long as Redis runs', async () => {
    const server = await start({ durable: true });
    const node = await openNode(server);
    await node.sessions.create(aRow(S));
    const epochs = [await claim(node), await claim(node)].map(({ epoch }) => epoch);
    await server.kill();
    await server.start();
    await eventually(() => node.redis.ping());
    epochs.push((await claim(node)).epoch, (await claim(node)).epoch);
    expect(new Set(epochs).size).toBe(2);
    expect(epochs[0]).toBe(epochs[1]);
    expect(epochs[2]).toBe(epochs[3]);
  });

  it('[LOG-7] begins another epoch where a failover lost the tail, and refuses who held it before', async () => {
    const [master, replica] = [await start(), await start()];
    const other = await openNode(replica);
    await other.redis.client.call('REPLICAOF', '127.0.0.1', String(master.port));
    const node = await openNode(master);
    // Its first replica gives a master another history.
    await eventually(async () => expect(await other.redis.client.info('replication')).toContain('link_status:up'));
    await node.sessions.create(aRow(S));
    const one = await claim(node);
    await node.log.append({ ...one, records: [anEvent(1), anEvent(2)] });
    await eventually(async () => expect(await seqsOf(other)).toEqual([1, 2]));
    await other.redis.client.call('REPLICAOF', 'NO', 'ONE');
    await node.log.append({ ...one, records: [anEvent(3, { text: 'lost' })] });

    // Who held it has the token that the new master has, and knows of more than is there.
    const later = { ...one, head: 3 };
    expect(await other.redis.run('log-append', allKeys(S), appendArgs(later))).toBe('head');
    expect(await other.redis.run('lease-renew', [keys.session(S)], [one.token, 10_000, 3, 4])).toBe(0);
    const heir = await openNode(replica, { now: () => Date.now() + 11_000 });
    const next = await claim(heir);
    expect(next.epoch).not.toBe(one.epoch);
    await heir.log.append({ ...next, records: [anEvent(3)] });
    expect(await seqsOf(heir)).toEqual([1, 2, 3]);
  });

  it('[LOG-7] [LOG-5] trims no deltas of a new epoch by what was completed in the tail that was lost', async () => {
    const server = await start();
    const node = await openNode(server);
    await node.sessions.create(aRow(S));
    const one = await claim(node);
    await node.log.append({ ...one, records: [anEvent(1), aDelta(2), aDelta(3)] });
    await node.redis.client.save();
    await node.log.append({ ...one, records: [anEvent(4)] });
    node.log.trimDeltas(S, 4);
    await server.kill();
    await server.start();
    await eventually(() => node.redis.ping());
    const next = await claim(node);
    expect(next.epoch).not.toBe(one.epoch);
    await node.log.append({ ...next, records: [aDelta(4), aDelta(5)] });
    // What is due is trimmed before a lease is given back.
    await node.leases.release(S, next);
    expect((await node.log.readDeltas(S, 0)).map(({ seq }) => seq)).toEqual([2, 3, 4, 5]);
  });

  it('has nothing of a Redis that forgot all', async () => {
    const server = await start();
    const node = await openNode(server);
    await node.sessions.create(aRow(S));
    const one = await claim(node);
    await node.log.append({ ...one, records: [anEvent(1)] });
    const isLost = lost(node);
    await server.kill();
    await server.start();
    await eventually(() => node.redis.ping());
    expect(await reasonOf(node.log.append({ ...one, records: [anEvent(2)] }))).toBe('lease_lost');
    expect(await isLost).toBe(S);
    expect(await node.sessions.get(S)).toBeUndefined();
  });

  it('[LOG-7] proves no tail by a lease that lapsed before the failover', async () => {
    const [master, replica] = [await start(), await start()];
    const other = await openNode(replica);
    await other.redis.client.call('REPLICAOF', '127.0.0.1', String(master.port));
    const node = await openNode(master);
    await eventually(async () => expect(await other.redis.client.info('replication')).toContain('link_status:up'));
    await node.sessions.create(aRow(S));
    const one = await claim(node);
    await node.log.append({ ...one, records: [anEvent(1)] });
    await eventually(async () => expect(await seqsOf(other)).toEqual([1]));
    await other.redis.client.call('REPLICAOF', 'NO', 'ONE');
    const late = await openNode(replica, { now: () => Date.now() + 11_000 });
    expect(await late.redis.run('log-append', allKeys(S), appendArgs({ ...one, head: 1 }))).toBe('history');
    expect(await late.redis.run('lease-renew', [keys.session(S)], [one.token, 10_000, 1, 1])).toBe(0);
    expect(await other.redis.run('lease-renew', [keys.session(S)], [one.token, 10_000, 1, 1])).toBe(1);
    expect(await late.redis.run('log-append', allKeys(S), appendArgs({ ...one, head: 1 }))).toBe('ok');
  });

  it('writes once what a Redis that stalls did not answer, and what came meanwhile', async () => {
    const server = await start();
    const node = await openNode(server);
    await node.sessions.create(aRow(S));
    const one = await claim(node);
    await node.log.append({ ...one, records: [anEvent(1)] });
    server.stall();
    let isDone = false;
    const waiting = node.log.append({ ...one, records: [anEvent(2)] }).then(() => {
      isDone = true;
    });
    const behind = node.log.append({ ...one, records: [aDelta(3), anEvent(4)] });
    // Longer than a connection that answers nothing is kept: it was sent more than once.
    await new Promise((resolve) => setTimeout(resolve, 3 * COMMAND_TIMEOUT_MS));
    expect(isDone).toBe(false);
    server.resume();
    await Promise.all([waiting, behind]);
    await node.log.append({ ...one, records: [anEvent(5)] });
    expect(await seqsOf(node)).toEqual([1, 2, 4, 5]);
  });

  it('refuses what would fill the memory while Redis does not answer', async () => {
    const server = await start();
    const node = await openNode(server, { commandTimeoutMs: 5_000 });
    await node.sessions.create(aRow(S));
    const one = await claim(node);
    server.stall();
    const text = 'x'.repeat(4_000_000);
    let settled = 0;
    const appends = Array.from({ length: 9 }, async (_, i) => {
      await reasonOf(node.log.append({ ...one, records: [anEvent(i + 1, { text })] }));
      settled++;
    });
    expect(await reasonOf(node.log.append({ ...one, records: [anEvent(10)] }))).toBe('store_failed');
    expect(settled).toBe(0);
    server.resume();
    await Promise.all(appends);
    const again = await claim(node);
    await node.log.append({ ...again, records: [anEvent(((await seqsOf(node)).at(-1) ?? 0) + 1)] });
  });

  it('[CMD-3] writes nothing of what a full Redis has no room for, and goes on when there is room', async () => {
    const node = await openNode(await start({ settings: { maxmemory: '3mb', 'maxmemory-policy': 'noeviction' } }));
    await node.sessions.create(aRow(S));
    const one = await claim(node);
    await node.log.append({ ...one, records: [anEvent(1)] });
    await node.redis.client.config('SET', 'maxmemory', '1');
    const row = { status: 'running', unfinished: false, updatedAt: 2, json: '{}' } as const;
    const refused = { ...one, records: [aDelta(2), anEvent(3)], answers: [anAnswer(S)], row };
    let isDone = false;
    const waiting = node.log.append(refused).then(() => {
      isDone = true;
    });
    expect(await reasonOf(node.leases.claim('sesn_other'))).toBe('store_failed');
    expect(await seqsOf(node)).toEqual([1]);
    expect(await node.log.readDeltas(S, 0)).toEqual([]);
    expect(await node.log.findAnswer(anAnswer(S))).toBeUndefined();
    expect((await node.sessions.get(S))?.status).toBe('idle');
    expect(isDone).toBe(false);
    await node.redis.client.config('SET', 'maxmemory', '0');
    await waiting;
    expect(await seqsOf(node)).toEqual([1, 3]);
    expect(await node.log.findAnswer(anAnswer(S))).toBeDefined();
  });

  it('waits while its Redis is a replica', async () => {
    const server = await start();
    const node = await openNode(server);
    const operator = await openNode(server);
    await node.sessions.create(aRow(S));
    const one = await claim(node);
    await operator.redis.client.call('REPLICAOF', '127.0.0.1', '1');
    const waiting = node.log.append({ ...one, records: [anEvent(1)] });
    expect(await reasonOf(node.leases.claim('sesn_other'))).toBe('store_failed');
    await eventually(() => operator.redis.client.call('REPLICAOF', 'NO', 'ONE'));
    await waiting;
    expect(await seqsOf(node)).toEqual([1]);
  });

  it('lists a session as unfinished again where a failover took that', async () => {
    const node = await openNode(await start(), { times: { leaseMs: 600, renewMs: 60 } });
    await node.sessions.create(aRow(S));
    const one = await claim(node);
    const row = { status: 'running', unfinished: true, updatedAt: 2, json: '{}' } as const;
    await node.log.append({ ...one, records: [anEvent(1)], row });
    expect(await node.sessions.unfinished()).toEqual([S]);
    await node.redis.client.del(keys.unfinished);
    await eventually(async () => expect(await node.sessions.unfinished()).toEqual([S]));
  });
});

describe('leases on Redis', () => {
  it('are given to one of the nodes that ask at once', async () => {
    const server = await start();
    const rivals = await Promise.all([1, 2, 3, 4].map(() => openNode(server)));
    for (let round = 0; round < 20; round++) {
      const id = `sesn_${round}`;
      const given = await Promise.all(rivals.map((node) => node.leases.claim(id)));
      expect(given.filter(Boolean)).toHaveLength(1);
    }
  });

  it('[NODE-3] fence a node that was believed dead: it is refused, told, and has written nothing', async () => {
    const server = await start();
    const zombie = await openNode(server, { now: () => T0 });
    await zombie.sessions.create(aRow(S));
    const old = await claim(zombie);
    await zombie.log.append({ ...old, records: [anEvent(1)] });
    const early = await openNode(server, { now: () => T0 + 9_999 });
    expect(await early.leases.claim(S)).toBeUndefined();
    const heir = await openNode(server, { now: () => T0 + 10_000 });
    const one = await claim(heir);
    await heir.log.append({ ...one, records: [aDelta(2)] });
    const isLost = lost(zombie);
    expect(await reasonOf(zombie.log.append({ ...old, records: [anEvent(2, { text: 'undead' })] }))).toBe('lease_lost');
    expect(await isLost).toBe(S);
    await zombie.leases.release(S, old);
    await heir.log.append({ ...one, records: [anEvent(3)] });
    expect((await heir.log.read(S, all)).map(({ json }) => JSON.parse(json).text)).toEqual(['text 1', 'text 3']);
  });

  it('are compared by the whole token, and the head is what it should be', async () => {
    const node = await openNode(await start());
    await node.sessions.create(aRow(S));
    const { token } = await claim(node);
    for (const wrong of ['', token.slice(1), token.slice(0, -1), `${token}0`, token.toUpperCase()])
      expect(await node.redis.run('log-append', allKeys(S), [wrong, 0, 1, '', '', 0, 'bell', 0])).toBe('lease_lost');
    expect(await node.redis.run('log-append', allKeys(S), [token, 1, 2, '', '', 0, 'bell', 0])).toBe('head');
    expect(await node.redis.run('log-append', allKeys(S), [token, 0, 1, '', '', 0, 'bell', 0])).toBe('ok');
  });

  it('are held on while the node lives', async () => {
    const server = await start();
    const node = await openNode(server, { times: { leaseMs: 400, renewMs: 60 } });
    await node.sessions.create(aRow(S));
    const one = await claim(node);
    const lapses = async () => Number(await node.redis.client.hget(keys.session(S), 'until'));
    const first = await lapses();
    // Renewed until long after the first one would have lapsed.
    await eventually(async () => expect(await lapses()).toBeGreaterThan(first + 800));
    expect(await (await openNode(server)).leases.claim(S)).toBeUndefined();
    await node.log.append({ ...one, records: [anEvent(1)] });
  });

  it('[NODE-3] are lost where Redis can’t be asked in time, and the log takes nothing more', async () => {
    const server = await start();
    const node = await openNode(server, { times: { leaseMs: 500, renewMs: 100 } });
    await node.sessions.create(aRow(S));
    const one = await claim(node);
    const isLost = lost(node);
    server.stall();
    expect(await isLost).toBe(S);
    server.resume();
    expect(await reasonOf(node.log.append({ ...one, records: [anEvent(1)] }))).toBe('lease_lost');
    await eventually(() => claim(node));
  });

  it('are given back when the node is closed', async () => {
    const server = await start();
    const node = await openNode(server);
    await claim(node);
    const other = await openNode(server);
    expect(await other.leases.claim(S)).toBeUndefined();
    await node.close();
    expect(await other.leases.claim(S)).toBeDefined();
  });
});

describe('what is listed beside the sessions', () => {
  it('names a session before its turn begins, and is put right by whoever reads it', async () => {
    const server = await start();
    let nowMs = T0;
    const node = await openNode(server, { now: () => nowMs });
    await node.sessions.create(aRow(S));
    // Listed, and dead before the append.
    await node.redis.run('unfinished-add', [keys.unfinished], [S]);
    expect(await node.sessions.unfinished()).toEqual([]);
    expect(await node.redis.client.zcard(keys.unfinished)).toBe(1);
    nowMs += 600_000;
    expect(await node.sessions.unfinished()).toEqual([]);
    expect(await node.redis.client.zcard(keys.unfinished)).toBe(0);

    const one = await claim(node);
    const row = { status: 'running', unfinished: true, updatedAt: 2, json: '{}' } as const;
    await node.log.append({ ...one, records: [anEvent(1)], row });
    expect(await node.sessions.unfinished()).toEqual([S]);
    await node.log.append({ ...one, records: [anEvent(2)], row: { ...row, status: 'idle', unfinished: false } });
    await eventually(async () => expect(await node.redis.client.zcard(keys.unfinished)).toBe(0));
  });

  it('steps over a session that was listed and never made', async () => {
    const node = await openNode(await start());
    const owner = { userId: 'ada', orgId: 'acme' };
    for (const id of ['sesn_a', 'sesn_c', 'sesn_e']) await node.sessions.create(aRow(id));
    for (const id of ['sesn_b', 'sesn_d']) await node.redis.client.zadd(keys.memberSessions(owner), 1_000, id);
    const page = await node.sessions.list(owner, { limit: 2 });
    expect(page.rows.map(({ id }) => id)).toEqual(['sesn_e', 'sesn_c']);
    const next = await node.sessions.list(owner, { limit: 2, page: page.nextPage ?? '' });
    expect(next.rows.map(({ id }) => id)).toEqual(['sesn_a']);
    expect(await node.redis.client.zcard(keys.memberSessions(owner))).toBe(3);
  });

  it('[CMD-2] lets a command make its session again where the first node died before it was made', async () => {
    const server = await start();
    let nowMs = T0;
    const node = await openNode(server, { now: () => nowMs });
    const answer = anAnswer('', { acceptedAt: nowMs });
    await new OwnerAnswers(new StoreDoor(node.redis)).admit(aRow('sesn_died'), answer);
    expect(await node.log.findAnswer(answer)).toBeUndefined();
    expect(await reasonOf(node.sessions.create(aRow('sesn_again'), answer))).toBe('store_failed');
    nowMs += 10_000;
    await node.sessions.create(aRow('sesn_again'), { ...answer, bodyHash: 'again' });
    expect((await node.log.findAnswer(answer))?.bodyHash).toBe('again');
    await expect(node.sessions.create(aRow('sesn_third'), answer)).rejects.toThrow('made a session before');
  });

  it('[CMD-2] finds the answer where the node died after the session was made', async () => {
    const node = await openNode(await start(), { now: () => T0 });
    const answer = anAnswer('', { acceptedAt: T0 });
    await new OwnerAnswers(new StoreDoor(node.redis)).admit(aRow(S), answer);
    await node.sessions.create(aRow(S));
    expect(await node.log.findAnswer(answer)).toEqual(answer);
    await node.sessions.remove(S);
    expect(await node.log.findAnswer(answer)).toEqual(answer);
  });
});

it('keeps one session in one slot', async () => {
  const node = await openNode(await start());
  await node.sessions.create(aRow(S));
  const one = await claim(node);
  await node.log.append({ ...one, records: [anEvent(1), aDelta(2)], answers: [anAnswer(S)] });
  const names = (await node.redis.client.keys('*')).filter((key) => key.includes(S));
  expect(names.sort()).toEqual([...allKeys(S)].sort());
  await node.sessions.remove(S);
  expect((await node.redis.client.keys('*')).filter((key) => key.includes(S))).toEqual([]);
});

function allKeys(id: string): string[] {
  return [keys.session(id), keys.events(id), keys.deltas(id), keys.answers(id), keys.answerTimes(id)];
}

/** Of an append of one more, by who holds this lease and knows of this head. */
function appendArgs({ token, head }: { token: string; head: number }): (string | number)[] {
  return [token, head, head + 1, '', '', 0, 'bell', 0];
}
