/** One session through the lives of its server: its store, its model, everybody who watches, and the laws they keep. */
import { cpSync, mkdtempSync, rmSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { type LoggedEvent, MidstreamError, type TurnCommand } from '../../../protocol/index.js';
import type { StoredEvent } from '../../../server/ports/event-log.js';
import type { Random } from '../../core/support/random.js';
import { startRoom, type TestRoom } from '../support.js';
import { CommandBook } from './command-book.js';
import { turns } from './event-loop.js';
import { type Fault, FaultyStore, MAX_DELAY_TURNS } from './faulty-store.js';
import { FuzzModel } from './fuzz-model.js';
import { checkLogLaws } from './log-laws.js';
import { Watch } from './watch.js';
import { Witness, WitnessedSink } from './witness.js';

const MAX_SETTLE_ROUNDS = 3_000;
const SETTLE_STEP_MS = 5_000;

export class FuzzSession {
  readonly book: CommandBook;
  readonly witness = new Witness((violation) => void this.#violations.push(violation));
  /** Each ends a server tool that runs. */
  readonly toolEnds: (() => void)[] = [];
  model!: FuzzModel;
  room!: TestRoom;
  id = '';
  live: Watch[] = [];
  readonly #past: Watch[] = [];
  readonly #violations: string[] = [];
  readonly #dataDirs: string[] = [];
  #store!: FaultyStore;
  #hasFailed = false;

  constructor(private readonly random: Random) {
    this.book = new CommandBook({
      report: this.witness.report,
      mayBeUnavailable: () => this.#hasFailed || this.#store.hasFailed,
      onInterrupted: (turnId) => this.model.checkStopped(turnId),
    });
  }

  async start(): Promise<void> {
    await this.#open(this.#newDataDir());
    this.id = (await this.room.create()).id;
  }

  /** Ends everything; whatever it was. */
  async stop(): Promise<void> {
    await this.room.stop();
    for (const dataDir of this.#dataDirs) rmSync(dataDir, { recursive: true, force: true });
  }

  throwViolations(): void {
    if (this.#violations.length > 0) throw new Error(this.#violations.slice(0, 3).join('\n'));
  }

  send(...commands: readonly TurnCommand[]): Promise<void> {
    const { api } = this.room.room;
    const { caller } = this.room;
    const [only] = commands;
    const answers =
      commands.length === 1 && only
        ? api.dispatch(caller, only).then((accepted) => [accepted])
        : api.dispatchBatch(caller, this.id, commands).then(({ accepted }) => accepted);
    return this.book.follow(commands, answers);
  }

  async attach(afterSeq: number | 'head' | undefined, epoch = this.room.store.log.epoch): Promise<void> {
    const sink = new WitnessedSink(this.id, this.witness);
    sink.isFull = this.random.chance(0.2);
    const deltas = this.random.chance(0.8);
    const store = this.#store;
    try {
      const { room, caller } = this.room;
      const attachment = await room.api.attach(caller, { sessionId: this.id, afterSeq, epoch, deltas }, sink);
      if (store.isRetired) return;
      const { mode, head_seq } = attachment.result;
      if (head_seq > this.witness.head) this.witness.report(`[LOG-2] ${mode} at ${head_seq}, which is not in the log`);
      if (typeof afterSeq === 'number' && mode === 'snapshot' && epoch === this.room.store.log.epoch)
        this.witness.report(`[LOG-4] a snapshot, though the log has all after ${afterSeq}`);
      this.live.push(new Watch(sink, attachment, afterSeq, deltas));
      attachment.start();
    } catch (error) {
      if (!store.isRetired) this.#expectUnavailable(error);
    }
  }

  /** What REST shows of the session is in the log. */
  async look(): Promise<void> {
    const store = this.#store;
    try {
      const { head_seq } = await this.room.room.api.getSession(this.room.caller, this.id);
      if (store.isRetired || head_seq <= this.witness.head) return;
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
    this.#store.fault = fault;
    await meanwhile();
    this.#store.fault = undefined;
    await turns(MAX_DELAY_TURNS);
    this.model.orphan();
    for (const watch of this.live) if (watch.isClosed) await this.resume(watch);
  }

  async resume(watch: Watch): Promise<void> {
    this.detach(watch);
    await this.attach(watch.last);
  }

  /** The process dies at once; the next one starts from what was on disk at that moment. */
  async crash(): Promise<void> {
    const image = this.#newDataDir();
    cpSync(this.room.dataDir, image, { recursive: true });
    this.#store.retire();
    this.#hasFailed = true;
    this.book.endLife();
    this.detachAll();
    for (const end of this.toolEnds.splice(0)) end();
    await this.room.stop();
    await this.#open(image);
    this.witness.checkLog(await this.#readLog());
  }

  /** Lets every turn come to its end. */
  async settle(): Promise<void> {
    for (let round = 0; round < MAX_SETTLE_ROUNDS; round++) {
      for (const watch of this.live) if (watch.sink.isFull) watch.sink.drain();
      const { turn, queue, pending, session } = await this.#snapshot();
      const isIdle = !turn && queue.length === 0 && session.status === 'idle' && !this.model.running;
      if (isIdle && this.book.isQuiet) break;
      this.model.goOn();
      this.toolEnds.shift()?.();
      await turns(2);
      if (pending.length > 0 || (!this.model.running && this.toolEnds.length === 0))
        this.room.clock.advance(SETTLE_STEP_MS);
      if (round === MAX_SETTLE_ROUNDS - 1) this.witness.report(`[TURN-1] never ended: ${JSON.stringify(turn)}`);
      this.throwViolations();
    }
    for (const watch of this.live) if (watch.isClosed) await this.resume(watch);
    await turns(20);
    for (const watch of this.live) if (watch.sink.isFull) watch.sink.drain();
    await turns(20);
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

  async #open(dataDir: string): Promise<void> {
    const { random, witness } = this;
    const store = new FaultyStore(random, witness);
    const model = new FuzzModel(random, witness);
    this.#store = store;
    this.model = model;
    this.room = await startRoom({
      dataDir,
      model,
      flushIntervalMs: 0,
      wrapLog: (log) => store.wrapLog(log),
      wrapSessions: (sessions) => store.wrapSessions(sessions),
      tools: [
        { name: 'search', description: 'Searches', input_schema: { type: 'object' }, run: () => this.#runTool() },
      ],
    });
  }

  #runTool(): Promise<string> {
    return new Promise((resolve) => this.toolEnds.push(() => resolve('found')));
  }

  /** The state, once the session can be had again. */
  async #snapshot() {
    for (;;) {
      try {
        const request = { sessionId: this.id, afterSeq: undefined, epoch: undefined, deltas: true };
        const sink = new WitnessedSink(this.id, this.witness);
        const { result, detach } = await this.room.room.api.attach(this.room.caller, request, sink);
        detach();
        if (result.snapshot) return result.snapshot;
      } catch (error) {
        this.#expectUnavailable(error);
        this.room.clock.advance(SETTLE_STEP_MS);
      }
    }
  }

  #readLog(): Promise<readonly StoredEvent[]> {
    return this.room.store.log.read(this.id, { afterSeq: 0, limit: Number.MAX_SAFE_INTEGER });
  }

  #expectUnavailable(error: unknown): void {
    const isUnavailable = error instanceof MidstreamError && error.code === 'store_unavailable';
    if (!isUnavailable || !(this.#hasFailed || this.#store.hasFailed)) throw error;
  }

  #newDataDir(): string {
    const dataDir = mkdtempSync(join(tmpdir(), 'midstream-fuzz-'));
    this.#dataDirs.push(dataDir);
    return dataDir;
  }
}
