/** Random use of a session over the real stores, by one node and by two: commands, failing appends, crashes, evictions, slow sockets. */
import type { TurnCommand } from '../../protocol/index.js';
import { type RedisServer, startRedis } from '../support/redis-server.js';
import { createRandom, type Random } from '../core/support/random.js';
import { createEmbeddedGround, createRedisGround, type Ground } from './support/fuzz-grounds.js';
import { FuzzSession } from './support/fuzz-session.js';
import { say } from './support.js';

const isLong = process.env['MIDSTREAM_TEST_LONG'] === '1';
const RUNS = isLong ? 1_500 : 30;
const RUNS_ON_REDIS = isLong ? 150 : 4;
/** Where what one node does has to reach the other, a run is long. */
const RUNS_ON_TWO = isLong ? 150 : 1;
const ACTS = 140;
/** A registry looks after its actors so often, and puts them to rest after four idle looks. */
const SWEEP_MS = 15_000;
const SWEEPS_TO_REST = 6;

type Unnamed = { readonly type: TurnCommand['type'] } & Readonly<Record<string, unknown>>;

class Fuzzer {
  readonly #random: Random;
  readonly #session: FuzzSession;
  #ids = 0;

  constructor(seed: number, ground: Ground) {
    this.#random = createRandom(seed);
    this.#session = new FuzzSession(this.#random, ground);
  }

  async run(): Promise<void> {
    const session = this.#session;
    try {
      await session.start();
      await session.attach(0);
      for (let i = 0; i < ACTS; i++) {
        await this.#act();
        await session.pause(this.#random.int(4));
        session.throwViolations();
      }
      await session.settle();
      await session.check();
      session.throwViolations();
    } finally {
      await session.stop();
    }
  }

  clear(): Promise<void> {
    return this.#session.clear();
  }

  async #act(): Promise<void> {
    const random = this.#random;
    const session = this.#session;
    const action = random.int(27);
    if (action <= 7) session.goOn();
    else if (action <= 9) await this.#say();
    else if (action === 10) void this.#send(this.#interrupt());
    else if (action === 11) void this.#send(this.#steer());
    else if (action === 12) await session.attach(this.#pickCursor());
    else if (action === 13) await this.#resume();
    else if (action === 14) this.#register();
    else if (action === 15) session.closeConnection();
    else if (action === 16) session.toolEnds.shift()?.();
    else if (action === 17) await this.#answerClientTool();
    else if (action === 18) this.#touchSockets();
    else if (action === 19) session.advance(random.int(9_000));
    else if (action === 20) this.#sendAgain();
    else if (action === 21) this.#sendConflict();
    else if (action === 22) void this.#send(this.#message(), this.#interrupt(), this.#message());
    else if (action === 23 && random.chance(0.3)) await this.#failStore();
    else if (action === 24 && random.chance(0.3)) await session.crash();
    else if (action === 25 && random.chance(0.3)) await this.#rest();
    else await session.pause(random.int(5));
  }

  async #say(): Promise<void> {
    const sent = this.#send(this.#message());
    if (this.#random.chance(0.3)) await sent;
  }

  #message(): Unnamed {
    const on_busy = this.#random.pick(['queue', 'interrupt', 'steer', 'reject', undefined]);
    return say(this.#session.id, `prompt ${this.#ids}`, { ...(on_busy && { on_busy }) }) as Unnamed;
  }

  #steer(): Unnamed {
    const content = [{ type: 'text', text: `steer ${this.#ids}` }];
    return { type: 'user.steer', content, apply: this.#random.pick(['now', 'next_step']) };
  }

  /** By nothing, or by one of the names that a message has been given. */
  #interrupt(): Unnamed {
    const random = this.#random;
    const messages = this.#session.book.accepted.filter(({ command }) => command.type === 'user.message');
    const type = 'user.interrupt';
    if (messages.length === 0 || random.chance(0.4)) return { type };
    const { command, answer } = random.pick(messages);
    const { turn_id, message_id } = answer.result;
    return random.pick([
      { type, turn_id },
      { type, message_id },
      { type, command_id: command.id },
    ]);
  }

  #send(...commands: readonly Unnamed[]): Promise<void> {
    const session_id = this.#session.id;
    return this.#session.send(
      ...commands.map((command) => ({ ...command, id: this.#newId(), session_id }) as TurnCommand),
    );
  }

  /** As a client does that was not answered, or that answers twice. */
  #sendAgain(): void {
    const sent = this.#session.book.all;
    if (sent.length > 0) void this.#session.send(this.#random.pick(sent).command);
  }

  #sendConflict(): void {
    const { book } = this.#session;
    if (book.accepted.length === 0) return;
    const { id, session_id } = this.#random.pick(book.accepted).command;
    const other = { type: 'user.steer', id, session_id, content: 'something else', apply: 'next_step' };
    this.#session.sendConflict(id, other);
  }

  #register(): void {
    const { room, id } = this.#session;
    const tools = [{ name: 'edit', description: 'Edits', input_schema: { type: 'object' } }];
    room.send({ type: 'tools.register', id: this.#newId(), session_id: id, tools }).catch(() => undefined);
  }

  async #answerClientTool(): Promise<void> {
    const { room, id } = this.#session;
    const query = { afterSeq: 0, limit: 1_000, types: ['agent.custom_tool_use'] };
    const calls = await room.store.log.read(id, query);
    if (calls.length === 0) return;
    const { id: custom_tool_use_id } = JSON.parse(this.#random.pick(calls).json) as { id: string };
    const content = [{ type: 'text', text: 'done' }];
    void this.#send({ type: 'user.custom_tool_result', custom_tool_use_id, content });
  }

  #pickCursor(): number | 'head' | undefined {
    const { live } = this.#session;
    const last = live.length > 0 ? this.#random.pick(live).last : 0;
    return this.#random.pick([undefined, 'head', 0, last, this.#random.int(last + 1)]);
  }

  async #resume(): Promise<void> {
    const { live } = this.#session;
    if (live.length > 0) await this.#session.resume(this.#random.pick(live));
  }

  #touchSockets(): void {
    for (const { sink } of this.#session.live)
      if (sink.isFull) sink.drain();
      else sink.isFull = this.#random.chance(0.2);
  }

  async #failStore(): Promise<void> {
    const random = this.#random;
    const session = this.#session;
    const acts = [
      () => session.goOn(),
      () => void this.#say(),
      () => void session.attach(undefined),
      () => void session.attach(0),
      () => session.advance(SWEEP_MS),
    ];
    await session.failStore(random.pick(['lost', 'landed']), async () => {
      for (let i = random.int(4); i >= 0; i--) {
        random.pick(acts)();
        if (random.chance(0.5)) void session.look();
        await session.pause(random.int(5));
      }
    });
  }

  /** Everybody goes, the session is put to rest, and somebody may come in the middle of it. */
  async #rest(): Promise<void> {
    const random = this.#random;
    const session = this.#session;
    session.detachAll();
    session.closeConnections();
    if (random.chance(0.7)) await session.settle();
    const come = [() => void this.#say(), () => void session.attach(0), () => void session.attach(undefined)];
    for (let sweep = 1; sweep <= SWEEPS_TO_REST; sweep++) {
      session.advance(SWEEP_MS);
      await session.pause(random.int(6));
      if (random.chance(sweep < SWEEPS_TO_REST - 2 ? 0.05 : 0.4)) random.pick(come)();
      await session.pause(random.int(6));
    }
  }

  #newId(): string {
    return `f${++this.#ids}`;
  }
}

const LAWS = '[LOG-1] [LOG-2] [LOG-3] [LOG-4] [CMD-2] [CMD-3] [CMD-5] [TURN-1] [TURN-3] [CAN-2] [CAN-4]';

describe('a session under random use', () => {
  const first = Number(process.env['MIDSTREAM_SEED'] ?? Math.floor(Math.random() * 1e9));
  const clearing: Promise<void>[] = [];
  let redis: RedisServer;
  beforeAll(async () => {
    redis = await startRedis();
  });
  afterAll(async () => {
    await Promise.all(clearing);
    await redis.dispose();
  });

  // Redis first: what crashed there gives up while the others run.
  const grounds: Record<string, { runs: number; make: () => Ground | Promise<Ground> }> = {
    'on Redis': { runs: RUNS_ON_REDIS, make: () => createRedisGround(redis.url, 1) },
    'on two nodes of one Redis': { runs: RUNS_ON_TWO, make: () => createRedisGround(redis.url, 2) },
    'on one directory': { runs: RUNS, make: createEmbeddedGround },
  };

  it.each(Object.entries(grounds))(
    `${LAWS} keeps the laws %s, from seed ${first}`,
    async (_, { runs, make }) => {
      for (let run = 0; run < runs; run++) {
        const fuzzer = new Fuzzer(first + run, await make());
        try {
          await fuzzer.run();
        } catch (error) {
          throw new Error(`MIDSTREAM_SEED=${first + run}: ${(error as Error).message}`, { cause: error });
        } finally {
          clearing.push(fuzzer.clear());
        }
      }
    },
    RUNS * 5_000,
  );
});
