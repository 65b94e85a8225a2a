/** What the configuration says of agents and roles, in the words of the session room. */
import type { Config } from '../config/index.js';
import { OPEN_POLICY, type Policy } from '../core/permissions.js';
import type { ModelKind } from './model.js';

const SCRIPTED = 'scripted';

/** The scripted model goes by its own name, so that nobody takes its answers, or its price, for a real one's. */
export function toNamedAgents(config: Config, kind: ModelKind) {
  const agents = Object.entries(config.agents).map(([name, agent]) => [
    name,
    {
      ...agent,
      system: agent.system ?? null,
      tools: [...agent.tools],
      model: kind === 'scripted' ? SCRIPTED : agent.model,
    },
  ]);
  return Object.fromEntries(agents);
}

/** Roles name real models; the scripted one, which costs nothing, is open to all of them. */
export function toPolicy(config: Config, kind: ModelKind): Policy {
  // Roles come from tokens: one named like a property that every object has must find nothing.
  return Object.assign(Object.create(null) as Policy, toRoles(config, kind));
}

function toRoles({ roles }: Config, kind: ModelKind): Policy {
  if (!roles) return OPEN_POLICY;
  if (kind !== 'scripted') return roles;
  const open = Object.entries(roles).map(([name, role]) => [
    name,
    { ...role, models: [...(role.models ?? []), SCRIPTED] },
  ]);
  return Object.fromEntries(open) as Policy;
}
