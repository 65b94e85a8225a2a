/** Puts the server together: the one place that knows every adapter by name. */
import { createServer, type Server } from 'node:http';
import type { AddressInfo } from 'node:net';
import { createInputValidator } from './adapters/ajv/index.js';
import { createAnthropicModel } from './adapters/anthropic/index.js';
import { createApiKeyVerifier, createCredentialVerifier } from './adapters/api-keys/index.js';
import { createDevVerifier, LOCAL } from './adapters/dev/index.js';
import { openEmbeddedStore } from './adapters/embedded/index.js';
import { createFunctionTools, type FunctionTool } from './adapters/function-tools/index.js';
import { createHttpTools } from './adapters/http-tools/index.js';
import { createJwtVerifier, fixedKeys, type KeySource, RemoteKeys, secretKey } from './adapters/jose/index.js';
import { createScriptedModel, type Script } from './adapters/scripted/index.js';
import { createNewId, systemClock } from './adapters/system/index.js';
import { createLogger } from './adapters/winston/index.js';
import type { Config, JwtConfig } from './config/index.js';
import { matchesAny } from './core/patterns.js';
import { OPEN_POLICY, type Policy } from './core/permissions.js';
import { FREE_MODEL, type ModelFacts, toModelFacts } from './core/prices.js';
import type { Clock, Timer } from './ports/clock.js';
import type { Logger } from './ports/logger.js';
import type { Model } from './ports/model.js';
import type { TokenVerifier } from './ports/token-verifier.js';
import { createPolicyReload } from './policy-reload.js';
import { createAuditTrail } from './session/audit-trail.js';
import { createDirectory, type Directory } from './session/directory.js';
import { createSessionRoom } from './session/session-room.js';
import { createToolCatalog } from './session/tool-catalog.js';
import { createHttpApp, type Page, type Probes } from './transports/http/index.js';
import { createClientAddress } from './transports/client-address.js';
import { createOriginPolicy } from './transports/origin-policy.js';
import { createSseStreams } from './transports/sse/index.js';
import { createWsTransport } from './transports/ws/index.js';

export interface AppOverrides {
  /** Server tools as functions, beside the HTTP tools of the configuration. */
  readonly tools?: readonly FunctionTool[];
  /** In place of the model that the configuration names. */
  readonly model?: Model;
  /** For the scripted model, where there is no key. */
  readonly script?: Script;
  readonly logger?: Logger;
  readonly clock?: Clock;
  /** How long an approval may take; 10 minutes by default. */
  readonly approvalTimeoutMs?: number;
  readonly version?: string;
  readonly page?: Page;
}

export interface App {
  /** Where it listens: `http://127.0.0.1:8080`. */
  readonly url: string;
  readonly port: number;
  readonly modelKind: 'anthropic' | 'scripted' | 'given';
  /**
   * Takes the roles of another configuration, or of the one that the function reads: all of them or none. What is
   * decided from then on is decided by them; what a running turn was offered stays. Everything else of a configuration
   * needs a new start. A configuration with mistakes (`ConfigError`) changes nothing; all of them are logged. Returns
   * whether the roles were taken; either way it is in the audit.
   */
  reload(source: Config | (() => Config)): boolean;
  /**
   * Ends service: no new turns, clients are told to go, running turns may finish within `drainMs`, then are cut.
   * What is in the store goes on at the next start. Calling it again waits for the same end.
   */
  close(drainMs?: number): Promise<void>;
}

const SCRIPTED = 'scripted';
const RETENTION_SWEEP_MS = 3_600_000;
const DAY_MS = 86_400_000;
const RECONNECT_AFTER_MS = 1_000;

/** Opens the store, takes up unfinished turns and listens. Rejects where the store or the address can't be had. */
export async function createApp(config: Config, overrides: AppOverrides = {}): Promise<App> {
  const { limits } = config;
  const logger = overrides.logger ?? createLogger({ level: config.logLevel });
  const clock = overrides.clock ?? systemClock;
  const newId = createNewId();
  const validator = createInputValidator();
  const httpTools = createHttpTools(config.tools, { logger });
  const tools = createToolCatalog([httpTools, createFunctionTools(overrides.tools ?? [])]);
  const { model, kind: modelKind, close: closeModel } = chooseModel(config, overrides, logger);
  const directory = createDirectory(config.auth.mode === 'dev' ? [LOCAL] : []);
  const { verifier, keys } = createVerifier(config, directory, clock, logger);

  const { dataDir, fsync } = config;
  const store = await openEmbeddedStore({ dataDir, fsync, logger, now: () => clock.now() });
  const audit = createAuditTrail(store.audit, logger);
  const room = createSessionRoom({
    log: store.log,
    sessions: store.sessions,
    leases: store.leases,
    audit,
    calls: store.calls,
    ledger: store.ledger,
    budgets: { roles: config.roles, org: config.orgBudget },
    model,
    tools,
    validator,
    clock,
    newId,
    random: Math.random,
    logger,
    limits,
    agents: { named: toNamedAgents(config, modelKind) },
    policy: toPolicy(config, modelKind),
    directory,
    factsOf: modelKind === 'scripted' ? () => FREE_MODEL : (name) => factsOf(config, name),
    mayRegister: (name) =>
      (config.clientTools === undefined && !verifier.required) || matchesAny(config.clientTools ?? [], name),
    approvalTimeoutMs: overrides.approvalTimeoutMs ?? 600_000,
  });

  const policy = createOriginPolicy({
    origins: config.origins,
    hosts: verifier.required || config.auth.remote ? 'any' : 'loopback',
  });
  const streams = createSseStreams({ clock });
  const probes: Probes = { version: overrides.version ?? '0.0.0', ready: () => readiness() };
  const readiness = async (): ReturnType<Probes['ready']> => {
    const storeCheck = await store.sessions.ping().then(
      () => ({ ok: true, detail: `embedded store in ${config.dataDir}` }),
      (error: unknown) => ({ ok: false, detail: String(error) }),
    );
    const drain = { ok: !room.api.draining, detail: room.api.draining ? 'going down' : 'serving' };
    const auth = verifier.required
      ? (keys?.status() ?? { ok: true, detail: 'API keys' })
      : {
          ok: true,
          detail: config.auth.remote ? 'dev: EVERYBODY who reaches this address is an administrator' : 'dev',
        };
    const checks = { store: storeCheck, upstream: model.status(), drain, auth };
    return { ok: Object.values(checks).every((check) => check.ok), checks };
  };
  const wsTransport = createWsTransport({
    api: room.api,
    verifier,
    audit,
    clock,
    logger,
    limits,
    newId,
    policy,
    clientAddress: createClientAddress(config.trustedProxies),
  });
  const httpApp = createHttpApp({
    api: room.api,
    usage: room.usage,
    verifier,
    audit,
    clock,
    logger,
    limits,
    newId,
    policy,
    streams,
    probes,
    ...(overrides.page && { page: overrides.page }),
  });
  const server = createServer(httpApp);
  server.on('upgrade', (req, socket, head) => wsTransport.handleUpgrade(req, socket, head));

  await room.recover();
  try {
    await listen(server, config.listen.host, config.listen.port);
  } catch (error) {
    keys?.close();
    await room.close();
    await store.close();
    throw error;
  }
  const sweep = scheduleSweep(config, clock, room.sweep, logger);
  const { port } = server.address() as AddressInfo;
  const url = `http://${toUrlHost(config.listen.host)}:${port}`;

  const shutDown = async (drainMs: number): Promise<void> => {
    sweep?.cancel();
    keys?.close();
    room.beginDrain();
    wsTransport.drain(RECONNECT_AFTER_MS);
    await room.drained(drainMs);
    streams.close();
    const closed = new Promise<void>((resolve) => server.close(() => resolve()));
    await wsTransport.close();
    server.closeIdleConnections();
    const lastCall = clock.schedule(1_000, () => server.closeAllConnections());
    await closed;
    lastCall.cancel();
    await room.close();
    await store.close();
    await closeModel?.();
    await httpTools.close();
  };
  const reload = createPolicyReload({
    hasRoles: config.roles !== undefined,
    apply: (next) => room.setPolicy(toPolicy(next, modelKind), { roles: next.roles, org: next.orgBudget }),
    audit,
    clock,
    logger,
  });
  let closing: Promise<void> | undefined;
  return {
    url,
    port,
    modelKind,
    reload,
    close(drainMs = config.drainMs) {
      closing ??= shutDown(drainMs);
      return closing;
    },
  };
}

interface ChosenModel {
  readonly model: Model;
  readonly kind: App['modelKind'];
  readonly close?: () => Promise<void>;
}

function chooseModel(config: Config, overrides: AppOverrides, logger: Logger): ChosenModel {
  if (overrides.model) return { model: overrides.model, kind: 'given' };
  const { apiKey, baseUrl } = config.anthropic;
  if (!apiKey || overrides.script) {
    const model = createScriptedModel(overrides.script ? { script: overrides.script } : {});
    return { model, kind: 'scripted' };
  }
  const { limits } = config;
  const model = createAnthropicModel({ apiKey: apiKey.reveal(), ...(baseUrl && { baseURL: baseUrl }), limits, logger });
  return { model, kind: 'anthropic', close: () => model.close() };
}

interface ChosenVerifier {
  readonly verifier: TokenVerifier;
  /** Where tokens are verified: what with. */
  readonly keys?: KeySource;
}

function createVerifier({ auth }: Config, directory: Directory, clock: Clock, logger: Logger): ChosenVerifier {
  if (auth.mode === 'dev') return { verifier: createDevVerifier() };
  const { jwt, apiKeys } = auth;
  const keys = jwt && createKeySource(jwt, clock, logger);
  const chosen = createCredentialVerifier({
    token: jwt && keys && createJwtVerifier({ ...jwt, keys, claims: toClaimRules(jwt), clock, logger }),
    apiKey: apiKeys.length > 0 ? createApiKeyVerifier(apiKeys) : undefined,
  });
  const verifier: TokenVerifier = {
    required: true,
    // Whatever it was asked for, the roles of the last credential verified are the ones that count (TOOL-1).
    async verify(credential) {
      const identity = await chosen.verify(credential);
      directory.saw(identity.principal);
      return identity;
    },
  };
  return { verifier, ...(keys && { keys }) };
}

const toClaimRules = ({ rolesClaim, orgClaim, defaultOrg }: JwtConfig) => ({
  names: { roles: rolesClaim, org: orgClaim },
  defaultOrg,
});

function createKeySource({ keys }: JwtConfig, clock: Clock, logger: Logger): KeySource {
  if (keys.kind === 'file') return fixedKeys(keys.keySet);
  if (keys.kind === 'secret') return secretKey(keys.secret.reveal());
  const remote = new RemoteKeys({ url: keys.url, clock, logger });
  // Not waited for: an issuer that is away must not keep a server from starting; `/ready` tells.
  void remote.start();
  return remote;
}

/** The scripted model goes by its own name, so that nobody takes its answers, or its price, for a real one's. */
function toNamedAgents(config: Config, kind: App['modelKind']) {
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
function toPolicy(config: Config, kind: App['modelKind']): Policy {
  // Roles come from tokens: one named like a property that every object has must find nothing.
  return Object.assign(Object.create(null) as Policy, toRoles(config, kind));
}

function toRoles({ roles }: Config, kind: App['modelKind']): Policy {
  if (!roles) return OPEN_POLICY;
  if (kind !== 'scripted') return roles;
  const open = Object.entries(roles).map(([name, role]) => [
    name,
    { ...role, models: [...(role.models ?? []), SCRIPTED] },
  ]);
  return Object.fromEntries(open) as Policy;
}

/** What the configuration says of a model's price comes before what we know. */
function factsOf(config: Config, model: string): ModelFacts {
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

function listen(server: Server, host: string, port: number): Promise<void> {
  return new Promise((resolve, reject) => {
    server.once('error', reject);
    server.listen(port, host, () => {
      server.off('error', reject);
      resolve();
    });
  });
}

function scheduleSweep(
  config: Config,
  clock: Clock,
  sweep: (cut: { sessionsBefore?: number; eventsBefore?: number; auditBefore?: number }) => Promise<void>,
  logger: Logger,
): Timer | undefined {
  const { session_days: sessionDays, event_days: eventDays, audit_days: auditDays } = config.retention;
  if (sessionDays === undefined && eventDays === undefined && auditDays === undefined) return undefined;
  let timer: Timer;
  const run = async (): Promise<void> => {
    const now = clock.now();
    await sweep({
      ...(sessionDays !== undefined && { sessionsBefore: now - sessionDays * DAY_MS }),
      ...(eventDays !== undefined && { eventsBefore: now - eventDays * DAY_MS }),
      ...(auditDays !== undefined && { auditBefore: now - auditDays * DAY_MS }),
    }).catch((error: unknown) => logger.error('the retention sweep failed', { error }));
    timer = clock.schedule(RETENTION_SWEEP_MS, () => void run());
  };
  timer = clock.schedule(0, () => void run());
  return { cancel: () => timer.cancel() };
}

const toUrlHost = (host: string): string => (host.includes(':') ? `[${host}]` : host);
