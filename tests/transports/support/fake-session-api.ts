/** A session room in memory: logs, cursors and recorded calls, with none of its decisions. */
import {
  type Feedback,
  type LoggedEvent,
  type Message,
  MidstreamError,
  NO_USAGE,
  type Session,
  type ToolCallResult,
  type TurnCommand,
} from '../../../protocol/index.js';
import { type LogRecord, toDeltaRecord, toEventRecord } from '../../../server/core/log-record.js';
import type { AuditPage, AuditQuery } from '../../../server/ports/audit-log.js';
import type { LogQuery, StoredEvent } from '../../../server/ports/event-log.js';
import type { ToolDefinition } from '../../../server/ports/tool-runner.js';
import type {
  Accepted,
  Attachment,
  AttachRequest,
  Caller,
  Command,
  Echoes,
  FrameSink,
  SessionApi,
  ToolCallOptions,
} from '../../../server/session/session-api.js';

const NOW = '2026-01-01T00:00:00.000Z';
const EPOCH = 'e1';

export interface Call {
  readonly caller: Caller;
  readonly command: Command;
}

export class FakeSubscription {
  private cursor: number;
  private delivered: number;
  private blocked = false;
  ended = false;
  pulls = 0;
  started = false;

  constructor(
    private readonly session: FakeSession,
    readonly sink: FrameSink,
    afterSeq: number,
    private readonly deltas: boolean,
  ) {
    this.cursor = afterSeq;
    this.delivered = afterSeq;
  }

  get position(): number {
    return this.cursor;
  }

  /** Writes at most 64 KiB a pull, as the real one bounds a pull. */
  pull(): void {
    while (this.started && !this.ended && !this.blocked) {
      let size = 0;
      const { records } = this.session;
      while (this.cursor < records.length && size < 65_536) {
        const record = records[this.cursor] as LogRecord;
        this.cursor = record.seq;
        if (!this.deltas && (record.kind === 'delta' || record.type === 'event_start')) continue;
        this.sink.write(record, this.delivered);
        this.delivered = record.seq;
        size += record.kind === 'event' ? record.json.length : record.quoted.length;
      }
      if (size === 0) return;
      this.pulls += 1;
      const takesMore = this.sink.flush(() => {
        this.blocked = false;
        this.pull();
      });
      if (!takesMore) this.blocked = true;
    }
  }

  get isBlocked(): boolean {
    return this.blocked;
  }
}

export class FakeSession {
  readonly records: LogRecord[] = [];
  readonly subscriptions = new Set<FakeSubscription>();
  messages: Message[] = [];

  constructor(
    readonly id: string,
    readonly owner: string,
    readonly resource: Session,
  ) {}

  get head(): number {
    return this.records.length;
  }

  /** Appends an event and shows it; `fields` may be anything, as in a log of a later version. */
  append(type: string, fields: Record<string, unknown> = {}): LogRecord {
    const seq = this.head + 1;
    const event = { type, id: `sevt_${seq}`, session_id: this.id, seq, processed_at: NOW, ...fields };
    return this.push(toEventRecord(event as unknown as LoggedEvent));
  }

  delta(turnId: string, eventId: string, text: string, channel: 'text' | 'thinking' | 'input' = 'text'): LogRecord {
    return this.push(toDeltaRecord(this.head + 1, turnId, eventId, channel, 0, text));
  }

  private push(record: LogRecord): LogRecord {
    this.records.push(record);
    for (const subscription of this.subscriptions) subscription.pull();
    return record;
  }
}

export class FakeSessionApi implements SessionApi {
  readonly calls: Call[] = [];
  readonly batches: { readonly sessionId: string; readonly commands: readonly TurnCommand[] }[] = [];
  readonly sessions = new Map<string, FakeSession>();
  readonly closedConnections: string[] = [];
  readonly feedback: Feedback[] = [];
  draining = false;
  private count = 0;

  /** How a turn command is answered; a test replaces it. */
  answer: (command: Command, caller: Caller) => Promise<Accepted> | Accepted = () => ({ result: {} });
  /** Awaited by each attach before it looks. */
  beforeAttach: (request: AttachRequest) => Promise<void> = async () => {};

  get activeSessions(): number {
    return this.sessions.size;
  }

  create(owner = 'local', agent: Partial<Session['agent']> = {}): FakeSession {
    this.count += 1;
    const id = `sesn_${this.count}`;
    const session = new FakeSession(id, owner, {
      type: 'session',
      id,
      status: 'idle',
      title: null,
      metadata: {},
      agent: {
        type: 'agent',
        name: 'default',
        model: 'claude-sonnet-5-5',
        system: null,
        tools: [],
        max_tokens: 4_096,
        max_steps: 20,
        deadline_ms: 300_000,
        ...agent,
      },
      members: [{ user_id: owner, role: 'owner' }],
      created_at: NOW,
      updated_at: NOW,
      epoch: EPOCH,
      head_seq: 0,
      usage: NO_USAGE,
      cost_usd: 0,
    });
    this.sessions.set(id, session);
    return session;
  }

  find(caller: Caller, sessionId: string): FakeSession {
    const session = this.sessions.get(sessionId);
    if (session === undefined || session.owner !== caller.principal.user_id)
      throw new MidstreamError('session_not_found');
    return session;
  }

  async dispatch(caller: Caller, command: Command): Promise<Accepted> {
    this.calls.push({ caller, command });
    if (command.type === 'session.create') {
      const agent = typeof command.agent === 'object' ? { system: command.agent.system ?? null } : {};
      return { result: { session: this.create(caller.principal.user_id, agent).resource } };
    }
    this.find(caller, command.session_id);
    return this.answer(command, caller);
  }

  async dispatchBatch(caller: Caller, sessionId: string, commands: readonly TurnCommand[]): Promise<Echoes> {
    const session = this.find(caller, sessionId);
    this.batches.push({ sessionId, commands });
    const echoes = commands.map((command) => {
      const { id, type, ...rest } = command;
      return session.append(type, { command_id: id, ...rest });
    });
    return {
      accepted: echoes.map((record) => ({ applied_at_seq: record.seq, result: {} })),
      echoes: echoes.map((record) => (record.kind === 'event' ? record.json : '')),
    };
  }

  async attach(caller: Caller, request: AttachRequest, sink: FrameSink): Promise<Attachment> {
    const session = this.find(caller, request.sessionId);
    await this.beforeAttach(request);
    const { head } = session;
    const { afterSeq } = request;
    const foreign = request.epoch !== undefined && request.epoch !== EPOCH;
    const isSnapshot = afterSeq === undefined || foreign;
    const from = isSnapshot || afterSeq === 'head' ? head : afterSeq;
    const subscription = new FakeSubscription(session, sink, from, request.deltas);
    session.subscriptions.add(subscription);
    const snapshot = {
      session: session.resource,
      seq: head,
      messages: session.messages,
      queue: [],
      pending: [],
      tools: [],
      usage: NO_USAGE,
    };
    return {
      result: isSnapshot
        ? { mode: 'snapshot', epoch: EPOCH, head_seq: head, snapshot }
        : { mode: 'replay', epoch: EPOCH, head_seq: head },
      start: () => {
        subscription.started = true;
        subscription.pull();
      },
      detach: () => {
        subscription.ended = true;
        session.subscriptions.delete(subscription);
      },
    };
  }

  connectionClosed(connectionId: string): void {
    this.closedConnections.push(connectionId);
  }

  async getSession(caller: Caller, sessionId: string): Promise<Session> {
    return this.find(caller, sessionId).resource;
  }

  async listSessions(caller: Caller, { limit, page }: { limit: number; page?: string }) {
    const mine = [...this.sessions.values()].filter((s) => s.owner === caller.principal.user_id);
    const from = page === undefined ? 0 : Number(page);
    const data = mine.slice(from, from + limit).map((s) => s.resource);
    return { data, nextPage: from + limit < mine.length ? String(from + limit) : undefined };
  }

  async deleteSession(caller: Caller, sessionId: string): Promise<void> {
    this.sessions.delete(this.find(caller, sessionId).id);
  }

  async listEvents(caller: Caller, sessionId: string, { afterSeq, limit, order, types }: LogQuery) {
    const all = this.find(caller, sessionId).records.flatMap((r): StoredEvent[] =>
      r.kind === 'event' ? [{ seq: r.seq, type: r.type, turnId: r.turnId, json: r.json }] : [],
    );
    const wanted = all.filter((e) => types === undefined || types.includes(e.type));
    const later =
      order === 'desc'
        ? wanted.filter((e) => afterSeq === 0 || e.seq < afterSeq).reverse()
        : wanted.filter((e) => e.seq > afterSeq);
    return { events: later.slice(0, limit), hasMore: later.length > limit };
  }

  async listMessages(caller: Caller, sessionId: string): Promise<readonly Message[]> {
    return this.find(caller, sessionId).messages;
  }

  listTools(): readonly ToolDefinition[] {
    return [
      {
        name: 'search',
        description: 'Searches',
        input_schema: { type: 'object' },
        label: 'Searching…',
        idempotent: true,
      },
    ];
  }

  checkTool(): void {}

  /** How a direct call is answered; a test replaces it. */
  answerTool: (input: object, options: ToolCallOptions) => Promise<ToolCallResult> = async () => ({
    content: [],
    is_error: false,
    outcome: 'ok',
    duration_ms: 1,
  });

  callTool(_caller: Caller, _name: string, input: object, options: ToolCallOptions): Promise<ToolCallResult> {
    return this.answerTool(input, options);
  }

  readonly auditQueries: object[] = [];

  async listAudit(_caller: Caller, query: Omit<AuditQuery, 'orgId'>): Promise<AuditPage> {
    this.auditQueries.push(query);
    return { records: [], nextPage: 'next' };
  }

  async recordFeedback(_caller: Caller, feedback: Feedback): Promise<void> {
    this.feedback.push(feedback);
  }
}
