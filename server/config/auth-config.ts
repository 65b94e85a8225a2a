/** Who may ask: the sources of credentials, checked against each other. */
import type { Mistake } from './config-error.js';
import type { Environment } from './env-schema.js';
import { type Env, isRecord, type ReadFile, toPath } from './file-reader.js';
import type { FileConfig } from './file-schema.js';
import type { Secret } from './secret.js';

export type ApiKeyConfig = FileConfig['api_keys'][number];

export interface JwtConfig {
  readonly keys:
    | { readonly kind: 'url'; readonly url: string }
    | { readonly kind: 'file'; readonly keySet: unknown }
    | { readonly kind: 'secret'; readonly secret: Secret };
  readonly issuer: string;
  readonly audience: string;
  readonly rolesClaim: string;
  readonly orgClaim: string;
  /** For tokens without an organisation; undefined where the operator named the claim, and each token must have it. */
  readonly defaultOrg: string | undefined;
}

export interface AuthSource {
  /** The variables that are set. */
  readonly set: Env;
  readonly env: Environment;
  readonly file: ReadFile;
  readonly readFile: (path: string) => string;
}

export interface ReadAuth {
  readonly mode: 'dev' | 'required';
  readonly jwt: JwtConfig | undefined;
  readonly mistakes: readonly Mistake[];
}

const SOURCES = ['MIDSTREAM_JWKS_URL', 'MIDSTREAM_JWKS_FILE', 'MIDSTREAM_JWT_SECRET'] as const;
const EXPECTED = ['MIDSTREAM_JWT_ISSUER', 'MIDSTREAM_JWT_AUDIENCE'] as const;
const DEFAULT_ORG = 'default';

export function readAuth({ set, env, file, readFile }: AuthSource): ReadAuth {
  const sources = SOURCES.filter((name) => set[name]);
  const mode = env.MIDSTREAM_AUTH ?? (sources.length > 0 || hasKeys(file) ? 'required' : 'dev');
  const mistakes: Mistake[] = [...checkApiKeys(file)];
  if (sources.length > 1)
    mistakes.push({ path: sources[1] as string, message: `set it or ${sources[0]}, not both: tokens have one source` });
  for (const name of EXPECTED) {
    if (sources.length > 0 && !set[name])
      mistakes.push({
        path: name,
        message: `is needed with ${sources[0]}: tokens made for others must not count here`,
      });
    if (sources.length === 0 && set[name])
      mistakes.push({ path: name, message: `does nothing without one of ${SOURCES.join(', ')}` });
  }
  if (mode === 'required' && sources.length === 0 && !hasKeys(file))
    mistakes.push({
      path: 'MIDSTREAM_AUTH',
      message: `required lets nobody in without one of ${SOURCES.join(', ')}, or api_keys in the file`,
    });
  if (env.MIDSTREAM_JWKS_URL !== undefined && !isPrivateChannel(env.MIDSTREAM_JWKS_URL))
    mistakes.push({
      path: 'MIDSTREAM_JWKS_URL',
      message: 'must be https: over http, whoever is on the way could put in keys of his own',
    });
  const keys = readKeys(env, readFile, mistakes);
  return { mode, jwt: keys && toJwtConfig(keys, set, env), mistakes };
}

/** Present, right or wrong: with any of them `MIDSTREAM_AUTH` is `required` by default. */
const hasKeys = ({ raw }: ReadFile): boolean => Array.isArray(raw['api_keys']) && raw['api_keys'].length > 0;

function readKeys(
  env: Environment,
  readFile: (path: string) => string,
  mistakes: Mistake[],
): JwtConfig['keys'] | undefined {
  const { MIDSTREAM_JWKS_URL: url, MIDSTREAM_JWKS_FILE: path, MIDSTREAM_JWT_SECRET: secret } = env;
  if (url !== undefined) return { kind: 'url', url };
  if (secret !== undefined) return { kind: 'secret', secret };
  if (path === undefined) return undefined;
  try {
    const keySet: unknown = JSON.parse(readFile(path));
    const found = refuseKeySet(keySet);
    if (found !== undefined) mistakes.push({ path: 'MIDSTREAM_JWKS_FILE', message: `${path} ${found}` });
    return { kind: 'file', keySet };
  } catch (error) {
    const { code } = error as NodeJS.ErrnoException;
    const message = code === undefined ? `${path} is not JSON` : `${path} can't be read (${code})`;
    mistakes.push({ path: 'MIDSTREAM_JWKS_FILE', message });
    return undefined;
  }
}

/** What an operator may have put there in error; whether the keys can be used is for who uses them. */
function refuseKeySet(keySet: unknown): string | undefined {
  const keys = isRecord(keySet) ? keySet['keys'] : undefined;
  if (!Array.isArray(keys) || keys.length === 0) return 'must be a JSON Web Key Set: {"keys": [...]}';
  for (const key of keys as unknown[]) {
    if (!isRecord(key)) return 'holds a key that is no JSON object';
    if (key['kty'] === 'oct') return 'holds a secret ("oct"); use MIDSTREAM_JWT_SECRET for one';
    if (key['d'] !== undefined) return 'holds a private key; only the public part belongs here';
  }
  return undefined;
}

function toJwtConfig(keys: JwtConfig['keys'], set: Env, env: Environment): JwtConfig {
  return {
    keys,
    issuer: env.MIDSTREAM_JWT_ISSUER ?? '',
    audience: env.MIDSTREAM_JWT_AUDIENCE ?? '',
    rolesClaim: env.MIDSTREAM_JWT_ROLES_CLAIM,
    orgClaim: env.MIDSTREAM_JWT_ORG_CLAIM,
    defaultOrg: set['MIDSTREAM_JWT_ORG_CLAIM'] ? undefined : DEFAULT_ORG,
  };
}

/** On the parsed keys: ids and hashes name one key each, and roles exist. */
function checkApiKeys({ parsed }: ReadFile): Mistake[] {
  const known = Object.keys(parsed.roles ?? { admin: {} });
  const seen = new Set<string>();
  return parsed.api_keys.flatMap(({ id, sha256, roles }, index) => {
    const twice = (['id', 'sha256'] as const).filter((field) => seen.has(field === 'id' ? `id ${id}` : sha256));
    seen.add(`id ${id}`).add(sha256);
    return [
      ...twice.map((field) => ({ path: toPath(['api_keys', index, field]), message: 'is there twice' })),
      ...roles
        .map((role, at) => ({ role, path: toPath(['api_keys', index, 'roles', at]) }))
        .filter(({ role }) => !known.includes(role))
        .map(({ role, path }) => ({ path, message: `there is no role "${role}"` })),
    ];
  });
}

/** https, or a connection that doesn't leave this machine. */
function isPrivateChannel(url: string): boolean {
  const { protocol, hostname } = new URL(url);
  return protocol === 'https:' || isLoopback(hostname);
}

export const isLoopback = (host: string): boolean => /^(localhost|127(\.\d{1,3}){3}|\[?::1\]?)$/i.test(host);
