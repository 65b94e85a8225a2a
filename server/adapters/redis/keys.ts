/** Every key there is in Redis. What one script touches shares a hash tag: an organisation's, or the directory's. */

const PREFIX = 'midstream';

/** Braces would end the tag early; they are encoded. */
const tagOf = (orgId: string): string => `${PREFIX}:{${encodeURIComponent(orgId)}}`;

interface Owner {
  readonly orgId: string;
  readonly userId: string;
}

const sessionTag = (id: string): string => `${PREFIX}:{${encodeURIComponent(id)}}`;

const ownerTag = ({ orgId, userId }: Owner): string =>
  `${PREFIX}:{${encodeURIComponent(orgId)}/${encodeURIComponent(userId)}}`;

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
  /** Hash: a session's row, the head and epoch of its log, its lease, its checkpoint. */
  session: (id: string): string => `${sessionTag(id)}:session`,
  /** Stream: a session's events, each under its seq. */
  events: (id: string): string => `${sessionTag(id)}:events`,
  /** Stream: a session's deltas, packed, under the last seq of each pack; gone where none is open. */
  deltas: (id: string): string => `${sessionTag(id)}:deltas`,
  /** Hash: answers to a session's commands; expires with the last of them. */
  answers: (id: string): string => `${sessionTag(id)}:answers`,
  /** Sorted set: fields of `answers` by when the command was accepted, in milliseconds; expires with the last. */
  answerTimes: (id: string): string => `${sessionTag(id)}:answer-times`,
  /** Sorted set: an owner's sessions by when they were created, in milliseconds. */
  ownerSessions: (owner: Owner): string => `${ownerTag(owner)}:sessions`,
  /** Hash: answers to an owner's `session.create`; expires with the last of them. */
  ownerAnswers: (owner: Owner): string => `${ownerTag(owner)}:answers`,
  /** Sorted set: fields of `ownerAnswers` by when the command was accepted, in milliseconds; expires with the last. */
  ownerAnswerTimes: (owner: Owner): string => `${ownerTag(owner)}:answer-times`,
  /** Sorted set: a share of all sessions, by when they were updated or earlier, in milliseconds. */
  sessionShare: (share: number): string => `${PREFIX}:{sessions-${share}}`,
  /** Sorted set: sessions with unfinished turns by when they were listed, in microseconds. */
  unfinished: `${PREFIX}:{unfinished}`,
  /** List: an organisation's feedback, as JSON. */
  feedback: (orgId: string): string => `${tagOf(orgId)}:feedback`,
} as const;
