/** What comes after a step: tools, waiting, the next request, or the end. */
import type { Call } from './session-state.js';
import { offerAll, startPlanned } from './tool-plan.js';
import { type Transition, time } from './transition.js';
import { closeStep, endTurn } from './turn-end.js';
import { admit, nextKey } from './turn-start.js';

/** After any change to the calls of a complete step: start, wait, or go on. Does nothing while the model streams. */
export function advance(t: Transition): void {
  const phase = t.state.turn?.phase.name;
  if (phase !== 'executing_tools' && phase !== 'waiting') return;
  const isStartable = t.turn.calls.some((call) => call.state.name === 'planned');
  if (isStartable) resume(t);
  startPlanned(t);
  offerAll(t);
  const open = t.turn.calls.filter((call) => call.state.name !== 'resolved');
  if (open.length === 0) {
    resume(t);
    nextStep(t, 'with_steers');
  } else if (t.turn.phase.name !== 'waiting' && open.every(isAwaited)) {
    wait(t, open);
  }
}

/** The next model request, with the steers that came meanwhile; or the end, where the agent has had its steps. */
export function nextStep(t: Transition, steers: 'with_steers' | 'without_steers'): void {
  if (t.turn.step >= t.state.agent.max_steps) {
    endTurn(t, 'max_steps');
    return;
  }
  if (steers === 'with_steers') joinSteers(t);
  admit(t, nextKey(t));
}

/** Whether a steer can still join the turn: the agent has a step left for it. */
export const canJoinNow = (t: Transition): boolean =>
  upcomingStep(t) !== undefined || t.turn.step < t.state.agent.max_steps;

/** Leaves the step as it stands and goes on with what the user says now, behind the results of what was cut. */
export function steerNow(t: Transition): void {
  // Between requests the next one takes it along.
  if (upcomingStep(t) !== undefined) return joinSteers(t);
  closeStep(t, 'the user steered');
  resume(t);
  nextStep(t, 'with_steers');
}

/** The step of the request that is about to be made; undefined where one runs or ran. */
function upcomingStep(t: Transition): number | undefined {
  const { phase, step } = t.turn;
  if (phase.name === 'admitting') return phase.step;
  return phase.name === 'backing_off' ? step : undefined;
}

function joinSteers(t: Transition): void {
  const { turnId } = t.turn;
  const step = upcomingStep(t) ?? t.turn.step + 1;
  for (const steer of t.turn.steers) {
    const actor = { user_id: steer.from.user_id };
    t.emit({ type: 'steer.joined', turn_id: turnId, step, actor, steer_id: steer.steerId });
  }
}

/** Nothing runs here any more: the deadline's clock stops until a client or an approver answers (TURN-4). */
function wait(t: Transition, open: readonly Call[]): void {
  const pending = open.map((call) => ({
    kind: call.state.name === 'asking' ? ('confirmation' as const) : ('tool_result' as const),
    tool_use_id: call.id,
    expires_at: time(expiryOf(call) ?? t.ctx.now),
  }));
  t.emit({ type: 'turn.waiting', turn_id: t.turn.turnId, step: t.turn.step, pending });
  t.emit({
    type: 'session.status_idle',
    stop_reason: { type: 'requires_action', event_ids: open.map((call) => call.id) },
  });
}

function resume(t: Transition): void {
  const { phase, turnId, step } = t.turn;
  if (phase.name !== 'waiting') return;
  t.emit({ type: 'turn.resumed', turn_id: turnId, step, deadline_at: time(t.ctx.now + phase.remainingMs) });
  t.emit({ type: 'session.status_running' });
}

export const isAwaited = (call: Call): boolean =>
  call.state.name === 'asking' || call.state.name === 'unoffered' || call.state.name === 'offered';

/** When a call that waits for somebody is given up; undefined for others. */
export function expiryOf(call: Call): number | undefined {
  return 'expiresAt' in call.state ? call.state.expiresAt : undefined;
}
