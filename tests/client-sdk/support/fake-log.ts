/** One session's log, for tests: gives out seqs and makes snapshots. */
import type { LoggedEvent, SessionEvent } from '../../../protocol/events.js';
import type { Snapshot } from '../../../protocol/resources.js';
import { fold, emptyTranscript, type Transcript } from '../../../client-sdk/index.js';
import { toSnapshot } from './to-snapshot.js';

export class FakeLog {
  readonly sessionId: string;
  epoch = 'e1';
  events: SessionEvent[] = [];
  #transcript: Transcript;

  constructor(sessionId: string) {
    this.sessionId = sessionId;
    this.#transcript = emptyTranscript(sessionId);
  }

  get head(): number {
    return this.events.at(-1)?.seq ?? 0;
  }

  append(draft: { type: string } & Record<string, unknown>): SessionEvent {
    const seq = this.head + 1;
    const event = {
      ...(draft.type !== 'event_delta' && { id: `sevt_${seq}`, processed_at: new Date(seq * 1_000).toISOString() }),
      session_id: this.sessionId,
      seq,
      ...draft,
    } as unknown as LoggedEvent;
    this.events.push(event);
    this.#transcript = fold(this.#transcript, event);
    return event;
  }

  resource(): Snapshot['session'] {
    return this.snapshot().session;
  }

  snapshot(): Snapshot {
    return toSnapshot(this.#transcript, this.epoch);
  }
}
