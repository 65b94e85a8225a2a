/** One subscription of a client, from its attach to its end, held against LOG-3 and LOG-4. */
import type { SessionEvent, Snapshot } from '../../../protocol/index.js';
import type { StoredEvent } from '../../../server/ports/event-log.js';
import type { Attachment } from '../../../server/session/session-api.js';
import type { Witness, WitnessedSink } from './witness.js';

export class Watch {
  readonly #from: number;
  readonly #snapshot: Snapshot | undefined;

  constructor(
    readonly sink: WitnessedSink,
    readonly attachment: Attachment,
    afterSeq: number | 'head' | undefined,
    private readonly deltas: boolean,
  ) {
    const { result } = attachment;
    this.#snapshot = result.snapshot;
    this.#from = result.mode === 'replay' && typeof afterSeq === 'number' ? afterSeq : result.head_seq;
  }

  get isClosed(): boolean {
    return this.sink.closed !== undefined;
  }

  /** Where the client resumes. */
  get last(): number {
    return this.sink.frames.at(-1)?.seq ?? this.#from;
  }

  /** `[LOG-4] …` or the like, where it missed anything of what the log held. */
  check(log: readonly StoredEvent[], witness: Witness): void {
    this.sink.checkOrder(this.#from);
    const shown = new Set(this.sink.frames.map(({ seq }) => seq));
    for (const { seq, type } of log) {
      const isDue = seq > this.#from && seq <= this.last && (this.deltas || type !== 'event_start');
      if (isDue && !shown.has(seq)) witness.report(`[LOG-4] ${type} ${seq} was left out ${this.#name()}`);
    }
    if (this.deltas) this.#checkDeltas(witness);
    if (this.#snapshot?.partial) this.#checkPartial(this.#snapshot, witness);
  }

  hasArrived(log: readonly StoredEvent[]): boolean {
    return this.last >= (this.#dueOf(log)?.seq ?? 0);
  }

  /** A live client has everything by now. */
  checkArrived(log: readonly StoredEvent[], witness: Witness): void {
    const due = this.#dueOf(log);
    if (due && this.last < due.seq) witness.report(`[LOG-4] silent after ${this.last} of ${due.seq} ${this.#name()}`);
  }

  #dueOf(log: readonly StoredEvent[]): StoredEvent | undefined {
    return log.findLast(({ type }) => this.deltas || type !== 'event_start');
  }

  /** From the first delta that is shown of an event, all are, until it is complete. */
  #checkDeltas(witness: Witness): void {
    const told = new Map<string, number>();
    const open = this.#snapshot?.partial?.event_id;
    if (open !== undefined) told.set(open, this.#from);
    const due = witness.deltas.filter(({ seq }) => seq > this.#from && seq <= this.last);
    let at = 0;
    for (const frame of this.sink.frames) {
      const missed: typeof due = [];
      for (let delta = due[at]; delta && delta.seq <= frame.seq; delta = due[++at]) missed.push(delta);
      if (frame.type !== 'event_delta') {
        // Trimmed before this client came to them: their completed event is enough.
        for (const { seq, eventId } of missed)
          if (told.has(eventId)) witness.report(`[LOG-4] delta ${seq} was left out ${this.#name()}`);
        continue;
      }
      for (const { seq, eventId } of missed)
        if (eventId !== frame.event_id && told.has(eventId))
          witness.report(`[LOG-4] delta ${seq} was left out before ${frame.seq} ${this.#name()}`);
      this.#checkMerged(frame, missed, told, witness);
      told.set(frame.event_id, frame.seq);
    }
  }

  #checkMerged(
    { event_id, delta, seq }: Extract<SessionEvent, { type: 'event_delta' }>,
    merged: Witness['deltas'],
    told: ReadonlyMap<string, number>,
    witness: Witness,
  ): void {
    const text = merged.map((d) => (d.eventId === event_id ? d.text : '')).join('');
    const said = toText(delta);
    if (told.has(event_id) ? text !== said : !text.endsWith(said))
      witness.report(`[LOG-4] delta ${seq} says ${said}, where ${text} was due ${this.#name()}`);
  }

  /** What a snapshot shows of an open block is what had been streamed of it. */
  #checkPartial({ partial, seq }: Snapshot, witness: Witness): void {
    const streamed = witness.deltas.filter((d) => d.eventId === partial?.event_id && d.seq <= seq);
    const text = streamed.map((d) => d.text).join('');
    const shown = partial?.content.map((block) => String(block['text'] ?? block['thinking'] ?? '')).join('');
    if (shown !== text) witness.report(`[LOG-4] the snapshot at ${seq} shows ${shown}, where ${text} was streamed`);
  }

  #name(): string {
    return `(${this.attachment.result.mode} from ${this.#from}, deltas ${this.deltas}, full ${this.sink.isFull})`;
  }
}

function toText(delta: Extract<SessionEvent, { type: 'event_delta' }>['delta']): string {
  switch (delta.type) {
    case 'content_delta':
      return delta.content.text;
    case 'thinking_delta':
      return delta.thinking;
    case 'input_json_delta':
      return delta.partial_json;
  }
}
