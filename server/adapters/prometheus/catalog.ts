/** Every metric of Midstream: its name without the prefix, its kind, what it says, and its labels. */

export interface MetricSpec {
  readonly kind: 'gauge' | 'counter' | 'histogram';
  readonly help: string;
  readonly labels?: readonly string[];
  /** Upper bounds of a histogram, in its unit. */
  readonly buckets?: readonly number[];
}

/** Of what a person waits for. */
const WAITS_S = [0.05, 0.1, 0.2, 0.4, 0.8, 1.5, 3, 6, 12, 30, 60, 120, 300];
/** Of what machines do for each other. */
const STEPS_S = [0.0005, 0.001, 0.002, 0.005, 0.01, 0.02, 0.05, 0.1, 0.25, 0.5, 1, 2.5, 5, 10];

export const PREFIX = 'midstream_';

export const CATALOG = {
  turns_running: {
    kind: 'gauge',
    help: 'Turns that run on this node; those that wait for a client or an approver aside.',
  },
  turns_waiting: { kind: 'gauge', help: 'Sessions whose next turn waits for a place on this node.' },
  turn_capacity: { kind: 'gauge', help: 'Turns that may run on this node at a time.' },
  turns_ended_total: { kind: 'counter', help: 'Turns that ended, by why.', labels: ['stop_reason'] },
  turn_seconds: {
    kind: 'histogram',
    help: 'From the start of a turn to its end, waiting for clients and approvers included.',
    buckets: [0.5, 1, 2, 5, 10, 20, 40, 80, 160, 320, 640, 1_800],
  },
  turns_taken_up_total: {
    kind: 'counter',
    help: 'Turns that went on here after the actor that ran them was gone: a crash, a lost lease, a node that went down.',
  },
  cancel_seconds: {
    kind: 'histogram',
    help: 'From a cancel to its answer, by when the request at the provider is closed.',
    buckets: STEPS_S,
  },
  denials_total: { kind: 'counter', help: 'What a gate refused, by the code of its error.', labels: ['reason'] },
  model_requests_total: {
    kind: 'counter',
    help: 'Requests to the model that are over, by how: `complete`, `aborted`, or the code of the error.',
    labels: ['model', 'result'],
  },
  model_retries_total: {
    kind: 'counter',
    help: 'Of these, those that repeated a request which had failed.',
    labels: ['model'],
  },
  first_content_seconds: {
    kind: 'histogram',
    help: 'From a model request to the first content of its answer.',
    labels: ['model'],
    buckets: WAITS_S,
  },
  model_request_seconds: {
    kind: 'histogram',
    help: 'From a model request to its end, however it ended: what a step takes without its tools.',
    labels: ['model'],
    buckets: WAITS_S,
  },
  tokens_total: { kind: 'counter', help: 'Tokens of settled model requests.', labels: ['model', 'kind'] },
  cost_usd_total: { kind: 'counter', help: 'Cost of settled model requests in US dollars.', labels: ['model'] },
  budget_holds_open: { kind: 'gauge', help: 'Holds of model requests that run.' },
  tool_calls_total: {
    kind: 'counter',
    help: 'Tool calls that are over, by outcome; those of clients’ tools have no name here.',
    labels: ['kind', 'tool', 'outcome'],
  },
  tool_seconds: { kind: 'histogram', help: 'How long server tools ran.', labels: ['tool'], buckets: WAITS_S },
  sessions_open: { kind: 'gauge', help: 'Sessions in the memory of this node, which writes their logs.' },
  sessions_followed: { kind: 'gauge', help: 'Sessions of other nodes whose logs this node follows.' },
  sockets_open: { kind: 'gauge', help: 'Open WebSockets.' },
  event_streams_open: { kind: 'gauge', help: 'Open streams of Server-Sent Events.' },
  subscriptions: {
    kind: 'gauge',
    help: 'Sessions that clients watch here, once for each client; `behind` are those with more than 64 records to take.',
    labels: ['state'],
  },
  subscription_lag_events: {
    kind: 'gauge',
    help: 'How many records the subscription has to take that is most behind.',
  },
  delivered_records_total: {
    kind: 'counter',
    help: 'Records of logs that went out to clients, once for each; deltas that were merged are one.',
    labels: ['kind'],
  },
  sent_bytes_total: { kind: 'counter', help: 'Bytes written to all sockets, of every protocol.' },
  received_bytes_total: { kind: 'counter', help: 'Bytes read from all sockets, of every protocol.' },
  log_records_total: { kind: 'counter', help: 'Records that this node gave to the log.', labels: ['kind'] },
  log_append_seconds: {
    kind: 'histogram',
    help: 'From an append to when it is in the log; of those with deltas alone one at a time is measured.',
    labels: ['contents'],
    buckets: STEPS_S,
  },
  log_append_failures_total: {
    kind: 'counter',
    help: 'Appends that the log refused: `lease_lost`, `store_failed`, `closed`.',
    labels: ['reason'],
  },
  log_oldest_append_seconds: {
    kind: 'gauge',
    help: 'For how long the oldest append waits that is not in the log yet.',
  },
  log_waiting_bytes: { kind: 'gauge', help: 'What waits for Redis, in bytes; with the embedded store 0.' },
  log_epochs_total: {
    kind: 'counter',
    help: 'Logs that began a new epoch, because the store can’t prove that their tail is whole; of the embedded store all at once.',
  },
  lease_changes_total: {
    kind: 'counter',
    help: 'Leases of sessions: `claimed`, `refused` (another node has it), `failed`, `released`, `lost`.',
    labels: ['change'],
  },
  node_asks_total: {
    kind: 'counter',
    help: 'What other nodes were asked: `answered`, `moved` (the session was no longer theirs), `unavailable`.',
    labels: ['outcome'],
  },
  node_ask_seconds: { kind: 'histogram', help: 'From a question to another node to its answer.', buckets: STEPS_S },
  store_up: { kind: 'gauge', help: 'Whether a store takes writes: 1 or 0.', labels: ['store'] },
} as const satisfies Record<string, MetricSpec>;

export type MetricName = keyof typeof CATALOG;
