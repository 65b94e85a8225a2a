/** A tool call's way from the model to its result: checked, asked for, offered or started, resolved once. */
import { BOUNDS, type ClientTool, type InputBlock } from '../../protocol/index.js';
import { isEditor } from './membership.js';
import { type Decision, decide } from './permissions.js';
import { capResult } from './result-cap.js';
import { type Call, isSame, type OpenBlock, type Participant } from './session-state.js';
import { type Transition, time, toText } from './transition.js';
import { type CallResult, logResult } from './turn-end.js';

type OpenCall = Extract<OpenBlock, { kind: 'call' }>;
type Input = Readonly<Record<string, unknown>>;

/** A call's block is complete: logs it with what the policy says, and offers it where a client is to run it (TOOL-4). */
export function planCall(t: Transition, block: OpenCall): void {
  const parsed = parseInput(block.json);
  const client = clientToolOf(t, block.name);
  const decision = decideNow(t, block.name, parsed ?? {});
  const timeoutMs = decision.effect === 'ask' ? t.ctx.approvalTimeoutMs : timeoutOf(client);
  const expires = decision.effect === 'ask' || client ? { expires_at: time(t.ctx.now + timeoutMs) } : {};
  const { turnId, step, attempt } = t.turn;
  t.patchTurn({ open: t.turn.open.filter((o) => o.id !== block.id) });
  t.emit({
    type: block.type,
    id: block.id,
    turn_id: turnId,
    step,
    attempt,
    index: block.index,
    name: block.name,
    input: { ...parsed },
    label: client?.label ?? t.ctx.serverTools.get(block.name)?.label ?? block.name,
    evaluated_permission: decision.effect,
    model_tool_use_id: block.modelToolUseId,
    ...expires,
  });
  const call = callOf(t, block.id);
  if (!call) return;
  const problem = parsed === undefined ? 'The input is not a JSON object.' : mismatchOf(t, block.name, parsed);
  if (!isOffered(t, block.name)) deny(t, call, `${block.name} is not among the tools of this turn`);
  else if (decision.effect === 'deny') deny(t, call, decision.rule);
  else if (problem !== undefined) fail(t, call, problem);
  else offer(t, call);
}

function parseInput(json: string): Input | undefined {
  if (json.trim() === '') return {};
  try {
    const value: unknown = JSON.parse(json);
    return typeof value === 'object' && value !== null && !Array.isArray(value) ? (value as Input) : undefined;
  } catch {
    return undefined;
  }
}

/** What the policy says at this moment, for everybody who takes part (TOOL-1). */
export function decideNow(t: Transition, tool: string, input: Input): Decision {
  if (t.ctx.heldBack !== undefined) return { effect: 'deny', rule: t.ctx.heldBack };
  const gone = t.turn.participants.find((participant) => !isEditor(t.state, participant));
  if (gone) return { effect: 'deny', rule: mayNoLonger(gone) };
  return decide(t.ctx.policy, t.rolesOf(t.turn.participants), tool, input, t.ctx.fitsSchema);
}

/** The rule for a turn in which somebody takes part who is no editor any more. */
export const mayNoLonger = (who: Participant): string => `${who.user_id} may no longer prompt in this session`;

/** What is wrong with a tool's input, for the model or an approver to read. */
export function mismatchOf(t: Transition, tool: string, input: Input): string | undefined {
  const schema = clientToolOf(t, tool)?.input_schema ?? t.ctx.serverTools.get(tool)?.input_schema;
  const problem = schema && t.ctx.fitsSchema(schema, input);
  return problem === undefined ? undefined : `The input does not fit the tool's schema: ${problem}`;
}

/** Why a call may not begin now, though it might when it was made: denied, or to be asked for and nobody was (TOOL-1). */
function refusalNow(t: Transition, call: Call): string | undefined {
  const { effect, rule } = decideNow(t, call.name, call.input);
  return effect === 'deny' || (effect === 'ask' && !call.confirmed) ? rule : undefined;
}

/** Starts every allowed server tool of a complete step, asking the policy again (TOOL-1, TOOL-4). */
export function startPlanned(t: Transition): void {
  for (const call of t.turn.calls) {
    if (call.state.name !== 'planned') continue;
    const refusal = refusalNow(t, call);
    if (refusal !== undefined) {
      deny(t, call, refusal);
      continue;
    }
    const { turnId, step, attempt, payer } = t.turn;
    const { id, name, label, input } = call;
    t.emit({ type: 'tool.started', turn_id: turnId, step, attempt, tool_use_id: id, name, label });
    t.effect({ type: 'run_tool', toolUseId: id, name, input, turnId, userId: payer.user_id });
  }
}

/** Offers every client call that may be offered now and is not. */
export function offerAll(t: Transition): void {
  for (const call of t.state.turn?.calls ?? []) offer(t, call);
}

/** Names the one connection that is to run the call: the prompter's if it has the tool, else another's (TOOL-5). */
function offer(t: Transition, call: Call): void {
  const { state } = callOf(t, call.id) ?? call;
  if (state.name !== 'unoffered' || state.offerAt > t.ctx.now) return;
  const having = t.state.registrations.filter((r) => r.tools.some((tool) => tool.name === call.name));
  const chosen = having.find((r) => isSame(r.from, t.turn.payer)) ?? having[0];
  if (!chosen) return;
  const refusal = refusalNow(t, call);
  if (refusal !== undefined) {
    deny(t, call, refusal);
    return;
  }
  const { turnId, step, attempt } = t.turn;
  t.emit({
    type: 'tool.offered',
    turn_id: turnId,
    step,
    attempt,
    tool_use_id: call.id,
    connection_id: chosen.connectionId,
    expires_at: time(state.expiresAt),
  });
}

/** The connection is gone: what it was to run is offered again after a grace, in which its result may still come. */
export function withdrawOffers(t: Transition, connectionId: string, graceMs: number = BOUNDS.offerGraceMs): void {
  const turn = t.state.turn;
  if (!turn) return;
  const calls = turn.calls.map((call): Call => {
    const { state } = call;
    if (state.name !== 'offered' || state.connectionId !== connectionId) return call;
    return {
      ...call,
      state: { name: 'unoffered', expiresAt: state.expiresAt, offerAt: t.ctx.now + graceMs },
    };
  });
  t.patchTurn({ calls });
}

/** A denied call becomes an error result that tells the model so (TOOL-2). */
export function deny(t: Transition, call: Call, rule: string, message = `Denied: ${rule}.`): void {
  const { turnId, step, attempt } = t.turn;
  t.emit({ type: 'tool.denied', turn_id: turnId, step, attempt, tool_use_id: call.id, rule });
  logResult(t, call, { content: toText(message), is_error: true, outcome: 'denied' });
}

export function fail(t: Transition, call: Call, message: string): void {
  logResult(t, call, { content: toText(message), is_error: true, outcome: 'error' });
}

/** A result from whoever ran the call: capped, and with a word about an edited input (TOOL-3, TOOL-6). */
export function resolve(t: Transition, call: Call, result: CallResult): void {
  const note = `The approver changed the input to ${JSON.stringify(call.input)}.`;
  const content = call.edited ? [...toText(note), ...result.content] : result.content;
  logResult(t, call, { ...result, content: capResult(content as InputBlock[], t.ctx.limits.tool_result_bytes) });
}

export const callOf = (t: Transition, id: string): Call | undefined => t.state.turn?.calls.find((c) => c.id === id);

const clientToolOf = (t: Transition, name: string): ClientTool | undefined =>
  t.turn.clientTools.find((tool) => tool.name === name);

const isOffered = (t: Transition, name: string): boolean =>
  t.turn.serverTools.includes(name) || clientToolOf(t, name) !== undefined;

const timeoutOf = (tool: ClientTool | undefined): number => tool?.timeout_ms ?? BOUNDS.clientToolTimeoutMs;
