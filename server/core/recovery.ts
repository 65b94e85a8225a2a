/** Taking a session over after its node died: every turn goes on or ends, by the rules of NODE-2. */
import { BOUNDS, NO_USAGE, toErrorBody } from '../../protocol/index.js';
import type { Call } from './session-state.js';
import { advance, nextStep } from './step-flow.js';
import { withdrawOffers } from './tool-plan.js';
import { type Transition, time, toText } from './transition.js';
import { commitOpen, endRequest, endTurn, estimateUsage, logResult } from './turn-end.js';
import { admit, nextKey, retryKey, startNext } from './turn-start.js';

/** To be given once, to the state as the log folds, before any other input. */
export function recover(t: Transition, cause: 'handed_over' | 'lost'): void {
  const turn = t.state.turn;
  if (!turn) {
    startNext(t);
    return;
  }
  for (const call of turn.calls) if (call.state.name === 'offered') withdrawOffers(t, call.state.connectionId);
  // A turn that only waits lost nothing: it waits on (TOOL-7).
  if (turn.phase.name === 'waiting') {
    advance(t);
    return;
  }
  if (cause === 'lost' && turn.recoveries >= BOUNDS.maxRecoveries) {
    endTurn(t, 'node_lost', toErrorBody('internal', 'The server died several times during this turn.'));
    return;
  }
  takeOver(t, cause);
}

function takeOver(t: Transition, cause: 'handed_over' | 'lost'): void {
  const { turnId, step, deadlineAt, recoveries, phase } = t.turn;
  // The time in which nobody ran it doesn't count.
  const remainingMs = Math.max(1_000, deadlineAt - t.state.updatedAt);
  t.emit({
    type: 'turn.resumed',
    turn_id: turnId,
    ...(step > 0 && { step }),
    deadline_at: time(t.ctx.now + remainingMs),
    ...(cause === 'lost' && { recovery: recoveries + 1 }),
  });
  if (phase.name === 'streaming') return recoverStream(t);
  if (phase.name === 'executing_tools') return recoverTools(t);
  admit(t, isStepMade(t) || step === 0 ? nextKey(t) : retryKey(t));
}

/** Whether the last step is complete, so that the next request is another step. */
function isStepMade(t: Transition): boolean {
  const item = t.turn.items.findLast((i) => i.kind === 'step');
  return item?.kind === 'step' && item.blocks.length > 0;
}

function recoverStream(t: Transition): void {
  const begun = t.turn.calls.some((call) => call.begun || call.state.name === 'asking');
  if (begun) {
    commitOpen(t, 'incomplete');
    endRequest(t, { stopReason: null, isError: false, usage: estimateUsage(t), estimated: true });
    return recoverTools(t);
  }
  const discarded = t.turn.items.flatMap((item) =>
    item.kind === 'step' && item.step === t.turn.step ? item.blocks.map((block) => block.id) : [],
  );
  const partial = t.turn.open.map((block) => block.id);
  const { turnId, step, attempt } = t.turn;
  const isShown = discarded.length + partial.length > 0;
  const usage = isShown ? estimateUsage(t) : NO_USAGE;
  endRequest(t, { stopReason: null, isError: true, usage, estimated: isShown });
  t.emit({ type: 'step.superseded', turn_id: turnId, step, attempt, discard_event_ids: [...discarded, ...partial] });
  admit(t, retryKey(t));
}

function recoverTools(t: Transition): void {
  for (const call of t.turn.calls) if (call.state.name === 'started') recoverStarted(t, call);
  if (t.turn.calls.length === 0) nextStep(t, 'with_steers');
  else advance(t);
}

/** A server tool that may have run is run again only where that does no harm. */
function recoverStarted(t: Transition, call: Call): void {
  if (t.ctx.serverTools.get(call.name)?.idempotent) {
    t.patchTurn({ calls: t.turn.calls.map((c) => (c.id === call.id ? { ...c, state: { name: 'planned' } } : c)) });
    return;
  }
  const text = 'The server stopped while this call ran. Whether it took effect is not known.';
  logResult(t, call, { content: toText(text), is_error: true, outcome: 'unknown' });
}
