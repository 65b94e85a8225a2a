/** Puts the server together: the one place that knows every adapter by name. */
import { createServer, type Server } from 'node:http';
import type { AddressInfo } from 'node:net';
import { createInputValidator } from './adapters/ajv/index.js';
import { LOCAL } from './adapters/dev/index.js';
import { createFunctionTools, type FunctionTool } from './adapters/function-tools/index.js';
import { createHttpTools } from './adapters/http-tools/index.js';
import { createPrometheusMetrics } from './adapters/prometheus/index.js';
import { createNewId, newTicket, systemClock } from './adapters/system/index.js';
import { createLogger } from './adapters/winston/index.js';
import { chooseModel, type ModelKind, type ModelOverrides } from './compose/model.js';
import { toNamedAgents, toPolicy } from './compose/policy.js';
import { createFactsOf } from './compose/prices.js';
import { scheduleSweep } from './compose/retention.js';
import { openStores, type StoreCheck } from './compose/stores.js';
import { createVerifier } from './compose/verifier.js';
import type { Config } from './config/index.js';
import { matchesAny } from './core/patterns.js';
import { FREE_MODEL } from './core/prices.js';
import { createPolicyReload } from './policy-reload.js';
import type { Clock } from './ports/clock.js';
import type { Logger } from './ports/logger.js';
import { createAuditTrail } from './session/audit-trail.js';
import { createCheckedVerifier } from './session/checked-verifier.js';
import { openDirectory } from './session/directory.js';
import { measureApi, measurePorts } from './session/measured/index.js';
import { createSessionRoom } from './session/session-room.js';
import { TicketDesk } from './session/ticket-desk.js';
import { createToolCatalog } from './session/tool-catalog.js';
import { createClientAddress, createIsProxy } from './transports/client-address.js';
import { createHttpApp, type Page, type Probes } from './transports/http/index.js';
import { createOriginPolicy } from './transports/origin-policy.js';
import { boundSilentConnections, SILENCE } from './transports/silent-connections.js';
import { createSseStreams } from './transports/sse/index.js';
import { createTrafficMeter } from './transports/traffic-meter.js';
import { createWsTransport } from './transports/ws/index.js';

export interface AppOverrides extends ModelOverrides {
  /** Server tools as functions, beside the HTTP tools of the configuration. */
  readonly tools?: readonly FunctionTool[];
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
  readonly modelKind: ModelKind;
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

/** What has begun waits for a store at least so long, and as long as leases live, in milliseconds. */
const STORE_PATIENCE_MS = 30_000;
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
  const stores = await openStores(config, clock, logger);
  const known = config.auth.mode === 'dev' ? [LOCAL] : [];
  const directory = await openDirectory({ store: stores.directory, logger, known }).catch(async (error: unknown) => {
    await stores.close();
    throw error;
  });
  const tickets = new TicketDesk({ store: stores.tickets, directory, newTicket, clock, logger });
  const { verifier: believed, keys } = createVerifier(config, clock, logger);
  const verifier = createCheckedVerifier(believed, directory);
  const metrics = createPrometheusMetrics();
  const stopwatch = (): number => performance.now();
  const trail = createAuditTrail(stores.audit, logger);
  const ports = measurePorts({ ...stores, audit: trail, model, tools }, metrics, stopwatch);
  const { audit } = ports;
  const room = createSessionRoom({
    ...stores,
    ...ports,
    metrics,
    limitsUsers: verifier.required,
    budgets: { roles: config.roles, org: config.orgBudget },
    validator,
    clock,
    newId,
    random: Math.random,
    logger,
    limits,
    agents: { named: toNamedAgents(config, modelKind) },
    policy: toPolicy(config, modelKind),
    directory,
    factsOf: modelKind === 'scripted' ? () => FREE_MODEL : createFactsOf(config.prices),
    mayRegister: (name) =>
      (config.clientTools === undefined && !verifier.required) || matchesAny(config.clientTools ?? [], name),
    approvalTimeoutMs: overrides.approvalTimeoutMs ?? 600_000,
    storePatienceMs: Math.max(STORE_PATIENCE_MS, config.leases.leaseMs),
  });

  const api = measureApi(room.api, metrics, stopwatch);
  const policy = createOriginPolicy({
    origins: config.origins,
    hosts: verifier.required || config.auth.remote ? 'any' : 'loopback',
  });
  const clientAddress = createClientAddress(config.trustedProxies);
  const streams = createSseStreams({ clock });
  const probes: Probes = { version: overrides.version ?? '0.0.0', ready: () => readiness() };
  const readiness = async (): ReturnType<Probes['ready']> => {
    const drain = { ok: !api.draining, detail: api.draining ? 'going down' : 'serving' };
    const blind = directory.isCurrent ? undefined : { ok: false, detail: 'the store can’t say who was revoked' };
    const auth = verifier.required
      ? (blind ?? keys?.status() ?? { ok: true, detail: 'API keys' })
      : {
          ok: true,
          detail: config.auth.remote ? 'dev: EVERYBODY who reaches this address is an administrator' : 'dev',
        };
    const checks = { ...(await stores.check()), log: ports.log.check(), upstream: model.status(), drain, auth };
    return { ok: Object.values(checks).every((check) => check.ok), checks };
  };
  const wsTransport = createWsTransport({
    api,
    verifier,
    tickets,
    revoked: directory,
    audit,
    clock,
    logger,
    limits,
    newId,
    policy,
    clientAddress,
  });
  metrics.gauge('sockets_open', () => wsTransport.connectionCount);
  metrics.gauge('event_streams_open', () => streams.streamCount);
  metrics.gauge('store_up', async () => toUps(await stores.check()));
  const httpApp = createHttpApp({
    api,
    usage: room.usage,
    revocations: room.revocations,
    verifier,
    tickets,
    revoked: directory,
    audit,
    clock,
    logger,
    limits,
    newId,
    policy,
    clientAddress,
    streams,
    probes,
    metrics,
    ...(overrides.page && { page: overrides.page }),
  });
  const server = createServer({ headersTimeout: SILENCE.headersMs, connectionsCheckingInterval: 2_000 }, httpApp);
  const traffic = createTrafficMeter(server);
  metrics.total('sent_bytes', () => traffic.sentBytes);
  metrics.total('received_bytes', () => traffic.receivedBytes);
  boundSilentConnections(server, createIsProxy(config.trustedProxies));
  server.on('upgrade', (req, socket, head) => wsTransport.handleUpgrade(req, socket, head));

  await room.recover();
  try {
    await listen(server, config.listen.host, config.listen.port);
  } catch (error) {
    keys?.close();
    await room.close();
    await directory.close();
    await stores.close();
    throw error;
  }
  const sweep = scheduleSweep({
    retention: config.retention,
    clock,
    sweep: room.sweep,
    takeTurn: stores.takeSweepTurn,
    logger,
  });
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
    stores.hurry();
    await room.close();
    await directory.close();
    await stores.close();
    await closeModel?.();
    await httpTools.close();
    metrics.close();
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

function listen(server: Server, host: string, port: number): Promise<void> {
  return new Promise((resolve, reject) => {
    server.once('error', reject);
    server.listen(port, host, () => {
      server.off('error', reject);
      resolve();
    });
  });
}

const toUps = (checks: Readonly<Record<string, StoreCheck>>): Record<string, number> =>
  Object.fromEntries(Object.entries(checks).map(([store, { ok }]) => [store, ok ? 1 : 0]));

const toUrlHost = (host: string): string => (host.includes(':') ? `[${host}]` : host);
