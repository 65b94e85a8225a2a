/** Settings whose protection this version does not give: refused, so that nobody believes in it. */
import type { Mistake } from './config-error.js';
import type { Env, ReadFile } from './file-reader.js';

const CREDENTIALS = 'is not available in this version, which knows only MIDSTREAM_AUTH=dev; it would protect nothing';

const VARIABLES: Readonly<Record<string, string>> = {
  REDIS_URL: 'is not available in this version; without it sessions are kept in MIDSTREAM_DATA_DIR',
  MIDSTREAM_JWKS_URL: CREDENTIALS,
  MIDSTREAM_JWKS_FILE: CREDENTIALS,
  MIDSTREAM_JWT_SECRET: CREDENTIALS,
  MIDSTREAM_JWT_ISSUER: CREDENTIALS,
  MIDSTREAM_JWT_AUDIENCE: CREDENTIALS,
};

/** What authenticates somebody, present or not; with any of them `MIDSTREAM_AUTH` is `required` by default. */
export const hasCredentials = (env: Env, { parsed }: ReadFile): boolean =>
  Boolean(env['MIDSTREAM_JWKS_URL'] || env['MIDSTREAM_JWKS_FILE'] || env['MIDSTREAM_JWT_SECRET']) ||
  parsed.api_keys.length > 0;

export function findUnavailable(env: Env, { parsed }: ReadFile): Mistake[] {
  const found = Object.entries(VARIABLES)
    .filter(([name]) => env[name])
    .map(([path, message]) => ({ path, message }));
  if (env['MIDSTREAM_AUTH'] === 'required') found.push({ path: 'MIDSTREAM_AUTH', message: `required ${CREDENTIALS}` });
  if (parsed.api_keys.length > 0) found.push({ path: 'api_keys', message: CREDENTIALS });
  return found;
}
