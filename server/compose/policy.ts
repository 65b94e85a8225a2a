/** What the configuration says of agents, roles and prices, in the words of the session room. */
import type { Config } from '../config/index.js';
import { OPEN_POLICY, type Policy } from '../core/permissions.js';
import { type ModelFacts, toModelFacts } from '../core/prices.js';
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

/** What the configuration says of a model's price comes before what we know. */
export function factsOf(config: Config, model: string): ModelFacts {
  const known = toModelFacts(model);
  const price = Object.hasOwn(config.prices, model) ? config.prices[model] : undefined;
  if (!price) return known;
  const perToken = (usdPerMillion: number): number => Math.round(usdPerMillion * 1_000);
  const input = perToken(price.input);
  return {
    ...known,
    isPriced: true,
    price: {
      input,
      cacheWrite: price.cache_write === undefined ? Math.ceil(input * 1.25) : perToken(price.cache_write),
      cacheRead: price.cache_read === undefined ? input : perToken(price.cache_read),
      output: perToken(price.output),
    },
  };
}
