/** Makes records, rows and answers for tests of the store's ports. */
import { type DeltaRecord, type EventRecord, toDeltaRecord } from '../../server/core/log-record.js';
import type { CommandAnswer } from '../../server/ports/event-log.js';
import type { SessionRow } from '../../server/ports/session-store.js';

export function anEvent(
  seq: number,
  fields: { type?: EventRecord['type']; turnId?: string; text?: string } = {},
): EventRecord {
  const { type = 'agent.message', turnId, text = `text ${seq}` } = fields;
  return { kind: 'event', seq, type, turnId, json: JSON.stringify({ type, seq, turn_id: turnId, text }) };
}

export function aDelta(seq: number, text = `δ${seq} `, eventId = 'sevt_1'): DeltaRecord {
  return toDeltaRecord(seq, 'turn_1', eventId, 'text', 0, text);
}

export function aRow(id: string, fields: Partial<SessionRow> = {}): SessionRow {
  return {
    id,
    userId: 'ada',
    orgId: 'acme',
    status: 'idle',
    unfinished: false,
    createdAt: 1_000,
    updatedAt: 1_000,
    json: JSON.stringify({ id }),
    ...fields,
  };
}

export function anAnswer(sessionId: string, fields: Partial<CommandAnswer> = {}): CommandAnswer {
  return {
    sessionId,
    userId: 'ada',
    orgId: 'acme',
    commandId: 'cmd-1',
    bodyHash: 'hash-1',
    appliedAtSeq: 1,
    result: { turn_id: 'turn_1' },
    acceptedAt: Date.now(),
    ...fields,
  };
}
