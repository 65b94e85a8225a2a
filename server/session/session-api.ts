/**
 * The two doors of the session room: commands go in by `dispatch`, events come out by `attach`. Transports know these
 * types and nothing behind them; a transport that asks for a turn's state is a second server.
 */
import type {
  AttachResult,
  CloseCode,
  CommandResult,
  ControlFrame,
  Feedback,
  MemberUpdate,
  Message,
  PresenceUpdate,
  Principal,
  Session,
  SessionCreate,
  ToolCallResult,
  ToolsRegister,
  ToolsUnregister,
  TurnCommand,
  Usage,
} from '../../protocol/index.js';
import type { BudgetWarning } from '../core/budget-math.js';
import type { LogRecord } from '../core/log-record.js';
import type { AuditPage, AuditQuery } from '../ports/audit-log.js';
import type { LogQuery, StoredEvent } from '../ports/event-log.js';
import type { SpendGroup } from '../ports/ledger.js';
import type { RateVerdict } from '../ports/rate-limiter.js';
import type { Identity } from '../ports/token-verifier.js';
import type { ToolDefinition } from '../ports/tool-runner.js';

export interface Caller {
  readonly principal: Principal;
  /** The WebSocket connection it came by; client tools are offered to it. */
  readonly connectionId?: string;
  readonly requestId: string;
  /** Told what is left of `requests_per_minute`, where that is limited and the request counts or is refused by it. */
  readonly onCounted?: (verdict: RateVerdict) => void;
}

export type Command = TurnCommand | MemberUpdate | SessionCreate | ToolsRegister | ToolsUnregister | PresenceUpdate;

export interface Accepted {
  readonly applied_at_seq?: number;
  readonly duplicate?: boolean;
  readonly result: CommandResult;
}

/** One client's end of a subscription. All calls are synchronous; none may throw. */
export interface FrameSink {
  /** Hands over one record. `prevSeq` is what `toFrame` needs: the seq delivered before it here. */
  write(record: LogRecord, prevSeq: number): void;
  /**
   * Ends a pull: what was written goes out, as one write. Returns whether the socket takes more now; where it doesn't,
   * `onDrain` is called once it does.
   */
  flush(onDrain: () => void): boolean;
  /** Bytes written and not yet taken by the socket: how a slow client is told from one that took nothing. */
  readonly backlogBytes: number;
  /** Sends an unlogged frame that concerns this subscription (`presence.changed`, `connection.reset` …). */
  control(frame: ControlFrame): void;
  /** The subscription is over and the connection should be closed: slow consumer, or the server failed. */
  close(code: CloseCode, reason: string): void;
}

export interface AttachRequest {
  readonly sessionId: string;
  /** Later events only. `'head'`: from now on, without a snapshot. Undefined: a snapshot, and what follows. */
  readonly afterSeq: number | 'head' | undefined;
  /** The epoch of `afterSeq`; another than the log's forces a snapshot (LOG-4). */
  readonly epoch: string | undefined;
  /** Whether `event_start` and `event_delta` are wanted. */
  readonly deltas: boolean;
}

export interface Attachment {
  readonly result: AttachResult;
  /** Begins delivery; call it after the reply was sent, so that the reply precedes the first event. */
  start(): void;
  detach(): void;
}

export interface Echoes {
  readonly accepted: readonly Accepted[];
  /** The logged echo of each command, as JSON. */
  readonly echoes: readonly string[];
}

export interface EventPage {
  readonly events: readonly StoredEvent[];
  readonly hasMore: boolean;
}

export interface ToolCallOptions {
  /** Under the same key the tool runs at most once in 24 h (CMD-2). */
  readonly idempotencyKey?: string;
  /** The client is gone. Where others wait for the same call, it goes on. */
  readonly signal: AbortSignal;
}

/**
 * Every method rejects with `MidstreamError`. For who is no member of a session it is `session_not_found` (AUTH-3); what
 * a member's role doesn't reach is `forbidden`.
 */
export interface SessionApi {
  /** Carries out one command, once per id (CMD-2). Resolves when it is in the log and took effect (CMD-3, CAN-2). */
  dispatch(caller: Caller, command: Command): Promise<Accepted>;
  /** All or none; a refusal names its place in `details.index`. */
  dispatchBatch(caller: Caller, sessionId: string, commands: readonly TurnCommand[]): Promise<Echoes>;
  attach(caller: Caller, request: AttachRequest, sink: FrameSink): Promise<Attachment>;
  /** The connection is gone: its tools are unregistered, its offered calls go to others after a grace (TOOL-5). */
  connectionClosed(connectionId: string): void;

  getSession(caller: Caller, sessionId: string): Promise<Session>;
  /** Of which the caller is a member. */
  listSessions(
    caller: Caller,
    query: { limit: number; page?: string },
  ): Promise<{ data: readonly Session[]; nextPage: string | undefined }>;
  /** Cancels the running turn, then removes the session for good. */
  deleteSession(caller: Caller, sessionId: string): Promise<void>;
  listEvents(caller: Caller, sessionId: string, query: LogQuery): Promise<EventPage>;
  /** The history as Messages-API messages. */
  listMessages(caller: Caller, sessionId: string): Promise<readonly Message[]>;
  /** The server tools that the caller may use. */
  listTools(caller: Caller): readonly ToolDefinition[];
  /**
   * Whether a tool may be called without the model, by now: throws `not_found`, `forbidden_tool` with the rule in
   * `details`, or `invalid_request` where the input doesn't fit. A denial is in the audit.
   */
  checkTool(caller: Caller, name: string, input: Readonly<Record<string, unknown>>): void;
  /** Calls a server tool without the model, through the same gate (TOOL-1). */
  callTool(
    caller: Caller,
    name: string,
    input: Readonly<Record<string, unknown>>,
    options: ToolCallOptions,
  ): Promise<ToolCallResult>;
  /** The audit of the caller's org, for roles that may inspect; `forbidden` for others. */
  listAudit(caller: Caller, query: Omit<AuditQuery, 'orgId'>): Promise<AuditPage>;
  recordFeedback(caller: Caller, feedback: Feedback): Promise<void>;

  /** Sessions with a live actor. */
  readonly activeSessions: number;
  /** Set once a shutdown has begun: turns are no longer started. */
  readonly draining: boolean;
}

export interface TicketApi {
  /** A ticket for who asks, which opens one socket or event stream; it ends with their credential at the latest. */
  issue(identity: Identity): Promise<{ readonly ticket: string; readonly expiresAt: number }>;
  /** Whose it is, once. Rejects with `unauthenticated`, `token_expired` or `store_unavailable`. */
  redeem(ticket: string): Promise<Identity>;
}

export interface RevocationRequest {
  /** All credentials of a user, or the one credential of this name. */
  readonly kind: 'user' | 'key';
  readonly id: string;
  readonly reason?: string | undefined;
}

export interface RevocationApi {
  /**
   * What was issued until now is dead, in the caller's organisation; durable when it resolves, with that time. Whether
   * there is such a user or key, it doesn't tell. `forbidden` for roles without `inspect`.
   */
  revoke(caller: Caller, request: RevocationRequest): Promise<{ readonly at: number }>;
}

export interface SpendEntry extends Usage {
  readonly day: string;
  readonly session_id?: string;
  readonly model?: string;
  readonly tag?: string;
  readonly user_id?: string;
  readonly requests: number;
  readonly cost_usd: number;
}

/** `GET /v1/usage`. */
export interface UsageReport {
  /** Of the windows that limit the caller. */
  readonly windows: readonly BudgetWarning[];
  readonly spend: readonly SpendEntry[];
}

export interface UsageApi {
  /** Grouped by user it tells of the whole organisation, to roles with `inspect`; to others it is `forbidden`. */
  report(
    caller: Caller,
    query: { readonly groupBy: readonly SpendGroup[]; readonly days: number },
  ): Promise<UsageReport>;
}

export { toFrame } from '../core/log-record.js';
export type { LogRecord };
