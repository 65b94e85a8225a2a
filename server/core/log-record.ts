/**
 * One record of a session's log, in the form in which it is kept and sent: serialised once, when it is made.
 * An event's JSON is its frame; a delta's frame is put together from its quoted text.
 */
import type { LoggedEvent } from '../../protocol/index.js';

export interface EventRecord {
  readonly kind: 'event';
  readonly seq: number;
  readonly type: LoggedEvent['type'];
  readonly turnId: string | undefined;
  /** The frame, without `prev_seq`. */
  readonly json: string;
}

/** Which of the three kinds of delta: a message's text, thinking, or a tool's input. */
export type DeltaChannel = 'text' | 'thinking' | 'input';

export interface DeltaRecord {
  readonly kind: 'delta';
  readonly seq: number;
  /** The seq of the first delta merged into this one; `seq` where nothing was merged. */
  readonly firstSeq: number;
  readonly turnId: string;
  readonly eventId: string;
  readonly channel: DeltaChannel;
  /** Position in the message's `content`; 0 for the other channels. */
  readonly index: number;
  readonly text: string;
  /** `text` as a JSON string, quotes included. */
  readonly quoted: string;
}

export type LogRecord = EventRecord | DeltaRecord;

export function toEventRecord(event: LoggedEvent): EventRecord {
  return { kind: 'event', seq: event.seq, type: event.type, turnId: event.turn_id, json: JSON.stringify(event) };
}

export function toDeltaRecord(
  seq: number,
  turnId: string,
  eventId: string,
  channel: DeltaChannel,
  index: number,
  text: string,
): DeltaRecord {
  return {
    kind: 'delta',
    seq,
    firstSeq: seq,
    turnId,
    eventId,
    channel,
    index,
    text,
    quoted: JSON.stringify(text),
  };
}

const OPEN: Record<DeltaChannel, (index: number) => string> = {
  text: (index) => `{"type":"content_delta","index":${index},"content":{"type":"text","text":`,
  thinking: () => '{"type":"thinking_delta","thinking":',
  input: () => '{"type":"input_json_delta","partial_json":',
};
const CLOSE: Record<DeltaChannel, string> = { text: '}}', thinking: '}', input: '}' };

/**
 * The frame of a record. `prevSeq` is the seq of the frame delivered before it on this subscription; it is named where
 * it isn't `seq - 1` (LOG-3).
 */
export function toFrame(sessionId: string, record: LogRecord, prevSeq: number): string {
  const gap = prevSeq === record.seq - 1 ? '' : `,"prev_seq":${prevSeq}`;
  if (record.kind === 'event') return gap === '' ? record.json : `${record.json.slice(0, -1)}${gap}}`;
  const { channel, index, turnId, eventId, quoted, seq } = record;
  return `{"type":"event_delta","session_id":"${sessionId}","turn_id":"${turnId}","event_id":"${eventId}","delta":${OPEN[channel](index)}${quoted}${CLOSE[channel]},"seq":${seq}${gap}}`;
}
