/**
 * The text in which the deltas of one group commit are kept: a JSON array of runs, one for each append and event id,
 * `[session, turn_id, event_id, channel, index, seq, merged, text, seq, merged, text, …]`. It is put together from
 * what each record has quoted already. Ids stand in it as they are: they are ours, and of `A-Z a-z 0-9 _`.
 */
import type { DeltaChannel, DeltaRecord, LogRecord } from '../../core/log-record.js';

const CHANNELS: readonly DeltaChannel[] = ['text', 'thinking', 'input'];
const CHANNEL_NUMBER: Readonly<Record<DeltaChannel, number>> = { text: 0, thinking: 1, input: 2 };
const HEAD_FIELDS = 5;
const DELTA_FIELDS = 3;

/** The runs of one append, without the brackets around all; empty where it holds no delta. */
export function toRuns(session: number, records: readonly LogRecord[]): string {
  let runs = '';
  let last: DeltaRecord | undefined;
  for (const record of records) {
    if (record.kind !== 'delta') continue;
    if (last === undefined || last.eventId !== record.eventId || !isSamePlace(last, record)) {
      runs += `${last === undefined ? '[' : '],['}${session},"${record.turnId}","${record.eventId}",${CHANNEL_NUMBER[record.channel]},${record.index}`;
    }
    runs += `,${record.seq},${record.seq - record.firstSeq},${record.quoted}`;
    last = record;
  }
  return last === undefined ? '' : `${runs}]`;
}

const isSamePlace = (one: DeltaRecord, other: DeltaRecord): boolean =>
  one.channel === other.channel && one.index === other.index && one.turnId === other.turnId;

/** Gives each delta of a payload to `visit`, in the order in which they were appended. */
export function readPayload(payload: string, visit: (session: number, record: DeltaRecord) => void): void {
  for (const run of JSON.parse(payload) as (string | number)[][]) {
    const [session, turnId, eventId, channel, index] = run as [number, string, string, number, number];
    for (let at = HEAD_FIELDS; at + DELTA_FIELDS <= run.length; at += DELTA_FIELDS) {
      const [seq, merged, text] = run.slice(at, at + DELTA_FIELDS) as [number, number, string];
      visit(session, {
        kind: 'delta',
        seq,
        firstSeq: seq - merged,
        turnId,
        eventId,
        channel: CHANNELS[channel] ?? 'text',
        index,
        text,
        quoted: JSON.stringify(text),
      });
    }
  }
}
