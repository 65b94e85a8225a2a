/** What is asked of a session's owner on another node, and what becomes of it when that node dies without a word. */
import { RedisInbox } from '../../server/adapters/redis/index.js';
import { systemClock } from '../../server/adapters/system/index.js';
import { keys } from '../../server/adapters/redis/keys.js';
import type { LogOwner, LogTail } from '../../server/ports/log-tail.js';
import type { ActorRegistry } from '../../server/session/actor-registry.js';
import { Followers } from '../../server/session/followers.js';
import type { NodeRequest } from '../../server/session/node-messages.js';
import { RemoteSession } from '../../server/session/remote-session.js';
import { ActorGone } from '../../server/session/replies.js';
import { HeldElsewhere } from '../../server/session/session-door.js';
import { SessionDoors } from '../../server/session/session-doors.js';
import { SessionFollower } from '../../server/session/session-follower.js';
import { toFirstState } from '../../server/session/session-fold.js';
import { FakeClock } from '../support/fake-clock.js';
import { type RedisServer, startRedis } from '../support/redis-server.js';
import { openRedisNode, type RedisNode } from '../support/redis-store.js';
import { anEvent, aRow } from '../support/store-records.js';

const S = 'sesn_one';
const LEASE = { leaseMs: 1_000, renewMs: 300 };
/** After the lease: a look of each second, and what it takes. */
const LEARNT_MS = 1_500;
const quiet = () => undefined;
const logger = { error: quiet, warn: quiet, info: quiet, debug: quiet, child: () => logger };

let redis: RedisServer;
let owner: RedisNode;
let other: RedisNode;
let inbox: RedisInbox;
let followers: Followers;
let needed: Set<string>;

beforeEach(async () => {
  redis = await startRedis();
  [owner, other] = await Promise.all([openRedisNode(redis.url, { times: LEASE }), openRedisNode(redis.url)]);
  inbox = await RedisInbox.open({ redis: other.redis, nodeId: other.nodeId });
  needed = new Set();
  followers = new Followers({
    ...{ tail: other.tail, sessions: other.sessions, clock: systemClock, logger },
    isNeeded: (sessionId) => needed.has(sessionId),
    onOwner: quiet,
  });
  await owner.sessions.create(aRow(S));
  await owner.leases.claim(S);
});
afterEach(async () => {
  followers.close();
  await inbox.close();
  await Promise.all([owner.close(), other.close()]);
  await redis.dispose();
});

async function openRemote(): Promise<{ follower: SessionFollower; remote: RemoteSession }> {
  const follower = await followers.get(S);
  const holder = follower.owner;
  if (!holder) throw new Error('nobody holds the session');
  return { follower, remote: new RemoteSession({ inbox, follower, owner: holder, clock: systemClock }) };
}

it('[CMD-1] gives up what it asked of an owner that died, soon after its lease is over, though nobody says so', async () => {
  const { remote } = await openRemote();
  const by = { user_id: 'ada', org_id: 'acme', roles: [] };
  const asked = expect(remote.delete(by)).rejects.toThrow(ActorGone);
  owner.cut();
  const cutAt = performance.now();
  await asked;
  expect(performance.now() - cutAt).toBeLessThan(LEASE.leaseMs + LEARNT_MS);
});

it('[CMD-1] asks the owner of now, where the one before said that it is none and nobody was woken', async () => {
  const deaf: LogTail = { read: (...query) => other.tail.read(...query), watch: () => () => undefined };
  const own = new Followers({
    ...{ tail: deaf, sessions: other.sessions, clock: new FakeClock(), logger },
    isNeeded: () => false,
    onOwner: quiet,
  });
  const theirs = await RedisInbox.open({ redis: owner.redis, nodeId: owner.nodeId });
  const asked: string[] = [];
  let token = await other.redis.client.hget(keys.session(S), 'token');
  theirs.serve(async (request) => {
    const { token: of } = request as NodeRequest;
    asked.push(of === token ? 'the owner' : 'one that is gone');
    return of === token ? { ok: true, value: undefined } : { ok: 'gone' };
  });
  // Nothing of the session is on this node.
  const registry = { find: quiet, get: () => Promise.reject(new HeldElsewhere()) } as unknown as ActorRegistry;
  const doors = new SessionDoors({ registry, followers: own, inbox, clock: systemClock });
  const by = { user_id: 'ada', org_id: 'acme', roles: [] };
  try {
    const before = await doors.get(S);
    token = (await owner.leases.claim(S))?.token ?? '';
    await expect(before.delete(by)).rejects.toThrow(ActorGone);
    await (await doors.get(S)).delete(by);
    expect(asked).toEqual(['one that is gone', 'the owner']);
  } finally {
    own.close();
    await theirs.close();
  }
});

it('[CMD-5] follows on while the owner has not answered, so that nothing is asked twice', async () => {
  const clock = new FakeClock();
  const own = new Followers({
    ...{ tail: other.tail, sessions: other.sessions, clock, logger },
    isNeeded: () => false,
    onOwner: quiet,
  });
  const theirs = await RedisInbox.open({ redis: owner.redis, nodeId: owner.nodeId });
  let answer = (_answer: unknown): void => undefined;
  const asked = new Promise<void>((hear) => {
    theirs.serve(() => {
      hear();
      return new Promise((resolve) => {
        answer = resolve;
      });
    });
  });
  try {
    const follower = await own.get(S);
    const holder = follower.owner as LogOwner;
    const remote = new RemoteSession({ inbox, follower, owner: holder, clock: systemClock });
    const deleted = remote.delete({ user_id: 'ada', org_id: 'acme', roles: [] });
    await asked;
    // Long enough for what nobody watches to be followed no more.
    for (let looks = 0; looks < 60; looks++) clock.advance(1_000);
    expect(remote.isDead).toBe(false);
    answer({ ok: true, value: undefined });
    await deleted;
    for (let looks = 0; looks < 60; looks++) clock.advance(1_000);
    expect(remote.isDead).toBe(true);
  } finally {
    own.close();
    await theirs.close();
  }
});

it('learns that an owner died of a session whose tools are registered here', async () => {
  const { follower } = await openRemote();
  needed.add(S);
  owner.cut();
  const cutAt = performance.now();
  await new Promise<void>((resolve) => void follower.onOwner(resolve));
  expect(follower.owner).toBeUndefined();
  expect(performance.now() - cutAt).toBeLessThan(LEASE.leaseMs + LEARNT_MS);
});

it('[LOG-1] reads again where it was woken and could not read, though nothing wakes it once more', async () => {
  const [row, read] = await Promise.all([other.sessions.get(S), other.tail.read(S, 0)]);
  if (!row || !read) throw new Error('there is no session');
  let wake = (_head: number | undefined): void => undefined;
  let failures = 0;
  const tail: LogTail = {
    read: async (...query) => {
      if (failures-- > 0) throw new Error('the store is away');
      return other.tail.read(...query);
    },
    watch: (_sessionId, onChange) => {
      wake = onChange;
      return () => undefined;
    },
  };
  const clock = new FakeClock();
  const state = toFirstState(row, undefined, read.epoch);
  const follower = new SessionFollower({ tail, clock, logger, onOver: () => undefined }, state, undefined);
  await follower.start();
  const token = await other.redis.client.hget(keys.session(S), 'token');
  await owner.log.append({ sessionId: S, token: token ?? '', records: [anEvent(1)] });
  failures = 2;
  wake(1);
  for (let tries = 0; tries < 2; tries++) {
    while (clock.pending === 0) await new Promise(setImmediate);
    expect(follower.feed.head).toBe(0);
    clock.advance(1_000);
  }
  while (follower.feed.head === 0) await new Promise(setImmediate);
  expect(follower.feed.head).toBe(1);
  follower.stop();
});
