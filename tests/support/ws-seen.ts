/** All that one client saw of a session, over many connections: each event once, the text, and where to go on. */
import type { SessionEvent } from '../../protocol/index.js';
import type { WsRecorder } from './ws-recorder.js';
import { WsTranscript } from './ws-transcript.js';

export class WsSeen {
  readonly events = new Map<number, SessionEvent>();
  readonly transcript = new WsTranscript();
  readonly violations: string[] = [];
  cursor = 0;
  /** How many frames of the connection that is read are taken down. */
  #taken = 0;
  #client: WsRecorder | undefined;

  /** Takes down what came since, and returns it. */
  take(client: WsRecorder, sessionId: string): readonly SessionEvent[] {
    if (client !== this.#client) this.#taken = 0;
    this.#client = client;
    const fresh = client.frames
      .slice(this.#taken)
      .filter((frame): frame is SessionEvent => 'seq' in frame && frame.session_id === sessionId);
    this.#taken = client.frames.length;
    for (const event of fresh) {
      if (this.events.has(event.seq)) this.violations.push(`[LOG-4] ${sessionId}: ${event.seq} came twice`);
      this.events.set(event.seq, event);
      this.transcript.take(event);
    }
    this.cursor = Math.max(this.cursor, client.lastSeq(sessionId));
    return fresh;
  }

  /** Without the deltas, of which the log keeps none. */
  get completed(): readonly SessionEvent[] {
    return [...this.events.values()]
      .filter(({ type }) => type !== 'event_delta' && type !== 'event_start')
      .sort((a, b) => a.seq - b.seq);
  }
}
