/** Merging of adjacent deltas for subscribers that are behind (LOG-6). */
import type { DeltaRecord, LogRecord } from './log-record.js';

/** How many characters one merged delta may hold, so that a frame stays small. */
const MAX_CHARS = 16_384;

/** Merges runs of deltas of one event, index and channel; everything else stays as it is, in order. */
export function mergeDeltas(records: readonly LogRecord[]): readonly LogRecord[] {
  const merged: LogRecord[] = [];
  let run: DeltaRecord[] = [];
  let chars = 0;
  const close = (): void => {
    if (run.length > 0) merged.push(run.length === 1 ? (run[0] as DeltaRecord) : join(run));
    run = [];
    chars = 0;
  };
  for (const record of records) {
    if (record.kind !== 'delta') {
      close();
      merged.push(record);
      continue;
    }
    const last = run.at(-1);
    if (last && (!isSameRun(last, record) || chars + record.text.length > MAX_CHARS)) close();
    run.push(record);
    chars += record.text.length;
  }
  close();
  return merged;
}

const isSameRun = (a: DeltaRecord, b: DeltaRecord): boolean =>
  a.eventId === b.eventId && a.index === b.index && a.channel === b.channel;

function join(run: readonly DeltaRecord[]): DeltaRecord {
  const first = run[0] as DeltaRecord;
  const last = run.at(-1) as DeltaRecord;
  const quoted = `"${run.map((delta) => delta.quoted.slice(1, -1)).join('')}"`;
  return { ...last, firstSeq: first.firstSeq, text: run.map((delta) => delta.text).join(''), quoted };
}
