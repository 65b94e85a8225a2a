/** The end of steps and turns, in time or early: what is complete stays, what is open is closed (TURN-3, CAN-3, CAN-5). */
import { type ErrorBody, IDLE_REASON, isPartial, NO_USAGE, type StopReason, type Usage } from '../../protocol/index.js';
import { toCostNanoUsd } from './prices.js';
import { type Call, type OpenBlock, toUsd } from './session-state.js';
import { estimateInputTokens, estimateOutputTokens } from './token-estimate.js';
import { type Transition, toText } from './transition.js';
import { startNext } from './turn-start.js';

/**
 * Ends the running turn: closes what is open, then `turn.ended`, then the next turn or idle. Its place on the node goes
 * to whoever waits for one, unless the next turn inherits it.
 */
export function endTurn(
  t: Transition,
  stopReason: StopReason,
  error?: ErrorBody,
  place: 'inherited' | 'needed' = 'needed',
): void {
  closeStep(t, stopReason === 'cancelled' ? 'the turn was cancelled' : `the turn ended (${stopReason})`);
  requeueSteers(t);
  const { turnId, usage, estimated, costNanoUsd, startedAt } = t.turn;
  t.emit({
    type: 'turn.ended',
    turn_id: turnId,
    stop_reason: stopReason,
    partial: isPartial(stopReason),
    usage,
    estimated,
    cost_usd: toUsd(costNanoUsd),
    duration_ms: Math.max(0, t.ctx.now - startedAt),
    ...(error && { error }),
  });
  goOn(t, stopReason, place);
}

/** Ends a turn that never started. */
export function endQueued(t: Transition, turnId: string, stopReason: StopReason, error?: ErrorBody): void {
  t.emit({
    type: 'turn.ended',
    turn_id: turnId,
    stop_reason: stopReason,
    partial: isPartial(stopReason),
    usage: NO_USAGE,
    estimated: false,
    cost_usd: 0,
    duration_ms: 0,
    ...(error && { error }),
  });
}

function goOn(t: Transition, stopReason: StopReason, place: 'inherited' | 'needed'): void {
  startNext(t, 'needed', place);
  const isShownBusy = t.state.running || t.state.idleReason === 'requires_action';
  if (!t.state.turn && isShownBusy)
    t.emit({ type: 'session.status_idle', stop_reason: { type: IDLE_REASON[stopReason] } });
}

/** Steers that missed their turn become turns of their own, ahead of the queue but behind an interrupting message. */
function requeueSteers(t: Transition): void {
  const ahead = t.state.queue.filter((q) => q.isAhead).length;
  t.turn.steers.forEach((steer, at) => {
    t.emit({
      type: 'turn.queued',
      turn_id: t.ctx.newId('turn'),
      actor: { user_id: steer.from.user_id },
      position: ahead + at,
      steer_id: steer.steerId,
    });
  });
}

/** Closes the step that runs, keeping what is complete. The request, if one runs, is aborted. */
export function closeStep(t: Transition, why: string): void {
  if (t.turn.phase.name === 'streaming') {
    commitOpen(t, 'incomplete');
    endRequest(t, { stopReason: null, isError: false, usage: estimateUsage(t), estimated: true });
    t.effect({ type: 'abort_model', turnId: t.turn.turnId });
  }
  for (const call of t.turn.calls) if (call.state.name !== 'resolved') cancelCall(t, call, why);
}

/** Logs the message that is still open; unfinished thinking and calls are dropped. */
export function commitOpen(t: Transition, status: 'complete' | 'incomplete'): void {
  for (const block of t.turn.open) if (block.kind === 'message') commitMessage(t, block, status);
  t.patchTurn({ open: [] });
}

export function commitMessage(
  t: Transition,
  block: Extract<OpenBlock, { kind: 'message' }>,
  status: 'complete' | 'incomplete',
): void {
  const content = block.content.filter((b) => b.type !== 'text' || b['text'] !== '');
  const { turnId, step, attempt } = t.turn;
  if (block.shown || content.length > 0)
    t.emit({
      type: 'agent.message',
      id: block.id,
      turn_id: turnId,
      step,
      attempt,
      index: block.index,
      content,
      status,
    });
  t.patchTurn({ open: t.turn.open.filter((o) => o.id !== block.id) });
}

export interface RequestOutcome {
  readonly stopReason: string | null;
  readonly isError: boolean;
  readonly usage: Usage;
  readonly estimated: boolean;
  readonly error?: ErrorBody;
  readonly refusedToolUseIds?: readonly string[];
}

/** Logs the end of the model request and settles its hold (BUD-2). */
export function endRequest(t: Transition, outcome: RequestOutcome): void {
  const { turnId, step, attempt, phase, request } = t.turn;
  if (phase.name !== 'streaming') return;
  const costNanoUsd = toCostNanoUsd(t.ctx.factsOf(request.model, phase.pricedAt).price, outcome.usage);
  t.emit({
    type: 'span.model_request_end',
    turn_id: turnId,
    step,
    attempt,
    model_request_start_id: phase.spanId,
    is_error: outcome.isError,
    stop_reason: outcome.stopReason,
    model_usage: outcome.usage,
    estimated: outcome.estimated,
    cost_usd: toUsd(costNanoUsd),
    ...(outcome.error && { error: outcome.error }),
    ...(outcome.refusedToolUseIds && { refused_tool_use_ids: [...outcome.refusedToolUseIds] }),
  });
  const { usage, estimated } = outcome;
  t.effect({ type: 'settle', key: { turnId, step, attempt }, usage, estimated, costNanoUsd });
}

/** Usage of a stream that was cut: what the provider told, else what was sent and streamed. */
export function estimateUsage(t: Transition): Usage {
  const { phase, items, open, step } = t.turn;
  if (phase.name !== 'streaming') return NO_USAGE;
  const told = phase.spanUsage;
  const made = items.find((item) => item.kind === 'step' && item.step === step);
  const output = estimateOutputTokens(made?.kind === 'step' ? made.blocks : [], open);
  return {
    ...told,
    input_tokens: isTold(told) ? told.input_tokens : estimateInputTokens(t.state, t.turn, t.ctx.serverTools),
    output_tokens: Math.max(told.output_tokens, output),
  };
}

/** Whether the provider said how long the prompt was. */
export const isTold = (usage: Usage): boolean =>
  usage.input_tokens + usage.cache_read_input_tokens + usage.cache_creation_input_tokens > 0;

function cancelCall(t: Transition, call: Call, why: string): void {
  const text = call.begun ? `Cancelled while running: ${why}.` : `Not run: ${why}.`;
  if (call.state.name === 'started') t.effect({ type: 'abort_tool', toolUseId: call.id });
  logResult(t, call, { content: toText(text), is_error: true, outcome: 'cancelled' });
}

export interface CallResult {
  readonly content: readonly { type: string; [key: string]: unknown }[];
  readonly is_error: boolean;
  readonly outcome: 'ok' | 'error' | 'denied' | 'timeout' | 'cancelled' | 'unknown';
}

/** Gives a call its one result. */
export function logResult(t: Transition, call: Call, result: CallResult): void {
  const { turnId, step, attempt } = t.turn;
  t.emit({
    type: 'agent.tool_result',
    turn_id: turnId,
    step,
    attempt,
    tool_use_id: call.id,
    content: [...result.content],
    is_error: result.is_error,
    outcome: result.outcome,
    duration_ms: Math.max(0, t.ctx.now - call.madeAt),
  });
}
