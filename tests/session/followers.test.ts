/** The sessions that a node follows, on a real Redis: who watches stays with its feed, and what nobody watches is left. */
import { Followers } from '../../server/session/followers.js';
import { SessionFeed } from '../../server/session/session-feed.js';
import { FakeClock } from '../support/fake-clock.js';
import { flushRedis, type RedisServer, startRedis } from '../support/redis-server.js';
import { openRedisNode, type RedisNode } from '../support/redis-store.js';
import { anEvent, aRow } from '../support/store-records.js';
import { eventually } from '../support/eventually.js';
import { standIn } from './support/stand-in.js';

const S = 'sesn_one';
/** Followers look every 5 s for those that nobody used for 10 s. */
const SWEPT_MS = 20_000;
const quiet = () => undefined;

let redis: RedisServer;
let node: RedisNode;
let clock: FakeClock;
let followers: Followers;
let lease: { readonly token: string; readonly epoch: string };
/** How many tails of logs are watched. */
let tails: number;
/** How many readings of the session's row fail from now on. */
let failures: number;
let warnings: string[];

beforeAll(async () => {
  redis = await startRedis();
});
afterAll(() => redis.dispose());
beforeEach(async () => {
  node = await openRedisNode(redis.url);
  await flushRedis(node.redis);
  await node.sessions.create(aRow(S));
  const { token, epoch } = (await node.leases.claim(S)) ?? {};
  if (token === undefined || epoch === undefined) throw new Error('somebody else holds the lease');
  lease = { token, epoch };
  clock = new FakeClock();
  [tails, failures, warnings] = [0, 0, []];
  const tail = standIn(node.tail, {
    watch: (...watching) => {
      tails++;
      const leave = node.tail.watch(...watching);
      return () => {
        tails--;
        leave();
      };
    },
  });
  const sessions = standIn(node.sessions, {
    get: async (sessionId) => {
      if (failures-- > 0) throw new Error('the store is away');
      return node.sessions.get(sessionId);
    },
  });
  const logger = { error: quiet, info: quiet, debug: quiet, child: () => logger, warn: (text: string) => warn(text) };
  followers = new Followers({ tail, sessions, clock, logger, isNeeded: () => false, onOwner: quiet });
});
afterEach(async () => {
  followers.close();
  await node.close();
});

const warn = (text: string): void => void warnings.push(text);

/** Watches, and tells how to stop. */
function watch(feed: SessionFeed): () => void {
  const watcher = { cursor: 0, wake: quiet, control: quiet, userId: 'ada', end: quiet };
  feed.add(watcher);
  return () => feed.remove(watcher);
}

it('[LOG-4] gives the feed whose watchers wait for the store to whoever asks meanwhile, and follows it once', async () => {
  const feed = new SessionFeed(S, 0);
  const leave = watch(feed);
  failures = 1;
  followers.take({ feed, epoch: lease.epoch });
  await eventually(() => expect(warnings).toEqual(['a session could not be followed yet']));
  expect((await followers.get(S)).feed).toBe(feed);
  // The time to try again comes, and there is nothing left to do.
  clock.advance(200);
  await node.log.append({ sessionId: S, token: lease.token, records: [anEvent(1)] });
  await eventually(() => expect(feed.head).toBe(1));
  expect([tails, followers.feeds]).toEqual([1, [feed]]);
  leave();
  clock.advance(SWEPT_MS);
  expect([tails, followers.feeds]).toEqual([0, []]);
});

it('[LOG-4] tries again until the store answers, though nobody asks', async () => {
  const feed = new SessionFeed(S, 0);
  watch(feed);
  failures = 3;
  followers.take({ feed, epoch: lease.epoch });
  await node.log.append({ sessionId: S, token: lease.token, records: [anEvent(1)] });
  await eventually(() => {
    clock.advance(100);
    expect(feed.head).toBe(1);
  });
  expect(warnings).toHaveLength(3);
  expect(tails).toBe(1);
});

it('[LOG-4] follows on for those who watched before another feed of the session came, until they leave', async () => {
  const first = (await followers.get(S)).feed;
  const second = new SessionFeed(S, 0);
  const leaves = [watch(first), watch(second)];
  followers.take({ feed: second, epoch: lease.epoch });
  expect((await followers.get(S)).feed).toBe(second);
  await node.log.append({ sessionId: S, token: lease.token, records: [anEvent(1)] });
  await eventually(() => expect([first.head, second.head]).toEqual([1, 1]));
  expect(new Set(followers.feeds)).toEqual(new Set([first, second]));
  leaves[0]?.();
  clock.advance(SWEPT_MS);
  expect([tails, followers.feeds]).toEqual([1, [second]]);
  leaves[1]?.();
  clock.advance(SWEPT_MS);
  expect([tails, followers.feeds]).toEqual([0, []]);
});
