/** What users ask of a session: each command is refused with a reason, or takes effect at a named seq (CMD-3). */
import type {
  CustomToolResult,
  SessionCommand,
  ToolConfirmation,
  ToolProgress,
  UserMessage,
  UserSteer,
} from '../../protocol/index.js';
import { interrupt } from './interrupt.js';
import { updateMember } from './member-update.js';
import { refusalOf } from './membership.js';
import { canApprove, canUseModel, maxTokensOf } from './permissions.js';
import type { Call, Participant } from './session-state.js';
import { advance, canJoinNow, steerNow } from './step-flow.js';
import { toToolSet } from './tool-offer.js';
import { callOf, decideNow, deny, mismatchOf, resolve } from './tool-plan.js';
import { type Reply, refuse, type Sender, type Transition } from './transition.js';
import { endTurn } from './turn-end.js';
import { type FirstHold, startNext } from './turn-start.js';

const OVERLOADED_RETRY_MS = 1_000;

/** `hold`: of the first request, where the command starts a turn (BUD-3). */
export function onCommand(t: Transition, command: SessionCommand, sender: Sender, hold: FirstHold): Reply {
  if (t.state.deleted) return refuse('session_not_found');
  const from = toParticipant(sender);
  if (command.type === 'session.member_update') return updateMember(t, command, from);
  const refusal = refusalOf(t.state, from, 'editor');
  if (refusal) return refuse(refusal.code, refusal.message);
  switch (command.type) {
    case 'user.message':
      return sendMessage(t, command, from, hold);
    case 'user.steer':
      return steer(t, command, from);
    case 'user.interrupt':
      return interrupt(t, command, from);
    case 'user.tool_confirmation':
      return confirm(t, command, from);
    case 'user.custom_tool_result':
      return answerCall(t, command, from);
    case 'user.tool_progress':
      return reportProgress(t, command, from);
  }
}

export const toParticipant = ({ principal }: Sender): Participant => ({
  user_id: principal.user_id,
  org_id: principal.org_id,
});

function sendMessage(t: Transition, command: UserMessage, from: Participant, hold: FirstHold): Reply {
  const problem = refuseMessage(t, command, from);
  if (problem) return problem;
  const running = t.state.turn;
  const { content, on_busy, max_tokens, model, tool_choice, deadline_ms, tags } = command;
  const isSteer = running !== undefined && on_busy === 'steer';
  const turnId = isSteer ? running.turnId : t.ctx.newId('turn');
  const messageId = t.ctx.newId('sevt');
  const isAhead = on_busy === 'interrupt';
  // Who interrupts goes on in the place of what ran; a turn that waits for a client has none.
  const place = running && isAhead && running.phase.name !== 'waiting' ? 'inherited' : 'needed';
  const isNext = isAhead || (!running && t.state.queue.length === 0);
  const startsNow = isNext && (place === 'inherited' || t.ctx.hasPlace(t.state.sessionId));
  const position = isSteer || startsNow ? 0 : isNext ? 1 : t.state.queue.length + 1;
  const logged = t.emit({
    type: 'user.message',
    id: messageId,
    turn_id: turnId,
    actor: { user_id: from.user_id },
    command_id: command.id,
    content,
    message_id: messageId,
    position,
    ...(isSteer && { steer_id: messageId }),
    ...omitUndefined({ on_busy, max_tokens, model, tool_choice, deadline_ms, tags }),
  });
  if (position > 0) t.emit({ type: 'turn.queued', turn_id: turnId, position });
  if (running && isAhead) endTurn(t, 'interrupted_by_message', undefined, place);
  startNext(t, hold);
  const steered = isSteer ? { steer_id: messageId } : {};
  return accept(logged.seq, { turn_id: turnId, message_id: messageId, position, ...steered });
}

function refuseMessage(t: Transition, command: UserMessage, from: Participant): Reply | undefined {
  const { state, ctx } = t;
  if (ctx.draining && !state.turn) return refuse('draining');
  // Without a turn that runs, a queue waits for a place on the node.
  const isBusy = state.turn !== undefined || state.queue.length > 0;
  if (!isBusy && !ctx.hasPlace(state.sessionId) && ctx.isOverloaded())
    return refuse('overloaded', undefined, { retryAfterMs: OVERLOADED_RETRY_MS });
  if (isBusy && command.on_busy === 'reject') return refuse('busy');
  const isWaiting = isBusy && command.on_busy !== 'interrupt';
  if (isWaiting && isFull(t)) return queueFull(t);
  const roles = ctx.rolesOf(from);
  const model = command.model ?? state.agent.model;
  if (!canUseModel(ctx.policy, roles, model)) return refuse('forbidden', `Your role may not use the model ${model}.`);
  const facts = ctx.factsOf(model, ctx.now);
  const bound = Math.min(
    maxTokensOf(ctx.policy, roles) ?? Number.POSITIVE_INFINITY,
    facts.maxOutputTokens ?? Number.POSITIVE_INFINITY,
  );
  const maxTokens = command.max_tokens ?? state.agent.max_tokens;
  if (maxTokens > bound)
    return refuse(
      'invalid_request',
      `max_tokens: ${maxTokens} is above the bound of ${bound} for your role and this model.`,
    );
  return refuseToolChoice(t, command, from, model);
}

/** Steers count, for each of them may become a turn of its own. */
const isFull = (t: Transition): boolean =>
  t.state.queue.length + (t.state.turn?.steers.length ?? 0) >= t.ctx.limits.queued_turns;

const queueFull = (t: Transition): Reply =>
  refuse('queue_full', `The queue of this session is full: ${t.ctx.limits.queued_turns} wait. Wait for a turn to end.`);

function refuseToolChoice(t: Transition, command: UserMessage, from: Participant, model: string): Reply | undefined {
  const choice = command.tool_choice;
  if (choice?.type !== 'any' && choice?.type !== 'tool') return undefined;
  if (!t.ctx.factsOf(model, t.ctx.now).forcesTools)
    return refuse(
      'invalid_request',
      `tool_choice: ${model} takes no forced tool choice. Leave it out, or send {"type":"auto"}.`,
    );
  const { serverTools, clientTools } = toToolSet(t.state, from, t.ctx);
  const names = [...serverTools, ...clientTools.map((tool) => tool.name)];
  if (choice.type === 'any' && names.length === 0)
    return refuse('invalid_request', 'tool_choice: this session has no tools to choose from.');
  if (choice.type === 'tool' && !names.includes(choice.name))
    return refuse(
      'invalid_request',
      `tool_choice: no tool named ${choice.name}. There are: ${names.join(', ') || 'none'}.`,
    );
  return undefined;
}

function steer(t: Transition, command: UserSteer, from: Participant): Reply {
  const turn = t.state.turn;
  if (!turn || (command.turn_id !== undefined && command.turn_id !== turn.turnId)) return refuse('turn_not_active');
  if (isFull(t)) return queueFull(t);
  const isNow = command.apply === 'now';
  const outcome = isNow && canJoinNow(t) ? ('joined' as const) : ('pending' as const);
  const steerId = t.ctx.newId('sevt');
  const logged = t.emit({
    type: 'user.steer',
    id: steerId,
    turn_id: turn.turnId,
    actor: { user_id: from.user_id },
    command_id: command.id,
    content: command.content,
    apply: command.apply,
    steer_id: steerId,
    outcome,
  });
  if (isNow) steerNow(t);
  return accept(logged.seq, { turn_id: turn.turnId, steer_id: steerId, outcome });
}

function confirm(t: Transition, command: ToolConfirmation, from: Participant): Reply {
  const call = callOf(t, command.tool_use_id);
  if (call?.confirmed) return refuse('already_resolved');
  if (call?.state.name !== 'asking')
    return refuseCall(t, command.tool_use_id, call, 'It does not wait for a confirmation.');
  if (!canApprove(t.ctx.policy, t.ctx.rolesOf(from), call.name))
    return refuse('forbidden', `Your role may not approve ${call.name}.`);
  const { updated_input } = command;
  if (command.result === 'allow') {
    const input = updated_input ?? call.input;
    const mismatch = mismatchOf(t, call.name, input);
    if (mismatch !== undefined) return refuse('invalid_request', `updated_input: ${mismatch}`);
    if (t.ctx.heldBack !== undefined) return refuse('store_unavailable', `For now ${t.ctx.heldBack}. Send it again.`);
    const decision = decideNow(t, call.name, input);
    if (decision.effect === 'deny') return refuse('forbidden_tool', `Denied: ${decision.rule}.`);
  }
  const { type, id: commandId, tool_use_id, result } = command;
  const logged = t.emit({
    type,
    turn_id: t.turn.turnId,
    step: t.turn.step,
    actor: { user_id: from.user_id },
    command_id: commandId,
    tool_use_id,
    result,
    ...omitUndefined({
      deny_message: command.deny_message ?? undefined,
      updated_input: result === 'allow' ? updated_input : undefined,
    }),
  });
  if (result === 'deny') {
    const message = command.deny_message
      ? `The user denied this call: ${command.deny_message}`
      : 'The user denied this call.';
    deny(t, call, `denied by ${from.user_id}`, message);
  }
  advance(t);
  return accept(logged.seq, {});
}

function answerCall(t: Transition, command: CustomToolResult, from: Participant): Reply {
  const call = callOf(t, command.custom_tool_use_id);
  const isOpen =
    call?.type === 'agent.custom_tool_use' && (call.state.name === 'offered' || call.state.name === 'unoffered');
  if (!isOpen) return refuseCall(t, command.custom_tool_use_id, call, 'It does not wait for a client’s result.');
  const content = command.content ?? [];
  const isError = command.is_error ?? false;
  const logged = t.emit({
    type: command.type,
    turn_id: t.turn.turnId,
    step: t.turn.step,
    actor: { user_id: from.user_id },
    command_id: command.id,
    custom_tool_use_id: call.id,
    content,
    is_error: isError,
  });
  resolve(t, call, { content, is_error: isError, outcome: isError ? 'error' : 'ok' });
  advance(t);
  return accept(logged.seq, {});
}

function reportProgress(t: Transition, command: ToolProgress, from: Participant): Reply {
  const call = callOf(t, command.custom_tool_use_id);
  if (call?.type !== 'agent.custom_tool_use' || call.state.name === 'resolved' || call.state.name === 'asking')
    return refuseCall(t, command.custom_tool_use_id, call, 'It is not run by a client now.');
  const { message, percent } = command;
  const { turnId, step } = t.turn;
  const logged = t.emit({
    type: 'tool.progress',
    turn_id: turnId,
    step,
    actor: { user_id: from.user_id },
    tool_use_id: call.id,
    ...omitUndefined({ message, percent }),
  });
  return accept(logged.seq, {});
}

/** Why a call can't be answered: it has its result, it never was, or it waits for something else. */
function refuseCall(t: Transition, id: string, call: Call | undefined, otherwise: string): Reply {
  if (call && call.state.name !== 'resolved') return refuse('invalid_request', `${id}: ${otherwise}`);
  const items = [...t.state.history, ...(t.state.turn?.items ?? [])];
  const isKnown =
    call !== undefined ||
    items.some((item) => item.kind === 'step' && item.blocks.some((b) => b.kind === 'call' && b.id === id));
  return refuse(isKnown ? 'already_resolved' : 'tool_call_not_found');
}

const accept = (appliedAtSeq: number, result: Record<string, unknown>): Reply => ({ ok: true, appliedAtSeq, result });

function omitUndefined<T extends object>(fields: T): { [K in keyof T]?: Exclude<T[K], undefined> } {
  return Object.fromEntries(Object.entries(fields).filter(([, value]) => value !== undefined)) as never;
}
