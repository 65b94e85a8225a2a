/** A session room on the real embedded store, with a clock, a model and sockets that a test moves by hand. */
import { mkdtempSync, rmSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import {
  type CloseCode,
  type ControlFrame,
  DEFAULT_LIMITS,
  type Limits,
  type Principal,
  type Session,
  type SessionEvent,
  type TurnCommand,
} from '../../protocol/index.js';
import { createInputValidator } from '../../server/adapters/ajv/index.js';
import {
  type EmbeddedStore,
  EmbeddedRates,
  EmbeddedSeats,
  openEmbeddedStore,
} from '../../server/adapters/embedded/index.js';
import { createFunctionTools, type FunctionTool } from '../../server/adapters/function-tools/index.js';
import { createNewId } from '../../server/adapters/system/index.js';
import { silentLogger } from '../../server/adapters/winston/index.js';
import type { BudgetPolicy } from '../../server/core/budget-math.js';
import { OPEN_POLICY, type Policy } from '../../server/core/permissions.js';
import { type FactsOf, UNKNOWN_MODEL } from '../../server/core/prices.js';
import type { EventLog } from '../../server/ports/event-log.js';
import type { Leases } from '../../server/ports/lease.js';
import type { Gauge, Metrics, Reading, Total } from '../../server/ports/metrics.js';
import type { RateLimiter } from '../../server/ports/rate-limiter.js';
import type { SessionStore } from '../../server/ports/session-store.js';
import type { TurnSeats } from '../../server/ports/turn-seats.js';
import type { Model, ModelEnd, ModelEvent, ModelRequest } from '../../server/ports/model.js';
import { createDirectory } from '../../server/session/directory.js';
import {
  type Attachment,
  type Caller,
  type FrameSink,
  type LogRecord,
  toFrame,
} from '../../server/session/session-api.js';
import { createSessionRoom, type RoomDeps, type SessionRoom } from '../../server/session/session-room.js';
import { createToolCatalog } from '../../server/session/tool-catalog.js';
import { FakeClock } from '../support/fake-clock.js';

export const LOCAL: Principal = { user_id: 'local', org_id: 'local', roles: ['admin'] };

/** A request that waits for the test to stream its reply. */
export interface OpenRequest {
  readonly request: ModelRequest;
  readonly signal: AbortSignal;
  stream(...events: ModelEvent[]): void;
  end(end?: ModelEnd): void;
}

export class HandModel implements Model {
  readonly requests: OpenRequest[] = [];
  /** While true, an aborted request's connection stays open until the test ends it. */
  closesLate = false;
  #waiting: (() => void)[] = [];

  stream(
    request: ModelRequest,
    onEvents: (events: readonly ModelEvent[]) => void,
    signal: AbortSignal,
  ): Promise<ModelEnd> {
    return new Promise((resolve) => {
      signal.addEventListener('abort', () => {
        if (!this.closesLate) resolve({ type: 'aborted' });
      });
      this.requests.push({
        request,
        signal,
        stream: (...events) => onEvents(events),
        end: (end = { type: 'complete' }) => resolve(end),
      });
      for (const wake of this.#waiting.splice(0)) wake();
    });
  }

  status() {
    return { ok: true, detail: 'by hand' };
  }

  /** The nth request, from 1, as soon as it is there. */
  async request(n: number): Promise<OpenRequest> {
    while (this.requests.length < n) await new Promise<void>((resolve) => this.#waiting.push(resolve));
    return this.requests[n - 1] as OpenRequest;
  }
}

export class TestSink implements FrameSink {
  readonly frames: SessionEvent[] = [];
  readonly controls: ControlFrame[] = [];
  readonly texts: string[] = [];
  closed: { code: CloseCode; reason: string } | undefined;
  flushes = 0;
  backlogBytes = 0;
  /** While true, the socket takes nothing more. */
  isFull = false;
  #onDrain: (() => void) | undefined;
  #waiting: { until: () => boolean; resolve: () => void }[] = [];

  constructor(private readonly sessionId: string) {}

  write(record: LogRecord, prevSeq: number): void {
    const text = toFrame(this.sessionId, record, prevSeq);
    this.texts.push(text);
    this.frames.push(JSON.parse(text) as SessionEvent);
  }

  flush(onDrain: () => void): boolean {
    this.flushes++;
    this.#onDrain = onDrain;
    this.#wake();
    return !this.isFull;
  }

  control(frame: ControlFrame): void {
    this.controls.push(frame);
    this.#wake();
  }

  close(code: CloseCode, reason: string): void {
    this.closed = { code, reason };
    this.#wake();
  }

  drain(): void {
    this.isFull = false;
    this.#onDrain?.();
  }

  has(type: string): boolean {
    return this.frames.some((frame) => frame.type === type);
  }

  async until(condition: () => boolean): Promise<void> {
    if (!condition()) await new Promise<void>((resolve) => this.#waiting.push({ until: condition, resolve }));
  }

  /** LOG-3, as a client checks it. */
  checkOrder(after: number): void {
    let last = after;
    for (const { seq, prev_seq } of this.frames) {
      if ((prev_seq ?? seq - 1) !== last) throw new Error(`LOG-3: ${seq} (prev ${prev_seq}) after ${last}`);
      last = seq;
    }
  }

  text(): string {
    return this.frames
      .map((f) => (f.type === 'event_delta' && f.delta.type === 'content_delta' ? f.delta.content.text : ''))
      .join('');
  }

  #wake(): void {
    const ready = this.#waiting.filter((w) => w.until());
    this.#waiting = this.#waiting.filter((w) => !ready.includes(w));
    for (const { resolve } of ready) resolve();
  }
}

/** What rooms on several nodes have together; the rest of a room's store is its own. */
export type SharedStore = Pick<EmbeddedStore, 'log' | 'sessions' | 'leases' | 'close'> & Pick<RoomDeps, 'nodes'>;

export interface RoomOptions {
  readonly shared?: SharedStore;
  readonly connectionId?: string;
  readonly budgets?: Partial<BudgetPolicy>;
  readonly dataDir?: string;
  readonly tools?: readonly FunctionTool[];
  /** Stands between the room and the store's log. */
  readonly wrapLog?: (log: EventLog) => EventLog;
  readonly wrapSessions?: (sessions: SessionStore) => SessionStore;
  readonly wrapLeases?: (leases: Leases) => Leases;
  readonly model?: HandModel;
  /** How long deltas wait for company, in milliseconds; the store's default where it is left out. */
  readonly flushIntervalMs?: number;
  readonly clock?: FakeClock;
  readonly limits?: Partial<Limits>;
  readonly policy?: Policy;
  readonly factsOf?: FactsOf;
  readonly rates?: RateLimiter;
  readonly seats?: TurnSeats;
}

/** What the room told, and its gauges as they are now. */
export class RecordedMetrics implements Metrics {
  readonly ended: string[] = [];
  readonly denials: string[] = [];
  readonly spending: string[] = [];
  readonly firstContents: number[] = [];
  readonly appends: [contents: string, ms: number][] = [];
  readonly appendFailures: string[] = [];
  takenUp = 0;
  readonly #gauges = new Map<Gauge, () => Reading | Promise<Reading>>();
  readonly #totals = new Map<Total, () => Reading>();

  gauge(name: Gauge, read: () => Reading | Promise<Reading>): void {
    this.#gauges.set(name, read);
  }
  read(name: Gauge): Reading | Promise<Reading> | undefined {
    return this.#gauges.get(name)?.();
  }
  total(name: Total, read: () => Reading): void {
    this.#totals.set(name, read);
  }
  readTotal(name: Total): Reading | undefined {
    return this.#totals.get(name)?.();
  }
  turnEnded(reason: string): void {
    this.ended.push(reason);
  }
  denied(reason: string): void {
    this.denials.push(reason);
  }
  spent(model: string): void {
    this.spending.push(model);
  }
  firstContent(_model: string, ms: number): void {
    this.firstContents.push(ms);
  }
  turnTakenUp(): void {
    this.takenUp++;
  }
  modelEnded(): void {}
  toolEnded(): void {}
  toolRan(): void {}
  cancelled(): void {}
  appended(contents: string, ms: number): void {
    this.appends.push([contents, ms]);
  }
  appendFailed(reason: string): void {
    this.appendFailures.push(reason);
  }
  leaseChanged(): void {}
  epochBegan(): void {}
  asked(): void {}
}

export interface TestRoom {
  readonly room: SessionRoom;
  readonly store: EmbeddedStore;
  readonly metrics: RecordedMetrics;
  readonly clock: FakeClock;
  readonly model: HandModel;
  readonly dataDir: string;
  readonly caller: Caller;
  create(): Promise<Session>;
  send(command: object): ReturnType<SessionRoom['api']['dispatch']>;
  watch(
    sessionId: string,
    options?: { afterSeq?: number | 'head'; epoch?: string; deltas?: boolean; full?: boolean },
  ): Promise<{ sink: TestSink; attachment: Attachment }>;
  stop(): Promise<void>;
}

export async function startRoom({
  dataDir: given,
  tools = [],
  budgets = {},
  wrapLog = (log) => log,
  wrapSessions = (sessions) => sessions,
  wrapLeases = (leases) => leases,
  model = new HandModel(),
  flushIntervalMs,
  clock = new FakeClock(),
  limits,
  policy = OPEN_POLICY,
  factsOf = () => UNKNOWN_MODEL,
  rates = new EmbeddedRates(() => clock.now()),
  seats = new EmbeddedSeats(() => clock.now()),
  shared,
  connectionId = 'conn_1',
}: RoomOptions = {}): Promise<TestRoom> {
  const dataDir = given ?? mkdtempSync(join(tmpdir(), 'midstream-room-'));
  const metrics = new RecordedMetrics();
  const own = await openEmbeddedStore({
    dataDir,
    fsync: 'off',
    now: () => clock.now(),
    ...(flushIntervalMs !== undefined && { flushIntervalMs }),
  });
  const store: EmbeddedStore = { ...own, ...shared };
  const validator = createInputValidator();
  const room = createSessionRoom({
    nodes: shared?.nodes,
    log: wrapLog(store.log),
    sessions: wrapSessions(store.sessions),
    leases: wrapLeases(store.leases),
    audit: store.audit,
    calls: store.calls,
    ledger: store.ledger,
    rates,
    seats,
    limitsUsers: true,
    metrics,
    budgets: { roles: undefined, org: undefined, ...budgets },
    model,
    tools: createToolCatalog([createFunctionTools(tools)]),
    validator,
    clock,
    newId: createNewId(),
    random: () => 0.5,
    logger: silentLogger,
    limits: { ...DEFAULT_LIMITS, ...limits },
    agents: {
      named: {
        default: {
          model: 'scripted',
          system: null,
          tools: ['*'],
          max_tokens: 1_000,
          max_steps: 8,
          deadline_ms: 300_000,
        },
      },
    },
    policy,
    directory: createDirectory([LOCAL]),
    factsOf,
    mayRegister: () => true,
    approvalTimeoutMs: 600_000,
    storePatienceMs: 30_000,
  });
  await room.recover();
  const caller: Caller = { principal: LOCAL, connectionId, requestId: 'req_1' };
  let ids = 0;
  return {
    room,
    store,
    metrics,
    clock,
    model,
    dataDir,
    caller,
    async create() {
      const { result } = await room.api.dispatch(caller, { type: 'session.create', id: `create${++ids}` });
      return result.session as Session;
    },
    send: (command) => room.api.dispatch(caller, { id: `c${++ids}`, ...command } as TurnCommand),
    async watch(sessionId, { afterSeq, epoch, deltas = true, full = false } = {}) {
      const sink = new TestSink(sessionId);
      sink.isFull = full;
      const attachment = await room.api.attach(caller, { sessionId, afterSeq, epoch, deltas }, sink);
      attachment.start();
      return { sink, attachment };
    },
    async stop() {
      try {
        await room.close();
      } finally {
        await shared?.close();
        await own.close();
        if (given === undefined) rmSync(dataDir, { recursive: true, force: true });
      }
    },
  };
}

export const say = (sessionId: string, text: string, extra: object = {}): object => ({
  type: 'user.message',
  session_id: sessionId,
  content: [{ type: 'text', text }],
  ...extra,
});

export const usage = { input_tokens: 5, output_tokens: 1, cache_creation_input_tokens: 0, cache_read_input_tokens: 0 };

export const opened: readonly ModelEvent[] = [
  { type: 'message_start', usage },
  { type: 'block_start', index: 0, block: { type: 'text', text: '' } },
];
export const closed: readonly ModelEvent[] = [
  { type: 'block_stop', index: 0 },
  { type: 'message_delta', stopReason: 'end_turn', usage: { output_tokens: 9 } },
];
export const words = (...said: string[]): ModelEvent[] => said.map((text) => ({ type: 'text', index: 0, text }));
