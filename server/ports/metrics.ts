/** What operators watch. No label may grow with users: of models, tools and reasons there are few. */
import type { ErrorCode, StopReason, Usage } from '../../protocol/index.js';

/** Read when somebody asks, not kept up to date. */
export type Gauge =
  | 'turns_running'
  | 'turns_waiting'
  | 'turn_capacity'
  | 'sessions_open'
  | 'sockets_open'
  | 'budget_holds_open';

export interface Metrics {
  gauge(name: Gauge, read: () => number): void;
  turnEnded(stopReason: StopReason): void;
  /** A gate said no: to a command, to a queued turn when its time came, or to a tool call. */
  denied(reason: ErrorCode): void;
  /** A model request was settled. */
  spent(model: string, usage: Usage, costNanoUsd: number): void;
  /** From a model request to the first content of its answer. */
  firstContent(model: string, ms: number): void;
}
