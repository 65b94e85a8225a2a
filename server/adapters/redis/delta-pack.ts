/**
 * Deltas packed into one field of a stream: a JSON array of runs, one for each event id and place,
 * `[turn_id, event_id, channel, index, seq, merged, text, seq, merged, text, …]`. It is put together from what each
 * record has quoted already. Ids stand in it as they are: they are ours, and of `A-Z a-z 0-9 _`.
 */
import type { DeltaChannel, DeltaRecord } from '../../core/log-record.js';

const CHANNELS: readonly DeltaChannel[] = ['text', 'thinking', 'input'];
const CHANNEL_NUMBER: Readonly<Record<DeltaChannel, number>> = { text: 0, thinking: 1, input: 2 };
const HEAD_FIELDS = 4;
const DELTA_FIELDS = 3;

export class DeltaPacker {
  #runs = '';
  #last: DeltaRecord | undefined;

  /** The seq of the last delta; undefined where there is none. */
  get lastSeq(): number | undefined {
    return this.#last?.seq;
  }

  add(record: DeltaRecord): void {
    const last = this.#last;
    if (!last || !isSamePlace(last, record)) {
      const { turnId, eventId, channel, index } = record;
      this.#runs += `${last ? '],[' : '[['}"${turnId}","${eventId}",${CHANNEL_NUMBER[channel]},${index}`;
    }
    this.#runs += `,${record.seq},${record.seq - record.firstSeq},${record.quoted}`;
    this.#last = record;
  }

  pack(): string {
    return this.#last ? `${this.#runs}]]` : '';
  }
}

const isSamePlace = (one: DeltaRecord, other: DeltaRecord): boolean =>
  one.eventId === other.eventId &&
  one.channel === other.channel &&
  one.index === other.index &&
  one.turnId === other.turnId;

/** The deltas of a pack, in the order in which they were appended. */
export function unpackDeltas(pack: string): DeltaRecord[] {
  const records: DeltaRecord[] = [];
  for (const run of JSON.parse(pack) as (string | number)[][]) {
    const [turnId, eventId, channel, index] = run as [string, string, number, number];
    for (let at = HEAD_FIELDS; at + DELTA_FIELDS <= run.length; at += DELTA_FIELDS) {
      const [seq, merged, text] = run.slice(at, at + DELTA_FIELDS) as [number, number, string];
      const place = { turnId, eventId, channel: CHANNELS[channel] ?? 'text', index };
      records.push({ kind: 'delta', seq, firstSeq: seq - merged, ...place, text, quoted: JSON.stringify(text) });
    }
  }
  return records;
}
