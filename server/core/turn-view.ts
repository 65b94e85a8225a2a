/** The fold of a running turn: what each of its events and deltas does to it. */
import { BOUNDS, type EventOf, type LoggedEvent, NO_USAGE } from '../../protocol/index.js';
import { replaceResult } from './kept-history.js';
import { addUsage, type Call, type CallState, type HistoryItem, type StepBlock, type Turn } from './session-state.js';

export function applyToTurn(turn: Turn, event: LoggedEvent, at: number): Turn {
  switch (event.type) {
    case 'steer.joined': {
      const steer = turn.steers.find((s) => s.steerId === event.steer_id);
      if (!steer) return turn;
      return {
        ...turn,
        steers: turn.steers.filter((s) => s !== steer),
        joined: [...turn.joined, { messageId: steer.steerId, commandId: steer.commandId }],
        items: [...turn.items, { kind: 'user', turnId: turn.turnId, id: steer.steerId, content: steer.content }],
      };
    }
    case 'span.model_request_start': {
      const pricedAt = event.priced_at === undefined ? at : Date.parse(event.priced_at);
      const phase = { name: 'streaming', spanId: event.id, pricedAt, spanUsage: NO_USAGE, stopReason: null } as const;
      const step = event.step ?? turn.step;
      // A step that is tried again stands behind the steers that joined meanwhile.
      const others = turn.items.filter((item) => !isStep(item, step));
      const items = [...others, toStepItem(turn.turnId, step)];
      return { ...turn, step, attempt: event.attempt ?? 1, phase, items, open: [], calls: [] };
    }
    case 'span.model_request_end':
      return onRequestEnd(turn, event);
    case 'event_start':
      return onEventStart(turn, event);
    case 'agent.message':
      return addBlock(turn, event.id, {
        kind: 'message',
        index: event.index ?? 0,
        id: event.id,
        content: event.content,
      });
    case 'agent.thinking': {
      const { thinking, signature, data, model } = event;
      const block =
        data !== undefined ? { type: 'redacted_thinking', data } : { type: 'thinking', thinking, signature };
      return addBlock(turn, event.id, { kind: 'thinking', index: event.index ?? 0, id: event.id, block, model });
    }
    case 'agent.tool_use':
    case 'agent.mcp_tool_use':
    case 'agent.custom_tool_use':
      return onToolUse(turn, event, at);
    case 'tool.offered':
      return setCall(turn, event.tool_use_id, {
        state: { name: 'offered', connectionId: event.connection_id, expiresAt: Date.parse(event.expires_at) },
        begun: true,
      });
    case 'tool.started':
      return setCall(turn, event.tool_use_id, { state: { name: 'started' }, begun: true });
    case 'user.tool_confirmation':
      return onConfirmation(turn, event, at);
    case 'agent.tool_result':
      return onToolResult(turn, event);
    case 'turn.waiting':
      return { ...turn, phase: { name: 'waiting', remainingMs: Math.max(0, turn.deadlineAt - at) } };
    case 'turn.resumed':
      return {
        ...turn,
        deadlineAt: Date.parse(event.deadline_at),
        phase: turn.phase.name === 'waiting' ? { name: 'executing_tools' } : turn.phase,
        recoveries: event.recovery ?? turn.recoveries,
      };
    case 'step.superseded':
      return {
        ...turn,
        phase: { name: 'admitting', step: turn.step },
        open: [],
        calls: [],
        items: turn.items.map((item) => (isStep(item, turn.step) ? { ...item, blocks: [] } : item)),
      };
    default:
      return turn;
  }
}

function onRequestEnd(turn: Turn, event: EventOf<'span.model_request_end'>): Turn {
  const refused = event.refused_tool_use_ids;
  const items = refused
    ? turn.items.map((item) =>
        item.kind === 'step'
          ? { ...item, blocks: item.blocks.map((b) => (refused.includes(b.id) ? replaceResult(b) : b)) }
          : item,
      )
    : turn.items;
  return {
    ...turn,
    items,
    phase: event.is_error ? { name: 'admitting', step: turn.step } : { name: 'executing_tools' },
    open: [],
    usage: addUsage(turn.usage, event.model_usage),
    estimated: turn.estimated || event.estimated,
    costNanoUsd: turn.costNanoUsd + Math.round(event.cost_usd * 1e9),
    resultsReplaced: turn.resultsReplaced || refused !== undefined,
  };
}

function onEventStart(turn: Turn, event: EventOf<'event_start'>): Turn {
  const known = turn.open.find((block) => block.id === event.event.id);
  if (known) {
    if (known.kind === 'call') return turn;
    return { ...turn, open: turn.open.map((block) => (block === known ? { ...known, shown: true } : block)) };
  }
  const base = { index: event.index ?? 0, id: event.event.id };
  switch (event.event.type) {
    case 'agent.message':
      return { ...turn, open: [...turn.open, { kind: 'message', ...base, content: [], shown: true }] };
    case 'agent.thinking':
      return { ...turn, open: [...turn.open, { kind: 'thinking', ...base, thinking: '', signature: '', shown: true }] };
    default:
      // The block of an unfinished call can't be used after a crash; its deltas have nowhere to go.
      return turn;
  }
}

function onToolUse(
  turn: Turn,
  event: EventOf<'agent.tool_use' | 'agent.mcp_tool_use' | 'agent.custom_tool_use'>,
  at: number,
): Turn {
  const expiresAt = event.expires_at === undefined ? at : Date.parse(event.expires_at);
  const call: Call = {
    id: event.id,
    type: event.type,
    name: event.name,
    label: event.label,
    input: event.input,
    edited: false,
    confirmed: false,
    madeAt: at,
    begun: false,
    state: toFirstState(event.type, event.evaluated_permission, expiresAt, at),
  };
  const block: StepBlock = {
    kind: 'call',
    index: event.index ?? 0,
    id: event.id,
    modelToolUseId: event.model_tool_use_id,
    name: event.name,
    input: event.input,
  };
  return { ...addBlock(turn, event.id, block), calls: [...turn.calls, call] };
}

function toFirstState(type: Call['type'], permission: string, expiresAt: number, at: number): CallState {
  if (permission === 'ask') return { name: 'asking', expiresAt };
  return type === 'agent.custom_tool_use' ? { name: 'unoffered', expiresAt, offerAt: at } : { name: 'planned' };
}

function onConfirmation(turn: Turn, event: EventOf<'user.tool_confirmation'>, at: number): Turn {
  const call = turn.calls.find((c) => c.id === event.tool_use_id);
  if (!call || event.result === 'deny') return turn;
  const tool = turn.clientTools.find((t) => t.name === call.name);
  const expiresAt = at + (tool?.timeout_ms ?? BOUNDS.clientToolTimeoutMs);
  const state: CallState =
    call.type === 'agent.custom_tool_use' ? { name: 'unoffered', expiresAt, offerAt: at } : { name: 'planned' };
  return setCall(turn, call.id, {
    state,
    input: event.updated_input ?? call.input,
    edited: event.updated_input !== undefined,
    confirmed: true,
  });
}

function onToolResult(turn: Turn, event: EventOf<'agent.tool_result'>): Turn {
  const result = { content: event.content, isError: event.is_error };
  return {
    ...setCall(turn, event.tool_use_id, { state: { name: 'resolved' } }),
    items: turn.items.map((item) =>
      isStep(item, turn.step)
        ? {
            ...item,
            blocks: item.blocks.map((b) => (b.kind === 'call' && b.id === event.tool_use_id ? { ...b, result } : b)),
          }
        : item,
    ),
  };
}

function setCall(turn: Turn, id: string, patch: Partial<Call>): Turn {
  return { ...turn, calls: turn.calls.map((call) => (call.id === id ? { ...call, ...patch } : call)) };
}

function addBlock(turn: Turn, id: string, block: StepBlock): Turn {
  return {
    ...turn,
    open: turn.open.filter((o) => o.id !== id),
    items: turn.items.map((item) =>
      isStep(item, turn.step) ? { ...item, blocks: [...item.blocks, block].sort((a, b) => a.index - b.index) } : item,
    ),
  };
}

type StepItem = Extract<HistoryItem, { kind: 'step' }>;
const isStep = (item: HistoryItem, step: number): item is StepItem => item.kind === 'step' && item.step === step;
const toStepItem = (turnId: string, step: number): StepItem => ({ kind: 'step', turnId, step, blocks: [] });
