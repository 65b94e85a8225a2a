/** Settings whose protection this version does not give: refused, so that nobody believes in it. */
import type { Mistake } from './config-error.js';
import type { Env, ReadFile } from './file-reader.js';
import { toPath } from './file-reader.js';

const BUDGET = 'is not available in this version: nothing would be held against it, and nobody stopped by it';

const VARIABLES: Readonly<Record<string, string>> = {
  REDIS_URL: 'is not available in this version; without it sessions are kept in MIDSTREAM_DATA_DIR',
};

export function findUnavailable(env: Env, { parsed }: ReadFile): Mistake[] {
  const found = Object.entries(VARIABLES)
    .filter(([name]) => env[name])
    .map(([path, message]) => ({ path, message }));
  if (parsed.org_budget !== undefined) found.push({ path: 'org_budget', message: BUDGET });
  for (const [name, role] of Object.entries(parsed.roles ?? {})) {
    if (role.budget !== undefined) found.push({ path: toPath(['roles', name, 'budget']), message: BUDGET });
  }
  return found;
}
