/** Sessions that the nodes of one Redis open, lose and give back, while somebody watches on another node, or asks. */
import { RedisConnection } from '../../server/adapters/redis/index.js';
import { keys } from '../../server/adapters/redis/keys.js';
import { LogUnavailable } from '../../server/ports/event-log.js';
import { type Inbox, InboxUnavailable } from '../../server/ports/inbox.js';
import { type RedisServer, startRedis } from '../support/redis-server.js';
import { eventually } from '../support/eventually.js';
import { createRedisGround, type Footing, type Ground } from './support/fuzz-grounds.js';
import { standIn } from './support/stand-in.js';
import { closed, opened, type RoomOptions, say, startRoom, type TestRoom, type TestSink, words } from './support.js';

/** Leases live long, so that none lapses on a slow machine, and what became of them is asked often. */
const TIMES = { leaseMs: 10_000, renewMs: 60 };
/** A session that nobody uses for so long gives its lease back at the next look. */
const [IDLE_MS, REST_LOOK_MS] = [60_000, 15_000];

let redis: RedisServer;
let ground: Ground;
let witness: RedisConnection;
let rooms: TestRoom[];
let signals: Signal[];

beforeAll(async () => {
  redis = await startRedis();
});
afterAll(() => redis.dispose());
beforeEach(async () => {
  rooms = [];
  signals = [];
  ground = await createRedisGround(redis.url, 2, { times: TIMES });
  witness = await RedisConnection.open({ url: redis.url });
});
afterEach(async () => {
  // A test that failed leaves nothing waiting.
  for (const signal of signals) signal.give();
  await Promise.all(rooms.map((room) => room.stop()));
  await witness.close();
  await ground.dispose();
});

interface NodeOptions extends Omit<RoomOptions, keyof Footing> {
  /** Stands between the room and the way to other nodes. */
  readonly wrapInbox?: (inbox: Inbox) => Inbox;
}

async function start({ wrapInbox = (inbox) => inbox, ...options }: NodeOptions = {}): Promise<TestRoom> {
  const footing = await ground.open();
  const { shared } = footing;
  if (!shared?.nodes) throw new Error('these rooms are to be on several nodes');
  const nodes = { ...shared.nodes, inbox: wrapInbox(shared.nodes.inbox) };
  const room = await startRoom({ ...options, ...footing, shared: { ...shared, nodes } });
  rooms.push(room);
  return room;
}

/** Given once, for all who wait. */
class Signal {
  wasGiven = false;
  #resolve = (): void => undefined;
  readonly given = new Promise<void>((resolve) => {
    this.#resolve = resolve;
  });

  give(): void {
    this.wasGiven = true;
    this.#resolve();
  }
}

function aSignal(): Signal {
  const signal = new Signal();
  signals.push(signal);
  return signal;
}

/** Made by a node that is gone since. */
async function createByOther(): Promise<string> {
  const other = await start();
  const { id } = await other.create();
  await stop(other);
  return id;
}

async function stop(room: TestRoom): Promise<void> {
  rooms = rooms.filter((one) => one !== room);
  await room.stop();
}

const tokenOf = (id: string): Promise<string | null> => witness.client.hget(keys.session(id), 'token');

const hasSaid = ({ frames }: TestSink, text: string): boolean =>
  frames.some(({ type, ...rest }) => type === 'user.message' && JSON.stringify(rest).includes(text));

async function finishTurn({ model }: TestRoom, reply: string): Promise<void> {
  const request = await model.request(1);
  request.stream(...opened, ...words(reply), ...closed);
  request.end();
}

describe('who watches a session', () => {
  it('[LOG-4] goes on where this node fails to open it once the owner is gone', async () => {
    let failures = 0;
    const a = await start();
    const b = await start({
      wrapLog: (log) =>
        standIn(log, {
          readDeltas: async (...query) => {
            if (failures-- > 0) throw new LogUnavailable('store_failed', 'as the test wants it');
            return log.readDeltas(...query);
          },
        }),
    });
    const { id } = await a.create();
    const { sink } = await b.watch(id);
    await stop(a);
    failures = 1;
    await expect(b.send(say(id, 'one'))).rejects.toMatchObject({ code: 'store_unavailable' });
    await b.send(say(id, 'two'));
    await eventually(() => expect(hasSaid(sink, 'two')).toBe(true));
    sink.checkOrder(0);
  });

  it('[NODE-3] [LOG-4] sees what another node writes that took the lease while it was opened here', async () => {
    const id = await createByOther();
    const [isOpening, isLost, mayOpen] = [aSignal(), aSignal(), aSignal()];
    const a = await start({
      wrapLog: (log) =>
        standIn(log, {
          readDeltas: async (...query) => {
            isOpening.give();
            await mayOpen.given;
            return log.readDeltas(...query);
          },
        }),
      wrapLeases: (leases) =>
        standIn(leases, {
          onLost: (listener) =>
            leases.onLost?.((lost) => {
              listener(lost);
              isLost.give();
            }),
        }),
    });
    const b = await start();
    const watching = a.watch(id);
    await isOpening.given;
    // As after a stall of the whole node.
    await witness.client.hset(keys.session(id), 'until', 0);
    await b.send(say(id, 'one'));
    await b.send({ type: 'user.interrupt', session_id: id });
    await isLost.given;
    mayOpen.give();
    const { sink, attachment } = await watching;
    await b.send(say(id, 'two'));
    await eventually(() => {
      a.clock.advance(100);
      expect(hasSaid(sink, 'two')).toBe(true);
    });
    sink.checkOrder(attachment.result.head_seq);
    expect([sink.controls, sink.closed]).toEqual([[], undefined]);
    expect(a.metrics.read('sessions_open')).toBe(0);
  });

  it('[LOG-4] sees, without a reset, the turn that another node runs after the session rested here', async () => {
    const [a, b] = [await start(), await start()];
    const { id } = await a.create();
    const { sink } = await a.watch(id, { afterSeq: 0 });
    const begunAt = a.clock.now();
    await eventually(async () => {
      if (a.clock.now() - begunAt < IDLE_MS + 2 * REST_LOOK_MS) a.clock.advance(REST_LOOK_MS);
      expect(await tokenOf(id)).toBeNull();
    });
    expect(a.clock.now() - begunAt).toBeGreaterThanOrEqual(IDLE_MS);
    expect(a.metrics.read('sessions_open')).toBe(0);

    await b.send(say(id, 'go'));
    await finishTurn(b, 'done');
    await eventually(() => expect(sink.has('session.status_idle')).toBe(true));
    expect(b.metrics.read('sessions_open')).toBe(1);
    expect(sink.text()).toBe('done');
    sink.checkOrder(0);
    expect([sink.controls, sink.closed]).toEqual([[], undefined]);
  });

  it('[LOG-4] stays with a session that is used again while its lease is being given back', async () => {
    const [isReleasing, mayRelease] = [aSignal(), aSignal()];
    const a = await start({
      wrapLeases: (leases) =>
        standIn(leases, {
          release: async (...lease) => {
            isReleasing.give();
            await mayRelease.given;
            await leases.release(...lease);
          },
        }),
    });
    const { id } = await a.create();
    const { sink } = await a.watch(id, { afterSeq: 0 });
    await eventually(() => {
      a.clock.advance(REST_LOOK_MS);
      expect(isReleasing.wasGiven).toBe(true);
    });
    await a.send(say(id, 'go'));
    mayRelease.give();
    await finishTurn(a, 'done');
    await eventually(() => expect(sink.has('session.status_idle')).toBe(true));
    expect(sink.text()).toBe('done');
    sink.checkOrder(0);
    // From the actor, and not as one follows another node.
    expect([a.metrics.read('sessions_open'), a.metrics.read('sessions_followed')]).toEqual([1, 0]);
  });
});

describe('a node that drains', () => {
  it('makes the session that was asked for before, and leaves it to the others', async () => {
    const a: TestRoom = await start({
      wrapSessions: (sessions) =>
        standIn(sessions, {
          create: async (...session) => {
            await sessions.create(...session);
            a.room.beginDrain();
          },
        }),
    });
    const b = await start();
    const { id, status } = await a.create();
    expect(status).toBe('idle');
    await b.send(say(id, 'go'));
    expect(b.metrics.read('sessions_open')).toBe(1);
  });

  it('says so of a session that no node has, and other nodes take it', async () => {
    const [a, b] = [await start(), await start()];
    const { id } = await a.create();
    a.room.beginDrain();
    await a.room.drained(0);
    await expect(a.send(say(id, 'go'))).rejects.toMatchObject({ code: 'draining' });
    await b.send(say(id, 'go'));
  });
});

it('[TOOL-5] tells the owner of a connection that went, until it is heard', async () => {
  const lost: unknown[] = [];
  const a = await start();
  const b = await start({
    connectionId: 'conn_b',
    wrapInbox: (inbox) =>
      standIn(inbox, {
        ask: async (nodeId, request, signal) => {
          if ((request as { kind: string }).kind !== 'leave' || lost.length === 2)
            return inbox.ask(nodeId, request, signal);
          lost.push(request);
          throw new InboxUnavailable('as the test wants it');
        },
      }),
  });
  const { id } = await a.create();
  const edit = { name: 'edit', description: 'Edits', input_schema: { type: 'object' } };
  await b.send({ type: 'tools.register', session_id: id, tools: [edit] });
  const toolsOf = async (): Promise<unknown> => {
    const { attachment } = await a.watch(id);
    attachment.detach();
    return attachment.result.snapshot?.tools;
  };
  expect(await toolsOf()).toMatchObject([{ name: 'edit' }]);
  b.room.api.connectionClosed('conn_b');
  await eventually(async () => {
    b.clock.advance(250);
    expect(await toolsOf()).toEqual([]);
  });
  expect(lost).toHaveLength(2);
});
