/** What operators watch. No label may grow with users: of models, server tools and reasons there are few. */
import type { AuditOutcome, ErrorCode, StopReason, Usage } from '../../protocol/index.js';
import type { LogUnavailable } from './event-log.js';

/** Read when somebody asks, not kept up to date. */
export type Gauge =
  | 'turns_running'
  | 'turns_waiting'
  | 'turn_capacity'
  | 'sessions_open'
  | 'sessions_followed'
  | 'sockets_open'
  | 'event_streams_open'
  /** By state: `live`, `behind`. */
  | 'subscriptions'
  | 'subscription_lag_events'
  | 'budget_holds_open'
  | 'log_oldest_append_seconds'
  | 'log_waiting_bytes'
  /** By store. */
  | 'store_up';

/** Only grows while the process lives; read when somebody asks. */
export type Total =
  /** By kind: `event`, `delta`. */
  'log_records' | 'delivered_records' | 'sent_bytes' | 'received_bytes';

/** A value, or one for each value of the label. */
export type Reading = number | Readonly<Record<string, number>>;

export type ToolOutcome = Exclude<AuditOutcome, 'started' | 'allowed' | 'applied'>;

/** A tool of the configuration, whose names are few, or one of a client, whose names are anybody's. */
export type MeasuredTool = { readonly kind: 'server'; readonly name: string } | { readonly kind: 'client' };

/** `refused`: another node has it. */
export type LeaseChange = 'claimed' | 'refused' | 'failed' | 'released' | 'lost';

/** `moved`: the session is no longer that node's. */
export type AskOutcome = 'answered' | 'moved' | 'unavailable';

export interface Metrics {
  gauge(name: Gauge, read: () => Reading | Promise<Reading>): void;
  total(name: Total, read: () => Reading): void;
  turnEnded(stopReason: StopReason, durationMs: number): void;
  /** A turn goes on here that another actor had begun. */
  turnTakenUp(): void;
  /** A gate said no: to a command, to a queued turn when its time came, or to a tool call. */
  denied(reason: ErrorCode): void;
  /** A model request was settled. */
  spent(model: string, usage: Usage, costNanoUsd: number): void;
  /** From a model request to the first content of its answer. */
  firstContent(model: string, ms: number): void;
  /** A model request is over; `attempt` is 1 for the first of its step. */
  modelEnded(model: string, attempt: number, result: 'complete' | 'aborted' | ErrorCode, ms: number): void;
  /** A call of a tool is over, as the audit has it. */
  toolEnded(tool: MeasuredTool, outcome: ToolOutcome): void;
  /** A server tool ran for so long. */
  toolRan(name: string, ms: number): void;
  /** Somebody's cancel was answered: the request at the provider is closed (CAN-1). */
  cancelled(ms: number): void;
  /** An append is in the log. Of those with deltas alone one at a time is measured. */
  appended(contents: 'events' | 'deltas', ms: number): void;
  appendFailed(reason: LogUnavailable['reason']): void;
  leaseChanged(change: LeaseChange): void;
  /** A log's tail was not proven, so that its clients begin anew (LOG-7). */
  epochBegan(): void;
  /** Another node was asked. */
  asked(outcome: AskOutcome, ms: number): void;
}
