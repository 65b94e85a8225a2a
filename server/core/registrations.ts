/** Client tools: which connection has which (TOOL-5). They reach the model at the next turn. */
import type { ClientTool, ToolsRegister, ToolsUnregister } from '../../protocol/index.js';
import { refusalOf } from './membership.js';
import type { ToolRegistration } from './session-state.js';
import { offerAll } from './tool-plan.js';
import { type Reply, refuse, type Sender, type Transition } from './transition.js';

const MAX_TOOLS = 128;

export function registerTools(t: Transition, command: ToolsRegister, sender: Sender): Reply {
  const { connectionId, principal } = sender;
  const refusal = refusalOf(t.state, principal, 'editor');
  if (refusal) return refuse(refusal.code, refusal.message);
  if (connectionId === undefined) return refuse('invalid_request', 'tools.register works over a WebSocket only.');
  for (const tool of command.tools) {
    const problem = refuseTool(t, tool, connectionId);
    if (problem) return problem;
  }
  const mine = t.state.registrations.find((r) => r.connectionId === connectionId);
  const tools = new Map([...(mine?.tools ?? []), ...command.tools].map((tool) => [tool.name, tool]));
  if (tools.size > MAX_TOOLS) return refuse('invalid_request', `tools: at most ${MAX_TOOLS} of one connection.`);
  const from = { user_id: principal.user_id, org_id: principal.org_id };
  replaceMine(t, connectionId, { connectionId, from, tools: [...tools.values()] });
  offerAll(t);
  return { ok: true, appliedAtSeq: t.state.seq, result: {} };
}

function refuseTool(t: Transition, tool: ClientTool, connectionId: string): Reply | undefined {
  const { name } = tool;
  if (t.ctx.serverTools.has(name))
    return refuse('invalid_request', `tools: ${name} is a server tool. Choose another name.`);
  if (!t.ctx.mayRegister(name))
    return refuse('forbidden_tool', `tools: ${name} is not among the client_tools of the server’s configuration.`);
  const problem = t.ctx.refuseSchema(tool.input_schema);
  if (problem !== undefined) return refuse('invalid_request', `tools: the input_schema of ${name}: ${problem}`);
  const others = t.state.registrations.filter((r) => r.connectionId !== connectionId).flatMap((r) => r.tools);
  const twin = others.find((other) => other.name === name);
  if (twin && canonical(twin.input_schema) !== canonical(tool.input_schema))
    return refuse('invalid_request', `tools: another connection registered ${name} with another input_schema.`);
  return undefined;
}

export function unregisterTools(t: Transition, command: ToolsUnregister, sender: Sender): Reply {
  const mine = t.state.registrations.find((r) => r.connectionId === sender.connectionId);
  if (mine)
    replaceMine(t, mine.connectionId, {
      ...mine,
      tools: mine.tools.filter((tool) => !command.names.includes(tool.name)),
    });
  return { ok: true, appliedAtSeq: t.state.seq, result: {} };
}

function replaceMine(t: Transition, connectionId: string, mine: ToolRegistration): void {
  const others = t.state.registrations.filter((r) => r.connectionId !== connectionId);
  t.state = { ...t.state, registrations: mine.tools.length > 0 ? [...others, mine] : others };
}

/** JSON with sorted keys, so that two equal schemas are equal texts. */
export function canonical(value: unknown): string {
  return JSON.stringify(value, (_key, inner: unknown) =>
    inner !== null && typeof inner === 'object' && !Array.isArray(inner)
      ? Object.fromEntries(Object.entries(inner).sort(([a], [b]) => (a < b ? -1 : 1)))
      : inner,
  );
}
