/** The agents of the configuration, and those that clients give inline. */
import { type Agent, type InlineAgent, MidstreamError } from '../../protocol/index.js';

/** An agent of the configuration, with every default filled in. */
export type NamedAgent = Omit<Agent, 'type' | 'name'>;

export interface Agents {
  readonly named: Readonly<Record<string, NamedAgent>>;
}

/** The agent of a new session. What an inline one leaves out comes from `default`. */
export function toAgent(agents: Agents, wanted: string | InlineAgent | undefined): Agent {
  const { named } = agents;
  const base = named['default'];
  if (!base) throw new MidstreamError('internal', 'The configuration has no agent named default.');
  if (typeof wanted !== 'object') {
    const name = wanted ?? 'default';
    const found = Object.hasOwn(named, name) ? named[name] : undefined;
    if (!found)
      throw new MidstreamError(
        'invalid_request',
        `agent: no agent named ${name}. There are: ${Object.keys(named).join(', ')}.`,
      );
    return { type: 'agent', name, ...found };
  }
  const { model, system, tools, max_tokens, max_steps, deadline_ms } = wanted;
  return {
    type: 'agent',
    name: 'inline',
    model: model ?? base.model,
    system: system ?? base.system,
    tools: tools ?? base.tools,
    max_tokens: max_tokens ?? base.max_tokens,
    max_steps: max_steps ?? base.max_steps,
    deadline_ms: deadline_ms ?? base.deadline_ms,
  };
}
