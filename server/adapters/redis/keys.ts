/** Every key there is in Redis. What one script touches shares a hash tag: an organisation's, or the directory's. */

const PREFIX = 'midstream';

/** Braces would end the tag early; they are encoded. */
const tagOf = (orgId: string): string => `${PREFIX}:{${encodeURIComponent(orgId)}}`;

export const keys = {
  /** String: when all that was taken has come back, in microseconds; expires then. */
  rate: ({ orgId, userId }: { orgId: string; userId: string }): string => `${tagOf(orgId)}:rate:${userId}`,
  /** Sorted set: seats by when they lapse, in milliseconds; expires with the last of them. */
  seats: ({ orgId, userId }: { orgId: string; userId: string }): string => `${tagOf(orgId)}:seats:${userId}`,
  /** String: the identity as JSON; expires with the ticket. */
  ticket: (digest: string): string => `${PREFIX}:ticket:${digest}`,
  /** Hash: `[org, user]` → roles and their credential, as JSON. */
  directoryRoles: `${PREFIX}:{directory}:roles`,
  /** Hash: `[kind, org, id]` → milliseconds since 1970. */
  directoryRevocations: `${PREFIX}:{directory}:revocations`,
  /** Stream: the last changes, under their version. */
  directoryChanges: `${PREFIX}:{directory}:changes`,
  /** Counter: the version of the last change. */
  directoryVersion: `${PREFIX}:{directory}:version`,
  /** Channel: that the directory changed. */
  directoryChannel: `${PREFIX}:directory`,
} as const;
