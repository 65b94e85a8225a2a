/** What other nodes ask of a session's actor, where that one is gone and another one has taken its place. */
import { RedisInbox } from '../../server/adapters/redis/index.js';
import { keys } from '../../server/adapters/redis/keys.js';
import { type EventLog, LogUnavailable } from '../../server/ports/event-log.js';
import { type RedisServer, startRedis } from '../support/redis-server.js';
import { openRedisNode, type RedisNode } from '../support/redis-store.js';
import { createRedisGround, type Footing, type Ground } from './support/fuzz-grounds.js';
import { LOCAL, say, startRoom, type TestRoom } from './support.js';

let redis: RedisServer;
let ground: Ground;
let owner: TestRoom;
let ownerId: string;
let other: RedisNode;
let inbox: RedisInbox;
let isFailing: boolean;
let ids = 0;

/** The store of the owner fails when the test wants it; its actor is dead then. */
const failing = (log: EventLog): EventLog => ({
  epoch: log.epoch,
  read: (...args) => log.read(...args),
  floorOf: (...args) => log.floorOf(...args),
  readDeltas: (...args) => log.readDeltas(...args),
  trimDeltas: (...args) => log.trimDeltas(...args),
  findAnswer: (...args) => log.findAnswer(...args),
  append: async (append) => {
    if (isFailing) throw new LogUnavailable('store_failed', 'as the test wants it');
    await log.append(append);
  },
});

beforeAll(async () => {
  redis = await startRedis();
});
afterAll(() => redis.dispose());

beforeEach(async () => {
  isFailing = false;
  ground = await createRedisGround(redis.url, 1);
  const footing: Footing = await ground.open();
  owner = await startRoom({ ...footing, wrapLog: failing });
  ownerId = footing.shared?.nodes?.inbox.nodeId as string;
  other = await openRedisNode(redis.url);
  inbox = await RedisInbox.open({ redis: other.redis, nodeId: other.nodeId });
});
afterEach(async () => {
  await inbox.close();
  await other.close();
  await owner.stop();
  await ground.dispose();
});

const tokenOf = async (sessionId: string): Promise<string> =>
  (await other.redis.client.hget(keys.session(sessionId), 'token')) ?? '';

/** As a node asks that was told of this lease. */
function ask(sessionId: string, token: string, kind: 'command' | 'batch' | 'registrations'): Promise<unknown> {
  const caller = { principal: LOCAL, connectionId: 'conn_other', requestId: 'req_2' };
  const command = { id: `asked${++ids}`, ...say(sessionId, 'Hi') };
  const body = { command: { command, caller }, batch: { commands: [command], caller }, registrations: {} }[kind];
  return inbox.ask(ownerId, { sessionId, token, kind, ...body }, new AbortController().signal);
}

const echoes = async (sessionId: string): Promise<number> =>
  (await owner.store.log.read(sessionId, { afterSeq: 0, limit: 100, types: ['user.message'] })).length;

it.each(['command', 'batch'] as const)(
  '[CMD-5] a %s that was sent to an actor before this one is not done by this one',
  async (kind) => {
    const { id } = await owner.create();
    const before = await tokenOf(id);
    isFailing = true;
    await expect(owner.send(say(id, 'lost'))).rejects.toMatchObject({ code: 'store_unavailable' });
    isFailing = false;
    // The first that asks finds no actor; the second, the next one.
    expect(await ask(id, before, kind)).toEqual({ ok: 'gone' });
    expect(await ask(id, before, kind)).toEqual({ ok: 'gone' });
    expect(await echoes(id)).toBe(0);
    const after = await tokenOf(id);
    expect(after).not.toBe(before);
    expect(await ask(id, after, kind)).toMatchObject({ ok: true });
    expect(await echoes(id)).toBe(1);
  },
);

it('a lease that is over tells nothing of the tools that are registered under the next one', async () => {
  const { id } = await owner.create();
  expect(await ask(id, await tokenOf(id), 'registrations')).toEqual({ ok: true, value: [] });
  expect(await ask(id, 'another', 'registrations')).toEqual({ ok: 'gone' });
});
