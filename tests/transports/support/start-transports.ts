/** The transports on a real HTTP server, before a session room of the test's choice. */
import { createServer } from 'node:http';
import type { AddressInfo } from 'node:net';
import { DEFAULT_LIMITS, type Limits, MidstreamError } from '../../../protocol/index.js';
import type { AuditRecord, AuditSink } from '../../../server/ports/audit-log.js';
import type { Logger } from '../../../server/ports/logger.js';
import type { RevokedCredentials } from '../../../server/ports/revoked-credentials.js';
import type { Identity, TokenVerifier } from '../../../server/ports/token-verifier.js';
import type { TicketApi } from '../../../server/session/session-api.js';
import { createHttpApp, type Page } from '../../../server/transports/http/index.js';
import { createOriginPolicy } from '../../../server/transports/origin-policy.js';
import { createSseStreams } from '../../../server/transports/sse/index.js';
import { createWsTransport } from '../../../server/transports/ws/index.js';
import { FakeSessionApi } from './fake-session-api.js';
import { ManualClock } from './manual-clock.js';

export class RecordingLogger implements Logger {
  readonly records: { level: string; message: string; fields?: Readonly<Record<string, unknown>> }[] = [];
  debug = this.at('debug');
  info = this.at('info');
  warn = this.at('warn');
  error = this.at('error');

  child(): Logger {
    return this;
  }

  private at(level: string) {
    return (message: string, fields?: Readonly<Record<string, unknown>>): void => {
      this.records.push({ level, message, ...(fields === undefined ? {} : { fields }) });
    };
  }
}

export class RecordingAudit implements AuditSink {
  readonly records: AuditRecord[] = [];

  async record(record: AuditRecord): Promise<boolean> {
    this.records.push(record);
    return true;
  }
}

/** Tokens are `<user>` or `<user>:<seconds to live>`; `bad` is none. In dev everybody is `local`. */
export function createTestVerifier(required: boolean, clock: ManualClock): TokenVerifier & { seen: unknown[] } {
  const seen: unknown[] = [];
  return {
    required,
    seen,
    async verify(credential): Promise<Identity> {
      seen.push(credential);
      if (!required)
        return { principal: { user_id: 'local', org_id: 'local', roles: ['admin'] }, expiresAt: undefined };
      if (credential === undefined || credential.startsWith('bad'))
        throw new MidstreamError('unauthenticated', 'The token is not valid');
      const [user = '', seconds] = credential.split(':');
      return {
        principal: { user_id: user, org_id: 'acme', roles: ['analyst'] },
        expiresAt: seconds === undefined ? undefined : clock.now() + Number(seconds) * 1_000,
      };
    },
  };
}

/** Tickets that the test names itself. */
export class TestTickets implements TicketApi {
  readonly waiting = new Map<string, Identity>();
  readonly issuedTo: Identity[] = [];

  constructor(private readonly clock: ManualClock) {}

  async issue(identity: Identity) {
    this.issuedTo.push(identity);
    return { ticket: `ticket-${this.issuedTo.length}`, expiresAt: this.clock.now() + 30_000 };
  }

  async redeem(ticket: string): Promise<Identity> {
    const identity = this.waiting.get(ticket);
    this.waiting.delete(ticket);
    if (identity === undefined) throw new MidstreamError('unauthenticated', 'The ticket is not valid');
    return identity;
  }
}

/** Everything of the users in `users` is revoked. */
export class TestRevocations implements RevokedCredentials {
  readonly users = new Set<string>();
  readonly listeners = new Set<() => void>();

  isRevoked({ principal }: Identity): boolean {
    return this.users.has(principal.user_id);
  }

  onRevoked(listener: () => void): () => void {
    this.listeners.add(listener);
    return () => void this.listeners.delete(listener);
  }

  revoke(user: string): void {
    this.users.add(user);
    for (const listener of [...this.listeners]) listener();
  }
}

export interface TransportOptions {
  readonly auth?: 'required' | 'dev';
  readonly limits?: Partial<Limits>;
  readonly origins?: readonly string[];
  readonly page?: Page;
  readonly ready?: { ok: boolean; checks: Record<string, { ok: boolean; detail: string }> };
}

export async function startTransports(options: TransportOptions = {}) {
  const required = options.auth === 'required';
  const clock = new ManualClock();
  const api = new FakeSessionApi();
  const logger = new RecordingLogger();
  const audit = new RecordingAudit();
  const verifier = createTestVerifier(required, clock);
  const limits: Limits = { ...DEFAULT_LIMITS, ...options.limits };
  const policy = createOriginPolicy({ origins: options.origins ?? [], hosts: required ? 'any' : 'loopback' });
  const streams = createSseStreams({ clock });
  let ids = 0;
  const newId = (prefix: string): string => {
    ids += 1;
    return `${prefix}_${ids}`;
  };
  const ready = options.ready ?? { ok: true, checks: { store: { ok: true, detail: 'answers' } } };
  const probes = { ready: async () => ready, version: '1.2.3' };
  const page = options.page === undefined ? {} : { page: options.page };
  const tickets = new TestTickets(clock);
  const revoked = new TestRevocations();
  const shared = { api, verifier, tickets, revoked, audit, clock, logger, limits, newId, policy };
  const app = createHttpApp({ ...shared, streams, probes, ...page });
  const ws = createWsTransport(shared);
  const server = createServer(app);
  server.on('upgrade', ws.handleUpgrade);
  await new Promise<void>((resolve) => server.listen(0, '127.0.0.1', resolve));
  const { port } = server.address() as AddressInfo;
  return {
    port,
    url: `http://127.0.0.1:${port}`,
    wsUrl: `ws://127.0.0.1:${port}/v1/ws`,
    api,
    clock,
    logger,
    audit,
    verifier,
    tickets,
    revoked,
    ws,
    streams,
    server,
    async stop(): Promise<void> {
      streams.close();
      await ws.close();
      server.closeAllConnections();
      await new Promise((resolve) => server.close(resolve));
    },
  };
}

export type Transports = Awaited<ReturnType<typeof startTransports>>;
