/** The one-shot chat as a projection of the log: tables of records in, events out. */
import { type ChatEvent, chatEventSchemas, type LoggedEvent, NO_USAGE, type StopReason } from '../../protocol/index.js';
import { type LogRecord, toDeltaRecord, toEventRecord } from '../../server/core/log-record.js';
import { ChatProjection, toStatus, toTurnError } from '../../server/transports/http/chat-projection.js';

let seq = 0;
const event = (type: string, fields: object = {}, turnId = 'turn_1'): LogRecord => {
  seq += 1;
  const base = { type, id: `sevt_${seq}`, session_id: 's', seq, processed_at: '2026-01-01T00:00:00Z', turn_id: turnId };
  return toEventRecord({ ...base, ...fields } as unknown as LoggedEvent);
};
const delta = (text: string, eventId = 'm1', channel: 'text' | 'thinking' | 'input' = 'text', turnId = 'turn_1') => {
  seq += 1;
  return toDeltaRecord(seq, turnId, eventId, channel, 0, text);
};
const message = (text: string, id = 'm1') =>
  event('agent.message', { id, content: [{ type: 'text', text }], status: 'complete' });
const ended = (fields: object = {}) =>
  event('turn.ended', {
    stop_reason: 'end_turn',
    partial: false,
    usage: NO_USAGE,
    estimated: false,
    cost_usd: 0.5,
    duration_ms: 1,
    ...fields,
  });

function run(records: readonly LogRecord[]): { projection: ChatProjection; events: ChatEvent[] } {
  const projection = new ChatProjection('sesn_1', 'turn_1');
  const events = records.flatMap((record) => projection.project(record));
  for (const { event: name, data } of events) chatEventSchemas[name].parse(data);
  return { projection, events };
}
const done = {
  status: 'completed',
  stop_reason: 'end_turn',
  usage: NO_USAGE,
  cost_usd: 0.5,
  conversation_id: 'sesn_1',
};

it('a plain turn: start, tokens, done', () => {
  const { events, projection } = run([
    event('user.message', {}),
    event('turn.started'),
    event('event_start', { event: { type: 'agent.message', id: 'm1' } }),
    delta('Hel'),
    delta('lo'),
    message('Hello'),
    event('span.model_request_end', { step: 1, model_usage: NO_USAGE }),
    ended(),
  ]);
  expect(events).toEqual([
    { event: 'start', data: { conversation_id: 'sesn_1', turn_id: 'turn_1' } },
    { event: 'token', data: { text: 'Hel' } },
    { event: 'token', data: { text: 'lo' } },
    { event: 'step_complete', data: { step: 1, usage: NO_USAGE } },
    { event: 'done', data: done },
  ]);
  expect(projection.text).toBe('Hello');
});

it('tools: call, start, result, with their names', () => {
  const { events } = run([
    event('agent.tool_use', { id: 'call', name: 'search', input: { q: 1 }, label: 'Searching…' }),
    event('tool.started', { tool_use_id: 'call', name: 'search', label: 'Searching…' }),
    event('agent.tool_result', { tool_use_id: 'call', content: [{ type: 'text', text: 'r' }], is_error: false }),
  ]);
  expect(events).toEqual([
    { event: 'tool_call', data: { id: 'call', name: 'search', input: { q: 1 }, label: 'Searching…' } },
    { event: 'tool_start', data: { id: 'call', name: 'search', label: 'Searching…' } },
    {
      event: 'tool_result',
      data: { id: 'call', name: 'search', content: [{ type: 'text', text: 'r' }], is_error: false },
    },
  ]);
});

it('shows nothing of another turn, of thinking, or of a tool’s input', () => {
  const other = [
    event('turn.started', {}, 'turn_2'),
    delta('x', 'm9', 'text', 'turn_2'),
    event('session.status_idle', {}, undefined),
  ];
  expect(run([...other, delta('hm', 'th', 'thinking'), delta('{', 'in', 'input')]).events).toEqual([]);
});

it('nothing follows done', () => {
  const { events } = run([ended(), delta('late'), ended()]);
  expect(events.map((e) => e.event)).toEqual(['done']);
});

it('a message whose deltas were trimmed comes as one token; one whose deltas came in part gives the rest', () => {
  expect(run([message('Hello')]).events).toEqual([{ event: 'token', data: { text: 'Hello' } }]);
  expect(run([delta('Hel'), message('Hello')]).events.map((e) => (e.event === 'token' ? e.data.text : ''))).toEqual([
    'Hel',
    'lo',
  ]);
});

it('what a superseded step said is not part of the answer', () => {
  const { projection } = run([
    delta('draft', 'm1'),
    event('step.superseded', { discard_event_ids: ['m1'] }),
    delta('final', 'm2'),
  ]);
  expect(projection.text).toBe('final');
});

it('a turn cut short gives partial before done', () => {
  const { events } = run([delta('half'), ended({ stop_reason: 'cancelled', partial: true })]);
  expect(events.slice(1)).toEqual([
    { event: 'partial', data: { text: 'half', tool_results: [], truncated: true, reason: 'cancelled' } },
    { event: 'done', data: { ...done, status: 'cancelled', stop_reason: 'cancelled' } },
  ]);
});

it('a failed turn gives partial, error, done, in this order', () => {
  const error = {
    type: 'overloaded_error',
    code: 'upstream_overloaded',
    message: 'busy',
    retryable: true,
    retry_after_ms: 1_500,
  };
  const { events } = run([ended({ stop_reason: 'error', partial: true, error })]);
  expect(events).toEqual([
    { event: 'partial', data: { text: '', tool_results: [], truncated: true, reason: 'error' } },
    { event: 'error', data: { error: 'upstream_overloaded', message: 'busy', retry_after: 2 } },
    { event: 'done', data: { ...done, status: 'failed', stop_reason: 'error' } },
  ]);
});

it.each<[StopReason, string]>([
  ['end_turn', 'completed'],
  ['max_tokens', 'completed'],
  ['stop_sequence', 'completed'],
  ['refusal', 'completed'],
  ['max_steps', 'truncated'],
  ['deadline', 'truncated'],
  ['cancelled', 'cancelled'],
  ['interrupted_by_message', 'cancelled'],
  ['budget_exhausted', 'failed'],
  ['tool_timeout', 'failed'],
  ['context_window_exceeded', 'failed'],
  ['error', 'failed'],
  ['node_lost', 'failed'],
])('%s is %s', (stop_reason, status) => {
  expect(toStatus({ stop_reason })).toBe(status);
});

it('a failure without an error, or with an unknown code, still has a place in the table', () => {
  expect(toTurnError({ stop_reason: 'budget_exhausted' }).code).toBe('budget_exhausted');
  expect(toTurnError({ stop_reason: 'node_lost' }).code).toBe('internal');
  const error = { type: 'x', code: 'of_a_later_version', message: 'm', retryable: false };
  expect(toTurnError({ stop_reason: 'error', error }).code).toBe('internal');
});
