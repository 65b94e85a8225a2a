/** Which tools a turn offers to the model, and what a model request is made of. */
import type { ClientTool, ToolChoice } from '../../protocol/index.js';
import { toMessages } from './history.js';
import { matchesAny } from './patterns.js';
import { decide } from './permissions.js';
import type { Participant, SessionState, Turn } from './session-state.js';
import type { PlannedRequest, RequestKey, StepContext } from './transition.js';

export interface ToolSet {
  readonly serverTools: readonly string[];
  readonly clientTools: readonly ClientTool[];
}

/** Fixed for a turn and sorted by name, so that the provider's prompt cache holds. */
export function toToolSet(state: SessionState, prompter: Participant, ctx: StepContext): ToolSet {
  const roles = [ctx.rolesOf(prompter)];
  const isOffered = (name: string): boolean =>
    decide(ctx.policy, roles, name, undefined, ctx.fitsSchema).effect !== 'deny';
  const serverTools = [...ctx.serverTools.keys()].filter(
    (name) => matchesAny(state.agent.tools, name) && isOffered(name),
  );
  const clientTools = new Map<string, ClientTool>();
  for (const registration of state.registrations)
    for (const tool of registration.tools) if (isOffered(tool.name)) clientTools.set(tool.name, tool);
  const byName = (a: { name: string }, b: { name: string }): number => (a.name < b.name ? -1 : 1);
  return { serverTools: serverTools.sort(), clientTools: [...clientTools.values()].sort(byName) };
}

export function toPlannedRequest(state: SessionState, turn: Turn, key: RequestKey, ctx: StepContext): PlannedRequest {
  const server = turn.serverTools.flatMap((name) => ctx.serverTools.get(name) ?? []);
  const tools = [...server, ...turn.clientTools].map(({ name, description, input_schema }) => ({
    name,
    description,
    input_schema,
  }));
  return {
    key,
    model: turn.request.model,
    maxTokens: turn.request.maxTokens,
    system: state.agent.system ?? undefined,
    tools,
    toolChoice: key.step === 1 ? toToolChoice(turn, tools) : undefined,
    messages: toMessages(
      [...state.history.slice(state.replayFrom), ...turn.items],
      turn.request.model,
      isPaused(turn) ? 'continuation' : 'request',
    ),
  };
}

/** A forced choice that its turn can't keep, because a tool went while it was queued, is left to the model. */
function toToolChoice(turn: Turn, tools: readonly { readonly name: string }[]): ToolChoice | undefined {
  const choice = turn.request.toolChoice;
  if (choice?.type === 'tool' && !tools.some((tool) => tool.name === choice.name)) return undefined;
  return tools.length === 0 ? undefined : choice;
}

/** Whether the turn's last word is an assistant's without calls: then the provider paused and is asked to go on. */
function isPaused(turn: Turn): boolean {
  const last = turn.items.findLast((item) => item.kind === 'user' || item.blocks.length > 0);
  return last?.kind === 'step' && !last.blocks.some((block) => block.kind === 'call');
}
