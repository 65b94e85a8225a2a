/** One session through the lives of its servers: their store, their models, everybody who watches, and the laws they keep. */
import { type LoggedEvent, MidstreamError, type TurnCommand } from '../../../protocol/index.js';
import type { StoredEvent } from '../../../server/ports/event-log.js';
import type { Random } from '../../core/support/random.js';
import { startRoom, type TestRoom } from '../support.js';
import { CommandBook } from './command-book.js';
import { type Fault, FaultyStore, MAX_DELAY_TURNS } from './faulty-store.js';
import type { Footing, Ground } from './fuzz-grounds.js';
import { FuzzModel } from './fuzz-model.js';
import { checkLogLaws } from './log-laws.js';
import { Watch } from './watch.js';
import { Witness, WitnessedSink } from './witness.js';

const MAX_SETTLE_ROUNDS = 3_000;
const SETTLE_STEP_MS = 5_000;
/** A node that was not woken looks after a second. */
const MAX_ARRIVE_ROUNDS = 20_000;

/** One of the processes that have the session. */
interface Node {
  readonly at: number;
  readonly footing: Footing;
  readonly store: FaultyStore;
  readonly model: FuzzModel;
  readonly room: TestRoom;
}

export class FuzzSession {
  readonly book: CommandBook;
  readonly witness = new Witness((violation) => void this.#violations.push(violation));
  /** Each ends a server tool that runs. */
  readonly toolEnds: (() => void)[] = [];
  id = '';
  live: Watch[] = [];
  readonly #nodes: Node[] = [];
  readonly #nodeOf = new WeakMap<Watch, Node>();
  readonly #past: Watch[] = [];
  readonly #violations: string[] = [];
  readonly #gone: Promise<unknown>[] = [];
  #epoch: string | undefined;
  #hasFailed = false;

  constructor(
    private readonly random: Random,
    private readonly ground: Ground,
  ) {
    this.book = new CommandBook({
      nodes: ground.rooms,
      report: this.witness.report,
      mayBeUnavailable: () => this.#mayBeUnavailable,
      onInterrupted: (turnId) => {
        for (const { model } of this.#nodes) model.checkStopped(turnId);
      },
    });
  }

  async start(): Promise<void> {
    for (let at = 0; at < this.ground.rooms; at++) this.#nodes[at] = await this.#open(at, await this.ground.open());
    this.id = (await this.#pickNode().room.create()).id;
  }

  /** Ends everything, whatever it was, but what crashed. */
  async stop(): Promise<void> {
    await Promise.all(this.#nodes.map(({ room }) => room.stop()));
  }

  /** After `stop`: resolves when what crashed has given up too, which takes seconds, and nothing of it is left. */
  async clear(): Promise<void> {
    await Promise.all(this.#gone);
    await this.ground.dispose();
  }

  pause(count: number): Promise<void> {
    return this.ground.pause(count);
  }

  /** Any of its rooms. */
  get room(): TestRoom {
    return this.#pickNode().room;
  }

  advance(ms: number): void {
    for (const { room } of this.#nodes) room.clock.advance(ms);
  }

  /** The connection of one of them closes; or of all. */
  closeConnection(): void {
    closeConnectionOf(this.#pickNode());
  }

  closeConnections(): void {
    for (const node of this.#nodes) closeConnectionOf(node);
  }

  /** The model streams on, wherever it does. */
  goOn(): void {
    for (const { model } of this.#nodes) model.goOn();
  }

  throwViolations(): void {
    if (this.#violations.length > 0) throw new Error(this.#violations.slice(0, 3).join('\n'));
  }

  send(...commands: readonly TurnCommand[]): Promise<void> {
    const { at, room } = this.#pickNode();
    const { api } = room.room;
    const { caller } = room;
    const [only] = commands;
    const answers =
      commands.length === 1 && only
        ? api.dispatch(caller, only).then((accepted) => [accepted])
        : api.dispatchBatch(caller, this.id, commands).then(({ accepted }) => accepted);
    return this.book.follow(at, commands, answers);
  }

  sendConflict(id: string, command: object): void {
    const { at, room } = this.#pickNode();
    void this.book.followConflict(at, id, room.send(command));
  }

  async attach(afterSeq: number | 'head' | undefined): Promise<void> {
    const node = this.#pickNode();
    const { store, room } = node;
    const sink = this.#newSink();
    sink.isFull = this.random.chance(0.2);
    const deltas = this.random.chance(0.8);
    const epoch = this.#epoch;
    try {
      const request = { sessionId: this.id, afterSeq, epoch, deltas };
      const attachment = await room.room.api.attach(room.caller, request, sink);
      if (store.isRetired) return;
      const { mode, head_seq } = attachment.result;
      this.#epoch ??= attachment.result.epoch;
      if (head_seq > this.#knownHead) this.witness.report(`[LOG-2] ${mode} at ${head_seq}, which is not in the log`);
      if (typeof afterSeq === 'number' && mode === 'snapshot' && epoch === this.#epoch)
        this.witness.report(`[LOG-4] a snapshot, though the log has all after ${afterSeq}`);
      const watch = new Watch(sink, attachment, afterSeq, deltas);
      this.#nodeOf.set(watch, node);
      this.live.push(watch);
      attachment.start();
    } catch (error) {
      if (!store.isRetired) this.#expectUnavailable(error);
    }
  }

  /** What REST shows of the session is in the log. */
  async look(): Promise<void> {
    const { store, room } = this.#pickNode();
    try {
      const { head_seq } = await room.room.api.getSession(room.caller, this.id);
      if (store.isRetired || head_seq <= this.#knownHead) return;
      this.witness.report(`[LOG-2] the session was shown at ${head_seq}, which is not in the log`);
    } catch (error) {
      if (!store.isRetired) this.#expectUnavailable(error);
    }
  }

  detach(watch: Watch): void {
    watch.attachment.detach();
    this.live = this.live.filter((other) => other !== watch);
    this.#past.push(watch);
  }

  detachAll(): void {
    for (const watch of this.live) this.detach(watch);
  }

  /** Every append fails for a while, after which whoever was told so comes back. */
  async failStore(fault: Fault, meanwhile: () => Promise<void>): Promise<void> {
    const { store } = this.#pickNode();
    store.fault = fault;
    await meanwhile();
    store.fault = undefined;
    await this.pause(MAX_DELAY_TURNS);
    for (const { model } of this.#nodes) model.orphan();
    for (const watch of this.live) if (watch.isClosed) await this.resume(watch);
  }

  async resume(watch: Watch): Promise<void> {
    this.detach(watch);
    await this.attach(watch.last);
  }

  /** A process dies at once; the next one starts from what was in its store at that moment. */
  async crash(): Promise<void> {
    const { at, footing, store, room } = this.#pickNode();
    const crash = this.ground.crash(footing, this.id);
    store.retire();
    this.#hasFailed = true;
    this.book.endLife(at);
    for (const watch of this.live) if (this.#nodeOf.get(watch)?.at === at) this.detach(watch);
    for (const end of this.toolEnds.splice(0)) end();
    const gone = room.stop();
    // Without its Redis it can't say goodbye.
    if (footing.shared) this.#gone.push(gone.catch(() => undefined));
    else await gone;
    const { records, next } = await crash;
    for (const record of records) this.witness.learn(record);
    this.#nodes[at] = await this.#open(at, next);
    // Others go on while it is read.
    const { head } = this.witness;
    this.witness.checkLog(await this.#readLog(), head);
  }

  /** Lets every turn come to its end. */
  async settle(): Promise<void> {
    for (let round = 0; round < MAX_SETTLE_ROUNDS; round++) {
      for (const watch of this.live) if (watch.sink.isFull) watch.sink.drain();
      const { turn, queue, pending, session } = await this.#snapshot();
      const isIdle = !turn && queue.length === 0 && session.status === 'idle' && !this.#isStreaming;
      if (isIdle && this.book.isQuiet) break;
      this.goOn();
      this.toolEnds.shift()?.();
      await this.pause(2);
      if (pending.length > 0 || (!this.#isStreaming && this.toolEnds.length === 0)) this.advance(SETTLE_STEP_MS);
      if (round === MAX_SETTLE_ROUNDS - 1) this.witness.report(`[TURN-1] never ended: ${JSON.stringify(turn)}`);
      this.throwViolations();
    }
    for (const watch of this.live) if (watch.isClosed) await this.resume(watch);
    await this.pause(20);
    for (const watch of this.live) if (watch.sink.isFull) watch.sink.drain();
    await this.pause(20);
    const log = await this.#readLog();
    for (let round = 0; round < MAX_ARRIVE_ROUNDS && !this.live.every((watch) => watch.hasArrived(log)); round++) {
      for (const watch of this.live) if (watch.sink.isFull) watch.sink.drain();
      await this.pause(1);
    }
  }

  async check(): Promise<void> {
    const log = await this.#readLog();
    const events = log.map(({ json }) => JSON.parse(json) as LoggedEvent);
    this.witness.checkLog(log);
    checkLogLaws(events, this.witness);
    this.book.check(events);
    for (const watch of [...this.#past, ...this.live]) watch.check(log, this.witness);
    for (const watch of this.live) watch.checkArrived(log, this.witness);
  }

  async #open(at: number, footing: Footing): Promise<Node> {
    const { random, witness } = this;
    const store = new FaultyStore(random, witness);
    const model = new FuzzModel(random, witness);
    const room = await startRoom({
      ...footing,
      connectionId: connectionOf(at),
      model,
      flushIntervalMs: 0,
      wrapLog: (log) => store.wrapLog(log),
      wrapSessions: (sessions) => store.wrapSessions(sessions),
      tools: [
        { name: 'search', description: 'Searches', input_schema: { type: 'object' }, run: () => this.#runTool() },
      ],
    });
    return { at, footing, store, model, room };
  }

  #pickNode(): Node {
    return (this.#nodes.length === 1 ? this.#nodes[0] : this.random.pick(this.#nodes)) as Node;
  }

  #newSink(): WitnessedSink {
    return new WitnessedSink(this.id, this.witness, this.#nodes.length === 1 ? 'writer' : 'shared log');
  }

  get #knownHead(): number {
    return this.#nodes.length === 1 ? this.witness.head : this.witness.offeredHead;
  }

  get #isStreaming(): boolean {
    return this.#nodes.some(({ model }) => model.running);
  }

  get #mayBeUnavailable(): boolean {
    return this.#hasFailed || this.#nodes.some(({ store }) => store.hasFailed);
  }

  #runTool(): Promise<string> {
    return new Promise((resolve) => this.toolEnds.push(() => resolve('found')));
  }

  /** The state, once the session can be had again. */
  async #snapshot() {
    for (;;) {
      try {
        const request = { sessionId: this.id, afterSeq: undefined, epoch: undefined, deltas: true };
        const { room } = this.#pickNode();
        const { result, detach } = await room.room.api.attach(room.caller, request, this.#newSink());
        detach();
        if (result.snapshot) return result.snapshot;
      } catch (error) {
        this.#expectUnavailable(error);
        this.advance(SETTLE_STEP_MS);
        await this.pause(1);
      }
    }
  }

  #readLog(): Promise<readonly StoredEvent[]> {
    return this.room.store.log.read(this.id, { afterSeq: 0, limit: Number.MAX_SAFE_INTEGER });
  }

  #expectUnavailable(error: unknown): void {
    const isUnavailable = error instanceof MidstreamError && error.code === 'store_unavailable';
    if (!isUnavailable || !this.#mayBeUnavailable) throw error;
  }
}

const connectionOf = (at: number): string => `conn_${at}`;
const closeConnectionOf = ({ at, room }: Node): void => room.room.api.connectionClosed(connectionOf(at));
