/** Settings whose protection this version does not give: refused, so that nobody believes in it. */
import type { Mistake } from './config-error.js';
import type { Env } from './file-reader.js';

const VARIABLES: Readonly<Record<string, string>> = {
  REDIS_URL: 'is not available in this version; without it sessions are kept in MIDSTREAM_DATA_DIR',
};

export function findUnavailable(env: Env): Mistake[] {
  return Object.entries(VARIABLES)
    .filter(([name]) => env[name])
    .map(([path, message]) => ({ path, message }));
}
