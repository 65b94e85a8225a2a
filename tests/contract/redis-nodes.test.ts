/** What nodes know of each other through Redis: their inboxes, and the logs that others write. One server, and a Cluster. */
import { RedisInbox } from '../../server/adapters/redis/index.js';
import { keys } from '../../server/adapters/redis/keys.js';
import { describeOnRedis } from '../support/on-redis.js';
import { flushRedis } from '../support/redis-server.js';
import { openRedisNode, type RedisNode } from '../support/redis-store.js';
import { aDelta, anEvent, aRow } from '../support/store-records.js';

const S = 'sesn_one';
const never = new AbortController().signal;

describeOnRedis((_name, redis) => {
  let writer: RedisNode;
  let reader: RedisNode;
  let inboxes: RedisInbox[] = [];
  beforeEach(async () => {
    [writer, reader] = await Promise.all([openRedisNode(redis().url), openRedisNode(redis().url)]);
    await flushRedis(writer.redis);
  });
  afterEach(async () => {
    await Promise.all(inboxes.map((inbox) => inbox.close()));
    inboxes = [];
    await Promise.all([writer.close(), reader.close()]);
  });
  const openInboxes = async (): Promise<[RedisInbox, RedisInbox]> => {
    inboxes = await Promise.all([
      RedisInbox.open({ redis: writer.redis, nodeId: 'one' }),
      RedisInbox.open({ redis: reader.redis, nodeId: 'two' }),
    ]);
    return inboxes as [RedisInbox, RedisInbox];
  };

  async function write(records: readonly (ReturnType<typeof anEvent> | ReturnType<typeof aDelta>)[]): Promise<void> {
    const lease = await writer.leases.claim(S);
    await writer.log.append({ sessionId: S, token: lease?.token ?? '', records });
  }

  it('[CMD-5] serves what one node asks of another in order, one not waiting for the other', async () => {
    const [one, two] = await openInboxes();
    const served: unknown[] = [];
    let release = (): void => undefined;
    const first = new Promise<void>((resolve) => {
      release = resolve;
    });
    two.serve(async (request, from) => {
      served.push(request);
      if (request === 0) await first;
      else if (served.length === 50) release();
      return [from, request];
    });
    const answers = await Promise.all(Array.from({ length: 50 }, (_, n) => one.ask('two', n, never)));
    expect(served).toEqual(Array.from({ length: 50 }, (_, n) => n));
    expect(answers).toEqual(Array.from({ length: 50 }, (_, n) => ['one', n]));
  });

  it('[CMD-5] posts again what an inbox lost, in its order', async () => {
    const one = await RedisInbox.open({ redis: writer.redis, nodeId: 'one' });
    inboxes = [one];
    const answers = Promise.all(Array.from({ length: 9 }, (_, n) => one.ask('two', n, never)));
    const { client } = reader.redis;
    while ((await client.xlen(keys.inbox('two'))) < 9);
    await client.xtrim(keys.inbox('two'), 'MAXLEN', 4);
    const two = await RedisInbox.open({ redis: reader.redis, nodeId: 'two' });
    inboxes.push(two);
    const served: unknown[] = [];
    two.serve(async (request) => {
      served.push(request);
      return request;
    });
    expect(await answers).toEqual(served);
    expect(served).toEqual(Array.from({ length: 9 }, (_, n) => n));
  }, 15_000);

  it('gives up a question when it is told to, and serves what came before it could', async () => {
    const [one, two] = await openInboxes();
    const gone = new AbortController();
    const asked = one.ask('two', 'early', gone.signal);
    gone.abort(new Error('the node is gone'));
    await expect(asked).rejects.toThrow('the node is gone');
    const again = one.ask('two', 'again', never);
    two.serve(async (request) => request);
    expect(await again).toBe('again');
  });

  it('knows who is there, tells all others, and keeps nothing of a node that left', async () => {
    const [one, two] = await openInboxes();
    const heard = new Promise((resolve) => two.hear((message, from) => resolve([message, from])));
    one.shout({ hello: 1 });
    expect(await heard).toEqual([{ hello: 1 }, 'one']);
    expect(await one.isAlive('two')).toBe(true);
    await two.close();
    inboxes = [one];
    expect(await one.isAlive('two')).toBe(false);
  });

  it('[LOG-1] reads a log that another node writes: events and deltas in order, its head, its owner', async () => {
    await writer.sessions.create(aRow(S));
    expect(await reader.tail.read('sesn_unknown', 0)).toBeUndefined();
    expect(await reader.tail.read(S, 0)).toMatchObject({ owner: undefined, records: [], upTo: 0, isWhole: true });
    const records = [anEvent(1), aDelta(2), aDelta(3), anEvent(4), aDelta(5)];
    await write(records);
    const read = await reader.tail.read(S, 0);
    expect(read?.records).toEqual(records);
    expect(read).toMatchObject({ owner: { nodeId: writer.nodeId }, upTo: 5, isWhole: true });
    expect((await reader.tail.read(S, 2))?.records).toEqual(records.slice(2));
  });

  it('[LOG-1] reads a long log page by page, with nothing left out where a page ends', async () => {
    await writer.sessions.create(aRow(S));
    const lease = await writer.leases.claim(S);
    const token = lease?.token ?? '';
    const all = Array.from({ length: 2_600 }, (_, n) => (n % 2 === 0 ? anEvent(n + 1) : aDelta(n + 1)));
    for (let at = 0; at < all.length; at += 100)
      await writer.log.append({ sessionId: S, token, records: all.slice(at, at + 100) });
    const seqs: number[] = [];
    for (let after = 0; ; ) {
      const read = await reader.tail.read(S, after);
      for (const { seq } of read?.records ?? []) seqs.push(seq);
      after = read?.upTo ?? 0;
      if (!read || read.isWhole) break;
    }
    expect(seqs).toEqual(all.map(({ seq }) => seq));
  });

  it('wakes who watches when something is written and when the lease changes', async () => {
    await writer.sessions.create(aRow(S));
    const heads: (number | undefined)[] = [];
    let wake = (): void => undefined;
    const stop = reader.tail.watch(S, (head) => {
      heads.push(head);
      wake();
    });
    const until = (check: () => boolean): Promise<void> =>
      new Promise((resolve) => {
        wake = () => check() && resolve();
        wake();
      });
    await until(() => heads.length > 0);
    await write([anEvent(1)]);
    await until(() => heads.includes(1));
    stop();
  });

  it('[LOG-1] wakes who watches within a second when the bell is lost', async () => {
    await writer.sessions.create(aRow(S));
    const lease = await writer.leases.claim(S);
    let wake = (): void => undefined;
    const stop = reader.tail.watch(S, () => wake());
    // When it listens, and when it begins to read the list of changes.
    await new Promise<void>((resolve) => {
      let left = 2;
      wake = () => --left === 0 && resolve();
    });
    await reader.redis.client.unsubscribe(keys.bell(S));
    const told = new Promise<void>((resolve) => {
      wake = () => void reader.tail.read(S, 0).then((read) => read?.upTo === 1 && resolve());
    });
    await writer.log.append({ sessionId: S, token: lease?.token ?? '', records: [anEvent(1)] });
    const writtenAt = performance.now();
    await told;
    expect(performance.now() - writtenAt).toBeLessThan(1_000);
    stop();
  });

  it('[NODE-2] names turns that nobody holds, and no others', async () => {
    await writer.sessions.create(aRow('sesn_held', { unfinished: true }));
    await writer.sessions.create(aRow('sesn_orphan', { unfinished: true }));
    await writer.sessions.create(aRow('sesn_idle'));
    await writer.leases.claim('sesn_held');
    expect(await reader.leases.orphans?.()).toEqual(['sesn_orphan']);
  });
});
