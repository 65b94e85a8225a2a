/** What the model streams, turned into events: deltas as they come, blocks when they are complete. */
import { type Block, type ErrorBody, NO_USAGE, toErrorBody, type Usage } from '../../protocol/index.js';
import type { ModelEnd, ModelEvent, ModelFailure } from './model-stream.js';
import { toRetryDelayMs } from './retry-policy.js';
import type { CallType, OpenBlock } from './session-state.js';
import { advance, nextStep } from './step-flow.js';
import { planCall } from './tool-plan.js';
import type { RequestKey, Transition } from './transition.js';
import { closeStep, commitMessage, commitOpen, endRequest, endTurn, estimateUsage, isTold } from './turn-end.js';

/** Whether this request is the one that streams; what another one says comes too late. */
export function isCurrent(t: Transition, key: RequestKey): boolean {
  const turn = t.state.turn;
  return (
    turn !== undefined &&
    turn.phase.name === 'streaming' &&
    turn.turnId === key.turnId &&
    turn.step === key.step &&
    turn.attempt === key.attempt
  );
}

export function onModelEvents(t: Transition, key: RequestKey, events: readonly ModelEvent[]): void {
  for (const event of events) if (isCurrent(t, key)) onModelEvent(t, event);
}

function onModelEvent(t: Transition, event: ModelEvent): void {
  switch (event.type) {
    case 'message_start':
      return patchSpan(t, event.usage, null);
    case 'message_delta':
      return patchSpan(t, event.usage, event.stopReason);
    case 'block_start':
      return openBlock(t, event.index, event.block);
    case 'block_stop':
      return closeBlock(t, event.index);
    case 'text':
      return onText(t, event.text);
    case 'thinking':
      return onThinking(t, event.index, event.text);
    case 'signature':
      return patchOpen(t, event.index, (b) =>
        b.kind === 'thinking' ? { ...b, signature: b.signature + event.signature } : b,
      );
    case 'citation':
      return onCitation(t, event.citation);
    case 'input_json':
      return onInputJson(t, event.index, event.json);
  }
}

function patchSpan(t: Transition, told: Partial<Usage>, stopReason: string | null): void {
  const { phase } = t.turn;
  if (phase.name !== 'streaming') return;
  t.patchTurn({
    phase: { ...phase, spanUsage: { ...phase.spanUsage, ...told }, stopReason: stopReason ?? phase.stopReason },
  });
}

function openBlock(t: Transition, index: number, block: Block): void {
  switch (block.type) {
    case 'thinking':
      return append(t, { kind: 'thinking', index, id: t.ctx.newId('sevt'), thinking: '', signature: '', shown: false });
    case 'redacted_thinking': {
      closeRun(t);
      const { turnId, step, attempt, request } = t.turn;
      const data = String(block['data'] ?? '');
      t.emit({ type: 'agent.thinking', turn_id: turnId, step, attempt, index, data, model: request.model });
      return;
    }
    case 'tool_use': {
      const name = String(block['name'] ?? '');
      const type = typeOf(t, name);
      const id = t.ctx.newId('sevt');
      const input = block['input'];
      const json = input && typeof input === 'object' && Object.keys(input).length > 0 ? JSON.stringify(input) : '';
      append(t, { kind: 'call', index, id, type, modelToolUseId: String(block['id'] ?? id), name, json });
      startEvent(t, index, type, id);
      return;
    }
    default:
      return addToRun(t, index, block);
  }
}

const typeOf = (t: Transition, name: string): CallType =>
  t.turn.clientTools.some((tool) => tool.name === name) ? 'agent.custom_tool_use' : 'agent.tool_use';

function append(t: Transition, block: OpenBlock): void {
  closeRun(t);
  t.patchTurn({ open: [...t.turn.open, block] });
}

/** Text, and what the provider's own tools made, share one message until thinking or a call comes between. */
function addToRun(t: Transition, index: number, block: Block): void {
  const run = t.turn.open.find((b) => b.kind === 'message');
  if (run) replace(t, { ...run, content: [...run.content, { ...block }] });
  else
    t.patchTurn({
      open: [
        ...t.turn.open,
        { kind: 'message', index, id: t.ctx.newId('sevt'), content: [{ ...block }], shown: false },
      ],
    });
}

function closeRun(t: Transition): void {
  const run = t.turn.open.find((b) => b.kind === 'message');
  if (run) commitMessage(t, run, 'complete');
}

function onText(t: Transition, text: string): void {
  const run = t.turn.open.find((b) => b.kind === 'message');
  if (!run || text === '') return;
  if (!run.shown) startEvent(t, run.index, 'agent.message', run.id);
  t.emitDelta(t.turn.turnId, run.id, 'text', run.content.length - 1, text);
}

function onThinking(t: Transition, index: number, text: string): void {
  const block = t.turn.open.find((b) => b.index === index);
  if (block?.kind !== 'thinking' || text === '') return;
  if (!block.shown) startEvent(t, index, 'agent.thinking', block.id);
  t.emitDelta(t.turn.turnId, block.id, 'thinking', 0, text);
}

function onInputJson(t: Transition, index: number, json: string): void {
  const block = t.turn.open.find((b) => b.kind === 'call' && b.index === index);
  if (block) {
    if (json !== '') t.emitDelta(t.turn.turnId, block.id, 'input', 0, json);
    return;
  }
  // A provider's own tool: its input is part of its block.
  patchRunBlock(t, (last) => ({ ...last, partial_json: `${last['partial_json'] ?? ''}${json}` }));
}

function onCitation(t: Transition, citation: Readonly<Record<string, unknown>>): void {
  patchRunBlock(t, (last) => ({ ...last, citations: [...((last['citations'] as unknown[] | null) ?? []), citation] }));
}

function closeBlock(t: Transition, index: number): void {
  const block = t.turn.open.find((b) => b.index === index && b.kind !== 'message');
  if (block?.kind === 'call') return planCall(t, block);
  if (block?.kind === 'thinking') {
    const { turnId, step, attempt, request } = t.turn;
    const { id, thinking, signature } = block;
    t.emit({
      type: 'agent.thinking',
      id,
      turn_id: turnId,
      step,
      attempt,
      index,
      thinking,
      signature,
      model: request.model,
    });
    return;
  }
  patchRunBlock(t, ({ partial_json, ...last }) =>
    typeof partial_json === 'string' ? { ...last, input: parseOrEmpty(partial_json) } : last,
  );
}

function parseOrEmpty(json: string): unknown {
  try {
    return JSON.parse(json);
  } catch {
    return {};
  }
}

function patchRunBlock(t: Transition, change: (last: Block) => Record<string, unknown>): void {
  const run = t.turn.open.find((b) => b.kind === 'message');
  const last = run?.content.at(-1);
  if (run && last) replace(t, { ...run, content: [...run.content.slice(0, -1), change(last) as Block] });
}

function patchOpen(t: Transition, index: number, change: (block: OpenBlock) => OpenBlock): void {
  t.patchTurn({ open: t.turn.open.map((b) => (b.index === index ? change(b) : b)) });
}

const replace = (t: Transition, block: OpenBlock): void =>
  t.patchTurn({ open: t.turn.open.map((b) => (b.id === block.id ? block : b)) });

function startEvent(t: Transition, index: number, type: string, id: string): void {
  const { turnId, step, attempt } = t.turn;
  t.emit({ type: 'event_start', turn_id: turnId, step, attempt, index, event: { type, id } });
}

export function onModelEnd(t: Transition, key: RequestKey, end: ModelEnd): void {
  if (!isCurrent(t, key)) return;
  if (end.type === 'complete') onComplete(t);
  else if (end.type === 'failed') onFailed(t, end.failure);
  else onFailed(t, { code: 'internal', message: 'The model request was given up.', retryable: true });
}

function onComplete(t: Transition): void {
  const { phase } = t.turn;
  if (phase.name !== 'streaming') return;
  const { stopReason, spanUsage } = phase;
  commitOpen(t, 'complete');
  endRequest(t, { stopReason, isError: false, usage: spanUsage, estimated: false });
  switch (stopReason) {
    case 'max_tokens':
    case 'stop_sequence':
    case 'refusal':
      // A call that max_tokens cut must never run, and the others have no step to follow.
      return endTurn(t, stopReason);
    case 'model_context_window_exceeded':
      return endTurn(t, 'context_window_exceeded', toErrorBody('context_window_exceeded'));
    case 'pause_turn':
      // The provider waits for its own tools to go on: nothing may come between.
      return t.turn.calls.length > 0 ? advance(t) : nextStep(t, 'without_steers');
    default:
      return t.turn.calls.length > 0 ? advance(t) : endTurn(t, 'end_turn');
  }
}

function onFailed(t: Transition, failure: ModelFailure): void {
  const { attempt, step, items, open } = t.turn;
  const produced = items.some((item) => item.kind === 'step' && item.step === step && item.blocks.length > 0);
  const delivered = produced || open.some((block) => block.kind === 'call' || block.shown);
  const error = toErrorBody(failure.code, failure.message, { retryAfterMs: failure.retryAfterMs });
  const delayMs = toRetryDelayMs({
    attempt,
    maxAttempts: t.ctx.limits.upstream_attempts,
    retryable: failure.retryable,
    delivered,
    retryAfterMs: failure.retryAfterMs,
    random: t.ctx.random(),
  });
  if (delayMs !== undefined) return retryLater(t, error, delayMs);
  const replaceable = failure.code === 'upstream_refused' && !t.turn.resultsReplaced ? lastResults(t) : [];
  if (!delivered && replaceable.length > 0) return retryWithoutResults(t, error, replaceable);
  if (delivered) commitOpen(t, 'incomplete');
  failRequest(t, error, delivered);
  closeStep(t, 'the model failed');
  const isWindow = failure.code === 'context_window_exceeded';
  endTurn(t, isWindow ? 'context_window_exceeded' : 'error', error);
}

function failRequest(t: Transition, error: ErrorBody, delivered: boolean, refusedToolUseIds?: readonly string[]): void {
  const { phase } = t.turn;
  // Once the provider told the input side, it has read the prompt, and charges for it.
  const isCharged = delivered || (phase.name === 'streaming' && isTold(phase.spanUsage));
  const usage = isCharged ? estimateUsage(t) : NO_USAGE;
  endRequest(t, {
    stopReason: null,
    isError: true,
    usage,
    estimated: isCharged,
    error,
    ...(refusedToolUseIds && { refusedToolUseIds }),
  });
}

function retryLater(t: Transition, error: ErrorBody, delayMs: number): void {
  failRequest(t, error, false);
  const { type, code, message } = error;
  t.emit({ type: 'session.error', error: { type, code, message, retry_status: { type: 'retrying' } } });
  t.patchTurn({ phase: { name: 'backing_off', until: t.ctx.now + delayMs } });
}

/** Once: what the API may have refused is the results that the request added (TURN-5). */
function retryWithoutResults(t: Transition, error: ErrorBody, refused: readonly string[]): void {
  failRequest(t, error, false, refused);
  t.patchTurn({ phase: { name: 'backing_off', until: t.ctx.now } });
}

function lastResults(t: Transition): readonly string[] {
  const last = t.turn.items.findLast((item) => item.kind === 'step' && item.blocks.length > 0);
  return last?.kind === 'step' ? last.blocks.flatMap((b) => (b.kind === 'call' && b.result ? [b.id] : [])) : [];
}
