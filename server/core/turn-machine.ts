/** The session's machine: (state, input, context) → state, records to append, effects to have afterwards. Pure; never throws. */
import {
  type ErrorBody,
  type SessionCommand,
  type ToolsRegister,
  type ToolsUnregister,
  toErrorBody,
} from '../../protocol/index.js';
import type { BudgetWarning } from './budget-math.js';
import { onTick } from './clock-input.js';
import type { LogRecord } from './log-record.js';
import { onModelEnd, onModelEvents } from './model-input.js';
import type { ModelEnd, ModelEvent } from './model-stream.js';
import { recover } from './recovery.js';
import { registerTools, unregisterTools } from './registrations.js';
import type { Participant, SessionState } from './session-state.js';
import { advance } from './step-flow.js';
import { callOf, offerAll, resolve, withdrawOffers } from './tool-plan.js';
import { type Effect, type Reply, type RequestKey, type Sender, type StepContext, Transition } from './transition.js';
import { onCommand } from './turn-commands.js';
import { type CallResult, endQueued, endTurn } from './turn-end.js';
import { admit, beginRequest, type FirstHold, startNext } from './turn-start.js';

export type Input =
  | {
      readonly type: 'command';
      readonly command: SessionCommand;
      readonly sender: Sender;
      readonly hold: FirstHold;
    }
  | { readonly type: 'register'; readonly command: ToolsRegister | ToolsUnregister; readonly sender: Sender }
  | { readonly type: 'connection_gone'; readonly connectionId: string }
  /** `pricedAt`: whose prices the hold is in; now where it is left out. */
  | { readonly type: 'admitted'; readonly key: RequestKey; readonly pricedAt?: number }
  | { readonly type: 'refused'; readonly key: RequestKey; readonly error: ErrorBody }
  | { readonly type: 'model_events'; readonly key: RequestKey; readonly events: readonly ModelEvent[] }
  | { readonly type: 'model_ended'; readonly key: RequestKey; readonly end: ModelEnd }
  | { readonly type: 'tool_progress'; readonly toolUseId: string; readonly message?: string; readonly percent?: number }
  | { readonly type: 'tool_ended'; readonly toolUseId: string; readonly result: CallResult }
  | { readonly type: 'budget_warned'; readonly warnings: readonly BudgetWarning[] }
  | { readonly type: 'tick' }
  /** The node has a place for the next turn. */
  | { readonly type: 'place_free' }
  /** `handed_over`: the node before gave the session up of its own accord, and did not die. */
  | { readonly type: 'recover'; readonly cause: 'handed_over' | 'lost' }
  /** Cuts what runs, because the server goes down; what only waits is left to wait. */
  | { readonly type: 'cut' }
  | { readonly type: 'delete'; readonly by: Participant };

export interface Step {
  readonly state: SessionState;
  readonly records: readonly LogRecord[];
  readonly effects: readonly Effect[];
  /** For inputs that are answered. */
  readonly reply?: Reply;
}

export function step(state: SessionState, input: Input, ctx: StepContext): Step {
  const t = new Transition(state, ctx);
  const reply = handle(t, input);
  // A refusal changed nothing.
  if (reply && !reply.ok) return { state, records: [], effects: [], reply };
  return { state: t.state, records: t.records, effects: t.effects, ...(reply && { reply }) };
}

function handle(t: Transition, input: Input): Reply | undefined {
  switch (input.type) {
    case 'command':
      return onCommand(t, input.command, input.sender, input.hold);
    case 'register':
      return input.command.type === 'tools.register'
        ? registerTools(t, input.command, input.sender)
        : unregisterTools(t, input.command, input.sender);
    case 'connection_gone':
      return onConnectionGone(t, input.connectionId);
    case 'admitted':
      if (isAdmitting(t, input.key)) onAdmitted(t, input.key, input.pricedAt ?? t.ctx.now);
      return undefined;
    case 'refused':
      if (isAdmitting(t, input.key)) endTurn(t, isBudget(input.error) ? 'budget_exhausted' : 'error', input.error);
      return undefined;
    case 'model_events':
      onModelEvents(t, input.key, input.events);
      return undefined;
    case 'model_ended':
      onModelEnd(t, input.key, input.end);
      return undefined;
    case 'tool_progress':
      return onToolProgress(t, input);
    case 'tool_ended':
      return onToolEnded(t, input.toolUseId, input.result);
    case 'budget_warned':
      if (!t.state.deleted) for (const warning of input.warnings) t.emit({ type: 'budget.warning', ...warning });
      return undefined;
    case 'tick':
      onTick(t);
      return undefined;
    case 'place_free':
      startNext(t);
      return undefined;
    case 'recover':
      recover(t, input.cause);
      return undefined;
    case 'cut':
      if (t.state.turn && t.state.turn.phase.name !== 'waiting')
        endTurn(
          t,
          'error',
          toErrorBody('draining', 'The server went down before the turn was done. What was produced is kept.'),
        );
      return undefined;
    case 'delete':
      for (const queued of t.state.queue) endQueued(t, queued.turnId, 'cancelled');
      if (t.state.turn) {
        t.patchTurn({ steers: [] });
        endTurn(t, 'cancelled');
      }
      t.emit({ type: 'session.deleted', actor: { user_id: input.by.user_id } });
      return undefined;
  }
}

const isBudget = (error: ErrorBody): boolean => error.code.startsWith('budget_');

function isAdmitting(t: Transition, key: RequestKey): boolean {
  const turn = t.state.turn;
  return turn?.turnId === key.turnId && turn.phase.name === 'admitting' && turn.phase.step === key.step;
}

/** A steer may have joined while the hold was awaited: then it is for less than what would be sent. */
function onAdmitted(t: Transition, key: RequestKey, pricedAt: number): void {
  const { phase, items } = t.turn;
  if (phase.name === 'admitting' && phase.items !== undefined && phase.items !== items.length) admit(t, key);
  else beginRequest(t, key, pricedAt);
}

function onConnectionGone(t: Transition, connectionId: string): undefined {
  t.state = { ...t.state, registrations: t.state.registrations.filter((r) => r.connectionId !== connectionId) };
  withdrawOffers(t, connectionId);
  offerAll(t);
}

function onToolProgress(t: Transition, input: Extract<Input, { type: 'tool_progress' }>): undefined {
  const call = callOf(t, input.toolUseId);
  if (call?.state.name !== 'started') return;
  const { turnId, step: at } = t.turn;
  const { message, percent } = input;
  t.emit({
    type: 'tool.progress',
    turn_id: turnId,
    step: at,
    tool_use_id: call.id,
    ...(message !== undefined && { message }),
    ...(percent !== undefined && { percent }),
  });
}

function onToolEnded(t: Transition, toolUseId: string, result: CallResult): undefined {
  const call = callOf(t, toolUseId);
  if (call?.state.name !== 'started') return;
  resolve(t, call, result);
  advance(t);
}
