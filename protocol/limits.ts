/** Bounds of the protocol and the defaults of every limit. Free of zod, so that clients may import it. */

export const SUBPROTOCOL = 'midstream.v1';

/** Fixed by the protocol; not configurable. */
export const BOUNDS = {
  /** Characters of a command id. */
  commandIdChars: 64,
  presenceBytes: 2_048,
  eventsPageMax: 1_000,
  eventsPageDefault: 100,
  snapshotMessages: 50,
  /** How long an accepted command id is remembered. */
  dedupeMs: 24 * 3_600_000,
  /** How long trimmed deltas may outlive their completed event (LOG-5). */
  deltaRetentionMs: 30_000,
  /** Socket buffer beyond one frame that a slow subscriber may cost (LOG-6). */
  socketBufferBytes: 256 * 1_024,
  slowConsumerMs: 30_000,
  /** Wait before a call is offered again after its connection went (TOOL-5). */
  offerGraceMs: 10_000,
  clientToolTimeoutMs: 120_000,
  approvalTimeoutMs: 600_000,
  maxRecoveries: 3,
  pingIntervalMs: 25_000,
  silentPeerMs: 60_000,
  sseCommentMs: 15_000,
  authenticateMs: 5_000,
  /** Bytes that a socket may send before it is known whose it is; one read of it may be as large. */
  unauthenticatedBytes: 65_536,
  /** Sockets of one client address, and of all, that may wait for their authentication on one node. */
  unauthenticatedPerClient: 64,
  unauthenticatedSockets: 2_048,
  /** How long a ticket may wait to be used. */
  ticketLifeMs: 30_000,
  /** Tickets that one user may ask for on one node in that time. */
  ticketsPerUser: 64,
} as const;

/** Defaults of the `limits` object of the configuration. */
export const DEFAULT_LIMITS = {
  frame_bytes: 1_048_576,
  frame_bytes_with_images: 8_388_608,
  commands_per_second: 60,
  sessions_per_socket: 64,
  sockets_per_user: 8,
  queued_turns: 100,
  json_depth: 64,
  running_turns: 500,
  waiting_turns: 100,
  tool_result_bytes: 262_144,
  upstream_attempts: 4,
  headers_timeout_ms: 30_000,
  first_content_timeout_ms: 120_000,
  silence_timeout_ms: 60_000,
};

export type Limits = typeof DEFAULT_LIMITS;
