/** What the HTTP transport is built from. */
import type { Limits } from '../../../protocol/index.js';
import type { AuditSink } from '../../ports/audit-log.js';
import type { Clock } from '../../ports/clock.js';
import type { NewId } from '../../ports/identity.js';
import type { Logger } from '../../ports/logger.js';
import type { RevokedCredentials } from '../../ports/revoked-credentials.js';
import type { TokenVerifier } from '../../ports/token-verifier.js';
import type { RevocationApi, SessionApi, TicketApi, UsageApi } from '../../session/session-api.js';
import type { ReadClientAddress } from '../client-address.js';
import type { OriginPolicy } from '../origin-policy.js';
import type { SseStreams } from '../sse/index.js';
import type { MetricsPage } from './metrics-route.js';

export interface Probes {
  /** Whether the store and the model can be used. Never rejects. */
  ready(): Promise<{ ok: boolean; checks: Record<string, { ok: boolean; detail: string }> }>;
  readonly version: string;
}

export interface Page {
  /** Absolute path of the folder whose `index.html` is served at `/`. */
  readonly directory: string;
  /** Absolute path of the client's bundle, served as `/midstream-client.js`. */
  readonly clientScript: string;
}

export interface HttpDeps {
  readonly api: SessionApi;
  /** What was spent; without it the route is not there. */
  readonly usage?: UsageApi;
  /** Who revokes; without it the route is not there. */
  readonly revocations?: RevocationApi;
  readonly verifier: TokenVerifier;
  readonly tickets: TicketApi;
  readonly revoked: RevokedCredentials;
  /** For refused credentials. */
  readonly audit: AuditSink;
  readonly clock: Clock;
  readonly logger: Logger;
  readonly limits: Limits;
  readonly newId: NewId;
  readonly policy: OriginPolicy;
  /** Whose request it is; by default that of the TCP connection. */
  readonly clientAddress?: ReadClientAddress;
  readonly streams: SseStreams;
  readonly probes: Probes;
  /** Without it the route is not there. */
  readonly metrics?: MetricsPage;
  /** Served without a credential: only where none is asked for (dev). */
  readonly page?: Page;
}
