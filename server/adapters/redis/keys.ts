/** Every key there is in Redis. What one script touches shares a hash tag: an organisation's, or the directory's. */

const PREFIX = 'midstream';

/** Braces would end the tag early; they are encoded. */
const tagOf = (orgId: string): string => `${PREFIX}:{${encodeURIComponent(orgId)}}`;

interface Payer {
  readonly orgId: string;
  readonly userId: string;
}

const sessionTag = (id: string): string => `${PREFIX}:{${encodeURIComponent(id)}}`;

const ownerTag = ({ orgId, userId }: Payer): string =>
  `${PREFIX}:{${encodeURIComponent(orgId)}/${encodeURIComponent(userId)}}`;

export const keys = {
  /** Hash: windows of a user, by day and month; expires 40 days after the last change. */
  budgetUser: ({ orgId, userId }: Payer): string => `${tagOf(orgId)}:budget:user:${userId}`,
  /** Hash: windows of an organisation, the same. */
  budgetOrg: (orgId: string): string => `${tagOf(orgId)}:budget:org`,
  /** Hash: a hold that is open; gone when it is settled. */
  hold: (orgId: string, id: string): string => `${tagOf(orgId)}:hold:${id}`,
  /** Sorted set: open holds by when they lapse, in milliseconds. */
  leases: (orgId: string): string => `${tagOf(orgId)}:leases`,
  /** String: that a hold was settled; expires after a day. */
  settled: (orgId: string, id: string): string => `${tagOf(orgId)}:settled:${id}`,
  /** Hash: `[session, model, ...tags]` → sums of a user's day; expires after 400 days. */
  spend: ({ orgId, userId }: Payer, day: string): string => `${tagOf(orgId)}:spend:${day}:${userId}`,
  /** Set: users who spent on a day; expires with it. */
  spenders: (orgId: string, day: string): string => `${tagOf(orgId)}:spenders:${day}`,
  /** Sorted set: organisations with budgets, by when a node last said so, in milliseconds. */
  ledgerOrgs: `${PREFIX}:ledger:orgs`,
  /** Channel: the organisation in which something was freed. */
  freedChannel: `${PREFIX}:freed`,
  /** Stream: the audit of an organisation, or of no organisation. */
  audit: (orgId: string | undefined): string => (orgId === undefined ? `${PREFIX}:audit` : `${tagOf(orgId)}:audit`),
  /** Set: organisations that have an audit. */
  auditOrgs: `${PREFIX}:audit:orgs`,
  /** Hash: a direct tool call, or a session that is made, under its caller's key; expires after a day. */
  call: ({ orgId, userId, key }: Payer & { readonly key: string }): string =>
    `${tagOf(orgId)}:call:${encodeURIComponent(userId)}:${key}`,
  /** String: when all that was taken has come back, in microseconds; expires then. */
  rate: ({ orgId, userId }: { orgId: string; userId: string }): string => `${tagOf(orgId)}:rate:${userId}`,
  /** Sorted set: seats by when they lapse, in milliseconds; expires with the last of them. */
  seats: ({ orgId, userId }: { orgId: string; userId: string }): string => `${tagOf(orgId)}:seats:${userId}`,
  /** String: that a write was tried; expires after 10 s. */
  probe: `${PREFIX}:probe`,
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
  /** Sorted set: the sessions that a user is a member of, by when they were created, in milliseconds. */
  memberSessions: (member: Payer): string => `${ownerTag(member)}:sessions`,
  /** Hash: answers to an owner's `session.create`; expires with the last of them. */
  ownerAnswers: (owner: Payer): string => `${ownerTag(owner)}:answers`,
  /** Sorted set: fields of `ownerAnswers` by when the command was accepted, in milliseconds; expires with the last. */
  ownerAnswerTimes: (owner: Payer): string => `${ownerTag(owner)}:answer-times`,
  /** Sorted set: a share of all sessions, by when they were updated or earlier, in milliseconds. */
  sessionShare: (share: number): string => `${PREFIX}:{sessions-${share}}`,
  /** Sorted set: sessions with unfinished turns by when they were listed, in microseconds. */
  unfinished: `${PREFIX}:{unfinished}`,
  /** Channel: the head of a session's log, or nothing where its lease changed. */
  bell: (id: string): string => `${sessionTag(id)}:bell`,
  /** Channel: sessions with unfinished turns whose lease was given back. */
  orphanChannel: `${PREFIX}:orphans`,
  /** String: the node that applied retention last; expires when another may. */
  sweepTurn: `${PREFIX}:sweep-turn`,
  /** Stream: which sessions changed lately, as nodes noted it. */
  changes: `${PREFIX}:changes`,
  /** Stream: what other nodes ask of a node and answer to it; trimmed as it is read, expires with the node. */
  inbox: (nodeId: string): string => `${PREFIX}:{node:${nodeId}}:inbox`,
  /** String: that a node is there; expires when it says so no more. */
  alive: (nodeId: string): string => `${PREFIX}:{node:${nodeId}}:alive`,
  /** Channel: what nodes tell all others. */
  nodesChannel: `${PREFIX}:nodes`,
  /** List: an organisation's feedback, as JSON. */
  feedback: (orgId: string): string => `${tagOf(orgId)}:feedback`,
} as const;
