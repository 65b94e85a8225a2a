/** Sees all that the log takes, and holds what clients are shown against it, at the moment when they are shown it. */
import type { EventRecord, LogRecord } from '../../../server/core/log-record.js';
import type { StoredEvent } from '../../../server/ports/event-log.js';
import { TestSink } from '../support.js';

export type Report = (violation: string) => void;

type Delta = Extract<LogRecord, { kind: 'delta' }>;

export class Witness {
  readonly #events = new Map<number, string>();
  readonly #deltas = new Map<number, Delta>();
  /** Sent to a log that others read: they may show it before its writer is told that it is there. */
  readonly #offered = new Map<number, LogRecord[]>();

  constructor(readonly report: Report) {}

  /** The highest seq that the log has acknowledged or told. */
  get head(): number {
    return Math.max(0, ...this.#events.keys(), ...this.#deltas.keys());
  }

  /** The highest seq that was ever sent to the log. */
  get offeredHead(): number {
    return Math.max(this.head, ...this.#offered.keys());
  }

  get deltas(): readonly Delta[] {
    return [...this.#deltas.values()].sort((a, b) => a.seq - b.seq);
  }

  offer(record: LogRecord): void {
    this.#offered.set(record.seq, [...(this.#offered.get(record.seq) ?? []), record]);
  }

  /** Notes what a reader of the shared log has shown: that it was there is what it proves. */
  learn(shown: LogRecord): void {
    const first = shown.kind === 'delta' ? shown.firstSeq : shown.seq;
    for (let seq = first; seq <= shown.seq; seq++) {
      if (this.#events.has(seq) || this.#deltas.has(seq)) continue;
      const fits = (one: LogRecord): boolean =>
        one.kind === 'event' ? shown.kind === 'event' && one.json === shown.json : shown.kind === 'delta';
      const offered = this.#offered.get(seq)?.findLast(fits);
      if (offered) this.note(offered);
    }
  }

  note(record: LogRecord): void {
    if (record.kind === 'event') this.noteEvent(record);
    else this.#noteDelta(record);
  }

  noteEvent({ seq, json }: Pick<EventRecord, 'seq' | 'json'>): void {
    const before = this.#events.get(seq);
    if (this.#deltas.has(seq) || (before !== undefined && before !== json))
      this.report(`[LOG-1] seq ${seq} was given twice: ${before}, ${json}`);
    this.#events.set(seq, json);
  }

  #noteDelta(delta: Delta): void {
    const before = this.#deltas.get(delta.seq);
    if (this.#events.has(delta.seq) || (before && before.text !== delta.text))
      this.report(`[LOG-1] seq ${delta.seq} was given twice, to the delta ${delta.quoted} too`);
    this.#deltas.set(delta.seq, delta);
  }

  /** Nothing is shown that isn't in the log, and a merged delta is all that it merged, once. */
  checkShown(record: LogRecord, prevSeq: number): void {
    if (record.kind === 'event') {
      if (this.#events.get(record.seq) !== record.json)
        this.report(`[LOG-2] shown, and not in the log: ${record.seq} ${record.json}`);
      return;
    }
    if (record.firstSeq <= prevSeq) this.report(`[LOG-4] delta ${record.firstSeq} came again after ${prevSeq}`);
    const merged: string[] = [];
    for (let seq = record.firstSeq; seq <= record.seq; seq++) {
      const delta = this.#deltas.get(seq);
      const isSame =
        delta?.eventId === record.eventId && delta.index === record.index && delta.channel === record.channel;
      if (!isSame) this.report(`[LOG-2] shown, and not in the log: delta ${seq} of ${record.eventId}`);
      merged.push(delta?.text ?? '');
    }
    if (merged.join('') !== record.text)
      this.report(`[LOG-6] delta ${record.seq} says ${record.quoted}; in the log it is ${merged.join('|')}`);
  }

  /** Whatever was acknowledged is in the log, as it was; and nothing else. The log may have been read at this head. */
  checkLog(log: readonly StoredEvent[], upTo = this.head): void {
    const stored = new Map(log.map(({ seq, json }) => [seq, json]));
    for (const [seq, json] of this.#events)
      if (seq <= upTo && stored.get(seq) !== json)
        this.report(`[LOG-1] event ${seq} was lost: ${json}, now ${stored.get(seq)}`);
    for (const { seq } of this.#deltas.values())
      if (stored.has(seq)) this.report(`[LOG-1] delta ${seq} was lost, and its seq used again`);
  }
}

/** A socket whose frames the witness looks at. */
export class WitnessedSink extends TestSink {
  constructor(
    sessionId: string,
    private readonly witness: Witness,
    private readonly learnsFrom: 'writer' | 'shared log' = 'writer',
  ) {
    super(sessionId);
  }

  override write(record: LogRecord, prevSeq: number): void {
    super.write(record, prevSeq);
    if (this.learnsFrom === 'shared log') this.witness.learn(record);
    this.witness.checkShown(record, prevSeq);
  }
}
