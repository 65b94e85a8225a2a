/** What of a session's events belongs into the audit, and the line that each record is in the operational log. */
import type { AuditOutcome, AuditRecord, EventOf, EventType, LoggedEvent } from '../../protocol/index.js';
import type { LogRecord } from '../core/log-record.js';
import { withoutInput } from '../core/permissions.js';
import type { SessionState } from '../core/session-state.js';
import type { AuditLog } from '../ports/audit-log.js';
import type { Logger } from '../ports/logger.js';

const AUDITED: ReadonlySet<EventType> = new Set<EventType>([
  'tool.denied',
  'tool.offered',
  'tool.started',
  'agent.tool_result',
  'user.tool_confirmation',
  'session.member_updated',
]);

const NONE: readonly AuditRecord[] = [];
const MAX_CHARS = 200;

/** Each record is a line of the operational log before the store has it. */
export function createAuditTrail(log: AuditLog, logger: Logger): AuditLog {
  return {
    read: (query) => log.read(query),
    sweep: (before) => log.sweep(before),
    record(given) {
      // Names come from models and clients: they may be long.
      const record = Object.fromEntries(
        Object.entries(given).map(([key, value]) => [key, (value as string).slice(0, MAX_CHARS)]),
      ) as unknown as AuditRecord;
      logger.info('audit', { ...record });
      return log.record(record);
    },
  };
}

export interface Happened {
  readonly records: readonly LogRecord[];
  readonly before: SessionState;
  readonly after: SessionState;
  /** Of the command that it comes of. */
  readonly requestId: string | undefined;
}

type Around = Omit<Happened, 'requestId'>;

/** The audit of records that are in the log. Deltas cost it a comparison. */
export function toAuditRecords({ records, before, after, requestId }: Happened): readonly AuditRecord[] {
  let found: AuditRecord[] | undefined;
  for (const record of records) {
    if (record.kind !== 'event' || !AUDITED.has(record.type)) continue;
    const audited = toAuditRecord(JSON.parse(record.json) as LoggedEvent, { before, after, records });
    if (!audited) continue;
    found ??= [];
    found.push(requestId === undefined ? audited : { ...audited, request_id: requestId });
  }
  return found ?? NONE;
}

function toAuditRecord(event: LoggedEvent, around: Around): AuditRecord | undefined {
  const { before, after } = around;
  const { owner } = after;
  const who = [after.turn, before.turn].find((turn) => turn?.turnId === event.turn_id)?.payer ?? owner;
  const toRecord = (kind: AuditRecord['kind'], toolUseId: string, outcome: AuditOutcome): AuditRecord => {
    const tool = toolOf(toolUseId, around);
    return {
      at: event.processed_at,
      kind,
      user_id: who.user_id,
      org_id: who.org_id,
      session_id: event.session_id,
      ...(event.turn_id !== undefined && { turn_id: event.turn_id }),
      ...(tool !== undefined && { tool }),
      tool_use_id: toolUseId,
      outcome,
    };
  };
  switch (event.type) {
    case 'tool.denied': {
      const record = toRecord('denial', event.tool_use_id, 'denied');
      return { ...record, rule: withoutInput(event.rule, record.tool ?? '') };
    }
    case 'tool.started':
      return { ...toRecord('tool_call', event.tool_use_id, 'started'), tool: event.name };
    case 'tool.offered':
      // Offered again, to another connection, it is still one call.
      if (hadBegun(event.tool_use_id, around)) return undefined;
      return toRecord('tool_call', event.tool_use_id, 'started');
    case 'agent.tool_result':
      // Of what never began, nothing was done.
      if (!hadBegun(event.tool_use_id, around) && !wasOfferedNow(event.tool_use_id, around)) return undefined;
      return toRecord('tool_call', event.tool_use_id, event.outcome);
    case 'user.tool_confirmation': {
      const record = toRecord('approval', event.tool_use_id, event.result === 'allow' ? 'allowed' : 'denied');
      return event.actor ? { ...record, user_id: event.actor.user_id } : record;
    }
    case 'session.member_updated': {
      const { processed_at: at, session_id, user_id, role } = event;
      const by = event.actor?.user_id ?? owner.user_id;
      const rule = `${user_id}: ${role ?? 'none'}`;
      return { at, kind: 'membership_change', user_id: by, org_id: owner.org_id, session_id, rule, outcome: 'applied' };
    }
    default:
      return undefined;
  }
}

/** A call that is made and denied, or ends with its turn, in one step stands in only one of the two states, or in none. */
function toolOf(id: string, { records, before, after }: Around): string | undefined {
  const known = (after.turn?.calls ?? []).concat(before.turn?.calls ?? []).find((call) => call.id === id);
  if (known) return known.name;
  for (const record of records) {
    if (record.kind !== 'event' || !record.type.endsWith('tool_use')) continue;
    const use = JSON.parse(record.json) as EventOf<'agent.tool_use'>;
    if (use.id === id) return use.name;
  }
  return undefined;
}

const hadBegun = (id: string, { before }: Around): boolean =>
  before.turn?.calls.some((call) => call.id === id && call.begun) === true;

const wasOfferedNow = (id: string, { records }: Around): boolean =>
  records.some(
    (record) =>
      record.kind === 'event' &&
      record.type === 'tool.offered' &&
      (JSON.parse(record.json) as EventOf<'tool.offered'>).tool_use_id === id,
  );
