/** What time alone does: deadlines, expiries, backoffs, graces. One timer a session, set to the earliest of them. */
import type { SessionState } from './session-state.js';
import { advance, expiryOf } from './step-flow.js';
import { deny, offerAll } from './tool-plan.js';
import { type Transition, toText } from './transition.js';
import { endTurn, logResult } from './turn-end.js';
import { admit, retryKey } from './turn-start.js';

/** When `onTick` has something to do, milliseconds since 1970; undefined where only a command or a result can change anything. */
export function nextWakeAt(state: SessionState): number | undefined {
  const turn = state.turn;
  if (!turn) return undefined;
  const times: number[] = [];
  if (turn.phase.name !== 'waiting') times.push(turn.deadlineAt);
  if (turn.phase.name === 'backing_off') times.push(turn.phase.until);
  for (const call of turn.calls) {
    const expiry = expiryOf(call);
    if (expiry !== undefined) times.push(expiry);
    if (call.state.name === 'unoffered' && isOfferable(state, call.name)) times.push(call.state.offerAt);
  }
  return times.length === 0 ? undefined : Math.min(...times);
}

const isOfferable = (state: SessionState, tool: string): boolean =>
  state.registrations.some((r) => r.tools.some((registered) => registered.name === tool));

export function onTick(t: Transition): void {
  const turn = t.state.turn;
  if (!turn) return;
  if (turn.phase.name !== 'waiting' && turn.deadlineAt <= t.ctx.now) {
    endTurn(t, 'deadline');
    return;
  }
  expireCalls(t);
  offerAll(t);
  advance(t);
  const now = t.state.turn;
  if (now?.turnId === turn.turnId && now.phase.name === 'backing_off' && now.phase.until <= t.ctx.now)
    admit(t, retryKey(t));
}

function expireCalls(t: Transition): void {
  for (const call of t.turn.calls) {
    const expiry = expiryOf(call);
    if (expiry === undefined || expiry > t.ctx.now) continue;
    if (call.state.name === 'asking')
      deny(t, call, 'nobody approved in time', 'Denied: nobody approved the call in time.');
    else {
      const text = call.begun ? 'No result came in time.' : 'No client that has this tool was there to run it.';
      logResult(t, call, { content: toText(text), is_error: true, outcome: 'timeout' });
    }
  }
}
