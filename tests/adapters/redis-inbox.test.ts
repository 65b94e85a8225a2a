/** What nodes ask of each other through a Redis that loses it: served once, in order, and answered all the same. */
import { RedisConnection, RedisInbox } from '../../server/adapters/redis/index.js';
import { keys } from '../../server/adapters/redis/keys.js';
import type { LeaseTimes } from '../../server/adapters/redis/redis-leases.js';
import { InboxUnavailable } from '../../server/ports/inbox.js';
import { type RedisServer, startRedis } from '../support/redis-server.js';

const never = new AbortController().signal;
const upTo = (count: number, from = 0): number[] => Array.from({ length: count }, (_, n) => from + n);

let redis: RedisServer;
let look: RedisConnection;
const connections: RedisConnection[] = [];
const inboxes: RedisInbox[] = [];

async function connect(): Promise<RedisConnection> {
  const connection = await RedisConnection.open({ url: redis.url });
  connections.push(connection);
  return connection;
}

async function open(nodeId: string, times?: LeaseTimes): Promise<{ inbox: RedisInbox; redis: RedisConnection }> {
  const connection = await connect();
  const inbox = await RedisInbox.open({ redis: connection, nodeId, ...(times && { times }) });
  inboxes.push(inbox);
  return { inbox, redis: connection };
}

/** Serves by giving back what is asked, and notes it; what `gate` gives back is waited for. */
function echo(inbox: RedisInbox, gate: (request: unknown) => unknown = () => undefined): unknown[] {
  const served: unknown[] = [];
  inbox.serve(async (request) => {
    served.push(request);
    await gate(request);
    return request;
  });
  return served;
}

/** A node that is none: its letters are written and read by hand. */
async function writeLetter(nodeId: string, letter: object): Promise<void> {
  await look.client.xadd(keys.inbox(nodeId), '*', 'l', JSON.stringify(letter));
}

async function readLetters(nodeId: string, count: number): Promise<unknown[]> {
  const letters: unknown[] = [];
  for (let last = '0-0'; letters.length < count; ) {
    const reply = await look.client.xread('BLOCK', 1_000, 'STREAMS', keys.inbox(nodeId), last);
    for (const [id, [, text = '']] of reply?.[0]?.[1] ?? []) {
      letters.push(JSON.parse(text));
      last = id;
    }
  }
  return letters;
}

const heard = ({ client }: RedisConnection, event: string): Promise<void> =>
  new Promise((resolve) => void client.once(event, () => resolve()));

async function eventually(check: () => Promise<boolean>): Promise<void> {
  while (!(await check().catch(() => false))) await new Promise(setImmediate);
}

beforeEach(async () => {
  redis = await startRedis();
  look = await connect();
});
afterEach(async () => {
  redis.resume();
  await Promise.all(inboxes.splice(0).map((inbox) => inbox.close()));
  await Promise.all(connections.splice(0).map((connection) => connection.close()));
  await redis.dispose();
});

it('[CMD-5] posts again what an inbox lost, and serves nothing before what was asked before it', async () => {
  const { inbox: one } = await open('one');
  const answers = Promise.all(upTo(20).map((n) => one.ask('two', n, never)));
  await eventually(async () => (await look.client.xlen(keys.inbox('two'))) === 20);
  await look.client.xtrim(keys.inbox('two'), 'MAXLEN', 7);
  const served = echo((await open('two')).inbox);
  expect(await answers).toEqual(upTo(20));
  expect(served).toEqual(upTo(20));
}, 20_000);

it('[CMD-1] answers what was under way when Redis was killed and came back with nothing', async () => {
  const [{ inbox: one, redis: ofOne }, { inbox: two }] = await Promise.all([open('one'), open('two')]);
  let release = (): void => undefined;
  const released = new Promise<void>((resolve) => {
    release = resolve;
  });
  const served = echo(two, () => released);
  const before = upTo(50).map((n) => one.ask('two', n, never));
  await eventually(async () => served.length === 50);
  await redis.kill();
  // The answers have nowhere to go.
  release();
  await expect(one.ask('two', 'meanwhile', never)).rejects.toThrow(InboxUnavailable);
  const back = heard(ofOne, 'ready');
  await redis.start();
  await back;
  const after = upTo(50, 50).map((n) => one.ask('two', n, never));
  expect(await Promise.all([...before, ...after])).toEqual(upTo(100));
  expect(served).toEqual(upTo(100));
}, 30_000);

it('[CMD-1] answers what was asked while the connection of the reader broke, and serves it once', async () => {
  const [{ inbox: one }, { inbox: two }] = await Promise.all([open('one'), open('two')]);
  const served = echo(two);
  const answers: Promise<unknown>[] = [];
  for (const from of upTo(20)) {
    answers.push(...upTo(25, from * 25).map((n) => one.ask('two', n, never)));
    for (const line of String(await look.client.client('LIST')).split('\n'))
      if (/ cmd=xread /.test(line)) await look.client.client('KILL', 'ID', line.match(/^id=(\d+)/)?.[1] ?? '');
  }
  expect(await Promise.all(answers)).toEqual(upTo(500));
  expect(served).toEqual(upTo(500));
}, 30_000);

it('[CMD-1] reads on where the ids of its inbox went back, as after a failover', async () => {
  const [{ inbox: one }, { inbox: two }] = await Promise.all([open('one'), open('two')]);
  echo(two);
  const key = keys.inbox('two');
  await look.client.xadd(key, '99999999999999-0', 'l', JSON.stringify({ answer: 0, body: null }));
  await eventually(async () => (await look.client.xlen(key)) === 0);
  await look.client.del(key);
  expect(await one.ask('two', 'a', never)).toBe('a');
}, 20_000);

it('[CMD-1] answers what was under way when Redis answered nothing for seconds', async () => {
  const [{ inbox: one }, { inbox: two, redis: ofTwo }] = await Promise.all([open('one'), open('two')]);
  let release = (): void => undefined;
  const released = new Promise<void>((resolve) => {
    release = resolve;
  });
  const served = echo(two, () => released);
  const answers = Promise.all(upTo(10).map((n) => one.ask('two', n, never)));
  await eventually(async () => served.length === 10);
  redis.stall();
  release();
  await heard(ofTwo, 'close');
  redis.resume();
  expect(await answers).toEqual(upTo(10));
  expect(served).toEqual(upTo(10));
}, 30_000);

it('[CMD-5] does not wait for a question that was withdrawn and lost', async () => {
  const { inbox: one } = await open('one');
  const gone = new AbortController();
  const lost = one.ask('two', 'lost', gone.signal);
  const kept = one.ask('two', 'kept', never);
  await eventually(async () => (await look.client.xlen(keys.inbox('two'))) === 2);
  await look.client.xtrim(keys.inbox('two'), 'MAXLEN', 1);
  gone.abort(new Error('no longer'));
  await expect(lost).rejects.toThrow('no longer');
  const served = echo((await open('two')).inbox);
  expect(await kept).toBe('kept');
  expect(served).toEqual(['kept']);
}, 20_000);

it('serves a letter that comes twice once, answers it each time, and keeps no answer that was got', async () => {
  const served = echo((await open('two')).inbox);
  const first = { ask: 4, from: 'hand', after: 0, since: 4, body: 'a' };
  const second = { ask: 9, from: 'hand', after: 4, since: 4, body: 'b' };
  for (const letter of [second, first, first, second]) await writeLetter('two', letter);
  const letters = [4, 4, 9, 9].map((answer) => ({ answer, body: answer === 4 ? 'a' : 'b' }));
  const got = (await readLetters('hand', 4)) as { answer: number }[];
  expect(got.sort((one, other) => one.answer - other.answer)).toEqual(letters);
  // It has both answers now.
  await writeLetter('two', { ask: 12, from: 'hand', after: 0, since: 12, body: 'c' });
  await writeLetter('two', first);
  expect((await readLetters('hand', 6)).slice(4)).toEqual([{ answer: 12, body: 'c' }, { forgotten: 4 }]);
  expect(served).toEqual(['a', 'b', 'c']);
});

it('[CMD-3] says that an outcome is unknown when nobody knows it any more', async () => {
  const { inbox: one } = await open('one');
  const asked = expect(one.ask('hand', 'a', never)).rejects.toThrow(InboxUnavailable);
  await writeLetter('one', { forgotten: 1 });
  await asked;
});

it('[NODE-2] says that it is there as soon as Redis is back', async () => {
  const times = { leaseMs: 300_000, renewMs: 100_000 };
  const [{ inbox: one }] = await Promise.all([open('one', times), open('two', times)]);
  await redis.kill();
  await redis.start();
  await eventually(() => one.isAlive('two'));
});

it('leaves nothing for good with a node that never reads', async () => {
  const { inbox: one } = await open('one');
  const gone = new AbortController();
  const asked = one.ask('dead', 1, gone.signal);
  await eventually(async () => (await look.client.xlen(keys.inbox('dead'))) === 1);
  expect(await look.client.pttl(keys.inbox('dead'))).toBeGreaterThan(0);
  gone.abort(new Error('dead'));
  await expect(asked).rejects.toThrow('dead');
});
