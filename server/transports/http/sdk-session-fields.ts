/** Fields that the official SDK sends when it creates a session: taken where they ask for nothing that this server doesn't do. */
import { MidstreamError } from '../../../protocol/index.js';

/** What each must be empty for. */
const REFUSED_UNLESS_EMPTY: Readonly<Record<string, string>> = {
  budget: 'budgets belong to roles',
  initial_events: 'send them to /v1/sessions/{id}/events',
  resources: 'this server mounts nothing',
  vault_ids: 'this server has no vaults',
};

const isEmpty = (value: unknown): boolean =>
  value === null || value === undefined || (Array.isArray(value) && value.length === 0);

/** The SDK may name an agent by `{ type: 'agent', id, version? }`; here an agent's name is its id. */
function toAgentName(agent: unknown): unknown {
  const { type, id } = (agent ?? {}) as { type?: unknown; id?: unknown };
  return type === 'agent' && typeof id === 'string' ? id : agent;
}

/** The body in this server's own fields. */
export function withoutSdkFields(body: object): object {
  const own: [string, unknown][] = [];
  for (const [field, value] of Object.entries(body)) {
    const reason = Object.hasOwn(REFUSED_UNLESS_EMPTY, field) ? REFUSED_UNLESS_EMPTY[field] : undefined;
    if (reason !== undefined) {
      if (!isEmpty(value))
        throw new MidstreamError('invalid_request', `${field}: must be left out or empty; ${reason}`);
    } else if (field === 'agent') own.push([field, toAgentName(value)]);
    else if (field !== 'environment_id') own.push([field, value]);
  }
  return Object.fromEntries(own);
}
