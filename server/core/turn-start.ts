/** The beginning of turns and of model requests. */

import type { QueuedTurn } from './session-state.js';
import { boundInputTokens } from './token-estimate.js';
import { toPlannedRequest, toToolSet } from './tool-offer.js';
import { type RequestKey, type Transition, time } from './transition.js';

/** The hold of a turn's first request: there already, in the prices of a moment, or still to be asked for. */
export type FirstHold = { readonly pricedAt: number } | 'needed';

/**
 * Takes the next turn off the queue, if there is one, none runs and the node has a place for it. Its first request waits
 * for a hold unless it has one.
 */
export function startNext(t: Transition, hold: FirstHold = 'needed', place: 'inherited' | 'needed' = 'needed'): void {
  const next = t.state.queue[0];
  if (t.state.turn || !next || t.ctx.draining || t.state.deleted) return;
  if (place === 'needed' && !t.ctx.hasPlace(t.state.sessionId)) return;
  startTurn(t, next);
  if (hold === 'needed') admit(t, nextKey(t));
  else beginRequest(t, nextKey(t), hold.pricedAt);
}

function startTurn(t: Transition, next: QueuedTurn): void {
  const { serverTools, clientTools } = toToolSet(t.state, next.from, t.ctx);
  t.emit({
    type: 'turn.started',
    turn_id: next.turnId,
    actor: { user_id: next.from.user_id },
    model: next.request.model,
    payer: next.from,
    deadline_at: time(t.ctx.now + next.request.deadlineMs),
    tools: [...serverTools],
    client_tools: [...clientTools],
  });
  if (!t.state.running) t.emit({ type: 'session.status_running' });
}

/** Asks for the budget's hold; the request begins when it is granted (BUD-1). */
export function admit(t: Transition, key: RequestKey): void {
  t.patchTurn({ phase: { name: 'admitting', step: key.step, items: t.turn.items.length } });
  const { state, turn, ctx } = t;
  const { payer, request } = turn;
  t.effect({
    type: 'reserve',
    key,
    payer,
    model: request.model,
    input: boundInputTokens(state, turn, ctx.serverTools),
    outputTokens: request.maxTokens,
    tags: request.tags,
    toRequest: () => toPlannedRequest(state, turn, key, ctx),
  });
}

/** It is settled in the prices that it was held in, also where they changed in between. */
export function beginRequest(t: Transition, key: RequestKey, pricedAt: number): void {
  // The request is built before its step is in the history.
  const request = toPlannedRequest(t.state, t.turn, key, t.ctx);
  const { turnId, step, attempt } = key;
  const { model } = t.turn.request;
  const isSamePrice = t.ctx.factsOf(model, pricedAt).price === t.ctx.factsOf(model, t.ctx.now).price;
  t.emit({
    type: 'span.model_request_start',
    turn_id: turnId,
    step,
    attempt,
    model,
    ...(!isSamePrice && { priced_at: time(pricedAt) }),
  });
  t.effect({ type: 'request_model', request });
}

/** The request after the last one: the next step, first attempt. */
export const nextKey = (t: Transition): RequestKey => ({ turnId: t.turn.turnId, step: t.turn.step + 1, attempt: 1 });
/** The same step once more. */
export const retryKey = (t: Transition): RequestKey => ({
  turnId: t.turn.turnId,
  step: t.turn.step,
  attempt: t.turn.attempt + 1,
});
