/** What single events do to a transcript, where a whole conversation would hide it. */
import { emptyTranscript, fold, pendingApprovals, type Transcript } from '../../client-sdk/index.js';
import type { SessionEvent } from '../../protocol/events.js';

type Draft = { type: string } & Record<string, unknown>;
const AT = '2026-01-01T00:00:00.000Z';
const USAGE = { input_tokens: 1, output_tokens: 2, cache_creation_input_tokens: 0, cache_read_input_tokens: 0 };
const text = (words: string) => [{ type: 'text', text: words }];

const play = (...drafts: Draft[]): Transcript =>
  drafts.reduce<Transcript>((state, draft, at) => {
    const event = { id: `sevt_${at + 1}`, session_id: 's', seq: at + 1, processed_at: AT, ...draft };
    return fold(state, event as unknown as SessionEvent);
  }, emptyTranscript('s'));

const prompt = (turn_id: string, extra: object = {}): Draft => ({
  ...{ type: 'user.message', turn_id, message_id: `msg_${turn_id}`, command_id: turn_id, position: 0 },
  ...{ content: text(turn_id), ...extra },
});
const started = (turn_id: string): Draft => ({
  ...{ type: 'turn.started', turn_id, model: 'm', payer: { user_id: 'u', org_id: 'o' }, deadline_at: AT },
  ...{ tools: [], client_tools: [] },
});
const ended = (turn_id: string, extra: object = {}): Draft => ({
  ...{ type: 'turn.ended', turn_id, stop_reason: 'end_turn', partial: false, usage: USAGE, estimated: false },
  ...{ cost_usd: 0.5, duration_ms: 1, ...extra },
});
const step = { turn_id: 't1', step: 1, attempt: 1 };
const call = (id: string, extra: object = {}): Draft => ({
  ...{ type: 'agent.tool_use', id, ...step, name: 'look', label: 'Looking', input: { a: 1 } },
  ...{ evaluated_permission: 'allow', model_tool_use_id: `toolu_${id}`, ...extra },
});
const message = (id: string, index: number): Draft => ({
  ...{ type: 'agent.message', id, ...step, index, content: text(id), status: 'complete' },
});
const idsOf = ({ items }: Transcript): string[] => items.map(({ id }) => id);

it('sorts the blocks of a step by their index, however they were completed', () => {
  const state = play(
    prompt('t1'),
    started('t1'),
    call('third', { index: 2 }),
    message('first', 0),
    message('second', 1),
  );
  expect(idsOf(state)).toEqual(['msg_t1', 'first', 'second', 'third']);
});

it('keeps the steps of a turn apart, whatever their indexes', () => {
  const later = { ...message('later', 0), step: 2 };
  const state = play(prompt('t1'), started('t1'), message('first', 1), later);
  expect(idsOf(state)).toEqual(['msg_t1', 'first', 'later']);
});

it('[TOOL-3] shows a call that waits for an approver, and runs it with the edited input', () => {
  const asked = call('c', { evaluated_permission: 'ask', expires_at: AT });
  expect(pendingApprovals(play(prompt('t1'), started('t1'), asked))).toMatchObject([{ id: 'c', expiresAt: AT }]);
  const confirm = { type: 'user.tool_confirmation', tool_use_id: 'c', result: 'allow', updated_input: { a: 2 } };
  const state = play(prompt('t1'), started('t1'), asked, { ...confirm, command_id: 'x' });
  expect(pendingApprovals(state)).toEqual([]);
  expect(state.items.at(-1)).toMatchObject({ status: 'planned', input: { a: 2 } });
});

it('[TURN-2] puts an interrupting message ahead of the queue, and counts positions anew', () => {
  const queued = [prompt('t2', { position: 1 }), prompt('t3', { position: 2 })];
  const state = play(prompt('t1'), started('t1'), ...queued, prompt('t4', { position: 1, on_busy: 'interrupt' }));
  expect(state.queue.map(({ turnId, position }) => [turnId, position])).toEqual([
    ['t4', 1],
    ['t2', 2],
    ['t3', 3],
  ]);
});

it('[TURN-2] makes a steer that missed its turn a turn of its own, ahead of the queue', () => {
  const steer = { type: 'user.steer', turn_id: 't1', steer_id: 's1', command_id: 'x', content: text('steer') };
  const state = play(
    ...[
      prompt('t1'),
      started('t1'),
      prompt('t2', { position: 1 }),
      { ...steer, apply: 'next_step', outcome: 'pending' },
    ],
    ...[{ type: 'turn.queued', turn_id: 't9', steer_id: 's1', position: 0 }, ended('t1')],
  );
  expect(state.steers).toEqual([]);
  expect(state.queue).toMatchObject([
    { turnId: 't9', messageId: 's1', position: 0 },
    { turnId: 't2', position: 1 },
  ]);
});

it('leaves no trace of a message that was cancelled in the queue', () => {
  const cancelled = ended('t2', {
    stop_reason: 'cancelled',
    partial: true,
    cost_usd: 0,
    usage: { ...USAGE, input_tokens: 0, output_tokens: 0 },
  });
  const state = play(prompt('t1'), started('t1'), prompt('t2', { position: 1 }), cancelled);
  expect(idsOf(state)).toEqual(['msg_t1']);
  expect(state.queue).toEqual([]);
  expect(state.turn?.turnId).toBe('t1');
});

it('adds what turns cost, and shows the running one’s by itself', () => {
  const span = { type: 'span.model_request_end', ...step, model_request_start_id: 'x', is_error: false };
  const cost = { stop_reason: 'end_turn', model_usage: USAGE, estimated: false, cost_usd: 0.25 };
  const running = play(prompt('t1'), started('t1'), { ...span, ...cost });
  expect(running).toMatchObject({ costUsd: 0, turn: { costUsd: 0.25, usage: USAGE } });
  const over = play(prompt('t1'), started('t1'), { ...span, ...cost }, ended('t1'));
  expect(over).toMatchObject({ costUsd: 0.5, usage: USAGE, turn: undefined });
});

it('shows errors, budget warnings and the end of the session', () => {
  const retry_status = { type: 'exhausted' };
  const error = { type: 'session.error', error: { type: 'x', code: 'upstream_error', message: 'No.', retry_status } };
  const warning = {
    type: 'budget.warning',
    scope: 'user',
    window: 'day',
    unit: 'usd',
    limit: 1,
    used: 1,
    held: 0,
    resets_at: AT,
  };
  const state = play(error, warning, { type: 'session.deleted' });
  expect(state.items).toMatchObject([{ kind: 'error', code: 'upstream_error', message: 'No.' }]);
  expect(state).toMatchObject({ budgetWarning: { scope: 'user' }, deleted: true });
});

it('passes over events and deltas that it does not know', () => {
  const state = play(
    { type: 'agent.new_thing', turn_id: 't1' },
    { type: 'event_start', ...step, event: { type: 'agent.new_thing', id: 'n' } },
    { type: 'event_delta', turn_id: 't1', event_id: 'n', delta: { type: 'new_delta' } },
    { type: 'tool.progress', tool_use_id: 'unknown', percent: 1 },
  );
  expect(state).toEqual({ ...emptyTranscript('s'), seq: 4 });
});
