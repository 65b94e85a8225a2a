/** The configuration as the server uses it: read once at start from the environment and one file, and refused as a whole. */
import type { Limits } from '../../protocol/index.js';
import { type ApiKeyConfig, isLoopback, type JwtConfig, type ReadAuth, readAuth } from './auth-config.js';
import { didYouMean } from './closest-name.js';
import { ConfigError, type Mistake } from './config-error.js';
import { crossCheck, type RefuseSchema } from './cross-checks.js';
import { type Environment, envSchema, unknownVariables } from './env-schema.js';
import { type Env, NO_FILE, type ReadFile, readConfigFile, toMistakes } from './file-reader.js';
import {
  agentSchema,
  type FileConfig,
  type PriceConfig,
  type RetentionConfig,
  type RoleConfig,
} from './file-schema.js';
import { ENV_NAMES } from './reference.js';
import { Secret } from './secret.js';

export interface AgentConfig {
  readonly model: string;
  readonly system: string | undefined;
  readonly tools: readonly string[];
  readonly max_tokens: number;
  readonly max_steps: number;
  readonly deadline_ms: number;
}

export interface HttpToolConfig {
  readonly name: string;
  readonly description: string;
  readonly label: string | undefined;
  readonly input_schema: Readonly<Record<string, unknown>>;
  readonly http: {
    readonly url: string;
    readonly headers: Readonly<Record<string, Secret>>;
    readonly timeout_ms: number;
  };
  readonly idempotent: boolean;
}

/** What stands in the file keeps its names there; everything else is in groups. */
export interface Config {
  readonly listen: { readonly host: string; readonly port: number };
  readonly anthropic: { readonly apiKey: Secret | undefined; readonly baseUrl: string | undefined };
  readonly model: string;
  readonly scriptPath: string | undefined;
  readonly dataDir: string;
  /** Where nodes share what they share; undefined: there is one. */
  readonly redisUrl: Secret | undefined;
  /** How long a session is a node's when nobody renews that, and how often it is renewed, in milliseconds. */
  readonly leases: { readonly leaseMs: number; readonly renewMs: number };
  readonly fsync: 'group' | 'off';
  readonly drainMs: number;
  /** `remote`: `dev` on an address that others reach, because the operator said so. */
  readonly auth: {
    readonly mode: 'dev' | 'required';
    readonly remote: boolean;
    readonly jwt: JwtConfig | undefined;
    readonly apiKeys: readonly ApiKeyConfig[];
  };
  readonly origins: readonly string[];
  readonly trustedProxies: readonly string[];
  readonly logLevel: Environment['MIDSTREAM_LOG_LEVEL'];
  /** Holds at least `default`. */
  readonly agents: Readonly<Record<string, AgentConfig>>;
  readonly tools: readonly HttpToolConfig[];
  readonly clientTools: readonly string[] | undefined;
  readonly roles: Readonly<Record<string, RoleConfig>> | undefined;
  readonly orgBudget: FileConfig['org_budget'];
  readonly limits: Limits;
  readonly retention: Readonly<RetentionConfig>;
  /** By name of the model, in US dollars per million tokens: one price, or those that replace each other, in order. */
  readonly prices: Readonly<Record<string, PriceConfig | readonly PriceConfig[]>>;
}

export interface ConfigSource {
  readonly env: Env;
  /** The text of a file; throws as `readFileSync` does, with `code: 'ENOENT'` where there is none. */
  readonly readFile: (path: string) => string;
  /** Names of tools that the program itself brings, beside those of the file. */
  readonly ownTools?: readonly string[];
  readonly refuseSchema?: RefuseSchema;
  /** Says why a URL of Redis can't be used, without its secret; undefined where it can. */
  readonly refuseRedisUrl?: (url: string) => string | undefined;
}

/** Throws `ConfigError` with all mistakes at once. */
export function parseConfig(source: ConfigSource): Config {
  const { env: given, readFile, ownTools = [], refuseSchema, refuseRedisUrl } = source;
  const set = Object.fromEntries(
    Object.entries(given).filter(([, value]) => value !== undefined && value.trim() !== ''),
  );
  const { env, mistakes: inEnv } = parseEnv(set);
  const file = loadFile(set, env.MIDSTREAM_CONFIG, readFile);
  const auth = readAuth({ set, env, file, readFile });
  const { mode } = auth;
  const mistakes = [
    ...inEnv,
    ...checkHost(env, mode),
    ...file.mistakes,
    ...auth.mistakes,
    ...crossCheck({ env, file, mode, ownTools, refuseSchema }),
    ...checkRedis(env, refuseRedisUrl),
    ...checkLeases(env),
  ];
  if (mistakes.length > 0) throw new ConfigError(mistakes);
  return toConfig(env, file.parsed, auth);
}

const PREFIX = 'MIDSTREAM_';
const OWN_NAMES = ENV_NAMES.flatMap((name) => (name.startsWith(PREFIX) ? [name.slice(PREFIX.length)] : []));

/** Where a variable is wrong its default stands in, so that the rest can be checked. */
function parseEnv(set: Env): { env: Environment; mistakes: Mistake[] } {
  // A name that is far from all of ours may be somebody else's; a near one is a slip.
  const unknown = unknownVariables(set).flatMap((name) => {
    const meant = didYouMean(name.slice(PREFIX.length), OWN_NAMES);
    return meant === ''
      ? []
      : [{ path: name, message: `there is no such setting.${meant.replace('"', `"${PREFIX}`)}` }];
  });
  const result = envSchema.safeParse(set);
  if (result.success) return { env: result.data, mistakes: unknown };
  const wrong = new Set(result.error.issues.map((issue) => String(issue.path[0])));
  const rest = Object.fromEntries(Object.entries(set).filter(([name]) => !wrong.has(name)));
  const mistakes = result.error.issues.flatMap((issue) => toMistakes({ ...issue, path: issue.path.slice(0, 1) }));
  return { env: envSchema.parse(rest), mistakes: [...mistakes, ...unknown] };
}

function loadFile(set: Env, path: string, readFile: (path: string) => string): ReadFile {
  try {
    return readConfigFile(path, readFile(path), set);
  } catch (error) {
    const code = (error as NodeJS.ErrnoException).code;
    if (code === 'ENOENT' && set['MIDSTREAM_CONFIG'] === undefined) return NO_FILE;
    if (code === undefined) throw error;
    const message = code === 'ENOENT' ? `there is no file ${path}` : `${path} can't be read (${code})`;
    return { ...NO_FILE, mistakes: [{ path: 'MIDSTREAM_CONFIG', message }] };
  }
}

function checkRedis({ REDIS_URL: url }: Environment, refuse: ConfigSource['refuseRedisUrl']): Mistake[] {
  const message = url && refuse?.(url.reveal());
  return message === undefined ? [] : [{ path: 'REDIS_URL', message }];
}

const toLeaseTimes = ({ MIDSTREAM_LEASE_MS: leaseMs, MIDSTREAM_LEASE_RENEW_MS: renewMs }: Environment) => ({
  leaseMs,
  renewMs: renewMs ?? 0.3 * leaseMs,
});

/** One renewal may be lost, and the lease lives. */
function checkLeases(env: Environment): Mistake[] {
  const { leaseMs, renewMs } = toLeaseTimes(env);
  if (renewMs <= leaseMs / 2) return [];
  const message = `is more than half of MIDSTREAM_LEASE_MS, which is ${leaseMs}`;
  return [{ path: 'MIDSTREAM_LEASE_RENEW_MS', message }];
}

function checkHost(env: Environment, mode: 'dev' | 'required'): Mistake[] {
  if (mode !== 'dev' || env.MIDSTREAM_DEV_REMOTE || isLoopback(env.HOST)) return [];
  return [
    {
      path: 'HOST',
      message: `"${env.HOST}" can be reached by others, and in dev everybody is an administrator; use 127.0.0.1, or set MIDSTREAM_DEV_REMOTE=1 where something else keeps strangers out`,
    },
  ];
}

function toConfig(env: Environment, file: FileConfig, { mode, jwt }: ReadAuth): Config {
  const agents = Object.entries({ default: agentSchema.parse({}), ...file.agents }).map(([name, agent]) => [
    name,
    { ...agent, model: agent.model ?? env.MIDSTREAM_MODEL, system: agent.system },
  ]);
  return {
    listen: { host: env.HOST, port: env.PORT },
    anthropic: { apiKey: env.ANTHROPIC_API_KEY, baseUrl: env.ANTHROPIC_BASE_URL },
    model: env.MIDSTREAM_MODEL,
    scriptPath: env.MIDSTREAM_SCRIPT,
    dataDir: env.MIDSTREAM_DATA_DIR,
    redisUrl: env.REDIS_URL,
    leases: toLeaseTimes(env),
    fsync: env.MIDSTREAM_FSYNC,
    drainMs: env.MIDSTREAM_DRAIN_MS,
    auth: { mode, remote: mode === 'dev' && !isLoopback(env.HOST), jwt, apiKeys: file.api_keys },
    origins: env.MIDSTREAM_ORIGINS,
    trustedProxies: env.MIDSTREAM_TRUSTED_PROXIES,
    logLevel: env.MIDSTREAM_LOG_LEVEL,
    agents: Object.fromEntries(agents),
    tools: file.tools.map(toHttpTool),
    clientTools: file.client_tools,
    roles: file.roles,
    orgBudget: file.org_budget,
    limits: file.limits,
    retention: file.retention,
    prices: file.prices,
  };
}

function toHttpTool({ label, http, ...tool }: FileConfig['tools'][number]): HttpToolConfig {
  const headers = Object.entries(http.headers).map(([name, value]) => [name, new Secret(value)]);
  return { ...tool, label, http: { ...http, headers: Object.fromEntries(headers) } };
}
