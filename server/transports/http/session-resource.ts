/** A session as REST shows it: with the fields that the official SDK's type has and this server has no use for. */
import type { Session } from '../../../protocol/index.js';

/** Constants of what a session here never has. */
const BESIDE_SESSION = {
  archived_at: null,
  budget: null,
  deployment_id: null,
  environment_id: 'env_midstream',
  outcome_evaluations: [],
  resources: [],
  vault_ids: [],
};

const BESIDE_AGENT = {
  description: null,
  execution_identity: { type: 'service_account' },
  mcp_servers: [],
  multiagent: null,
  skills: [],
  version: 1,
};

export function toSessionResource(session: Session): Record<string, unknown> {
  const durationMs = Date.parse(session.updated_at) - Date.parse(session.created_at);
  return {
    ...session,
    agent: { ...session.agent, id: session.agent.name, ...BESIDE_AGENT },
    ...BESIDE_SESSION,
    stats: { duration_seconds: Math.max(0, durationMs / 1_000) },
  };
}
