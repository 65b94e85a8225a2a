/** One session's place in its log: attaches, proves of every frame that nothing is missing (LOG-3), and attaches again where something is. */
import type { ClientFrameInput } from '../protocol/commands.js';
import type { MidstreamError } from '../protocol/errors.js';
import type { SessionEvent } from '../protocol/events.js';
import type { AttachResult, CommandAccepted } from '../protocol/frames.js';
import type { Snapshot } from '../protocol/resources.js';
import { backoffMs, DEFAULT_BACKOFF } from './backoff.js';
import { createCommandId } from './command-id.js';
import type { Lifetime, Reply } from './outbox.js';
import type { Runtime } from './runtime.js';

/** What an attach came to. */
export interface Attached {
  readonly mode: 'replay' | 'snapshot';
  readonly epoch: string;
  /** The last event that was here before; undefined at the first attach. */
  readonly afterSeq: number | undefined;
  /** The newest event of the log at that moment. */
  readonly headSeq: number;
  /** Times that a frame proved a gap, since the session was opened. Each was mended by attaching again. */
  readonly gaps: number;
}

export interface FeedDeps {
  readonly sessionId: string;
  readonly runtime: Runtime;
  send(frame: ClientFrameInput, lifetime: Lifetime, reply: Reply): void;
  onSnapshot(snapshot: Snapshot, epoch: string): void;
  onAttached(attached: Attached): void;
  onEvent(event: SessionEvent): void;
  /** The session can't be watched any more. */
  onOver(error: MidstreamError): void;
}

type FeedState =
  | { readonly name: 'down' }
  | { readonly name: 'attaching' }
  | { readonly name: 'live'; readonly headSeq: number }
  | { readonly name: 'retrying'; readonly stopTimer: () => void }
  | { readonly name: 'over' };

const DOWN: FeedState = { name: 'down' };

export class Feed {
  readonly #deps: FeedDeps;
  #state: FeedState = DOWN;
  #cursor: { readonly epoch: string; seq: number } | undefined;
  #gaps = 0;
  /** Where the last gap was found: the same place twice means that the log can't fill it. */
  #gapSeq: number | undefined;
  #failures = 0;

  constructor(deps: FeedDeps) {
    this.#deps = deps;
  }

  get epoch(): string | undefined {
    return this.#cursor?.epoch;
  }

  get seq(): number | undefined {
    return this.#cursor?.seq;
  }

  /** Whether everything that was in the log at the last attach has arrived. */
  get isCaughtUp(): boolean {
    return this.#state.name === 'live' && (this.#cursor?.seq ?? 0) >= this.#state.headSeq;
  }

  /** A connection is ready, or the log said that it begins anew. */
  attach(): void {
    if (this.#state.name === 'over') return;
    if (this.#state.name === 'retrying') this.#state.stopTimer();
    const { sessionId, runtime, send } = this.#deps;
    const attaching: FeedState = { name: 'attaching' };
    this.#state = attaching;
    const cursor = this.#cursor && { after_seq: this.#cursor.seq, epoch: this.#cursor.epoch };
    const id = createCommandId(runtime.now());
    send({ type: 'session.attach', id, session_id: sessionId, deltas: true, ...cursor }, 'connection', {
      accepted: (frame) => {
        if (this.#state === attaching) this.#begin(frame);
      },
      rejected: (error) => {
        if (this.#state === attaching) this.#handleRefusal(error);
      },
    });
  }

  /** The connection went. */
  lose(): void {
    if (this.#state.name === 'retrying') this.#state.stopTimer();
    if (this.#state.name !== 'over') this.#state = DOWN;
  }

  end(): void {
    this.lose();
    this.#state = { name: 'over' };
  }

  handleEvent(event: SessionEvent): void {
    // Frames between a second attach and its reply are of the first one; they come again after it.
    if (this.#state.name !== 'live' || !this.#cursor) return;
    if (event.seq <= this.#cursor.seq) return;
    if ((event.prev_seq ?? event.seq - 1) !== this.#cursor.seq) return this.#mend();
    this.#cursor.seq = event.seq;
    this.#deps.onEvent(event);
  }

  #mend(): void {
    const { seq } = this.#cursor!;
    this.#gaps += 1;
    if (this.#gapSeq === seq) this.#cursor = undefined;
    this.#gapSeq = seq;
    this.attach();
  }

  #begin(frame: CommandAccepted): void {
    const { mode, epoch, head_seq: headSeq, snapshot } = frame.result as unknown as AttachResult;
    const afterSeq = this.#cursor?.seq;
    this.#failures = 0;
    if (mode === 'snapshot' && snapshot) {
      this.#cursor = { epoch, seq: snapshot.seq };
      this.#state = { name: 'live', headSeq: snapshot.seq };
      this.#deps.onSnapshot(snapshot, epoch);
    } else {
      this.#cursor = { epoch, seq: afterSeq ?? 0 };
      this.#state = { name: 'live', headSeq };
    }
    this.#deps.onAttached({ mode, epoch, afterSeq, headSeq, gaps: this.#gaps });
  }

  #handleRefusal(error: MidstreamError): void {
    if (error.row.retryable) {
      const waitMs = error.retryAfterMs ?? backoffMs(DEFAULT_BACKOFF, this.#failures, this.#deps.runtime.random);
      this.#failures += 1;
      this.#state = { name: 'retrying', stopTimer: this.#deps.runtime.after(waitMs, () => this.attach()) };
      return;
    }
    this.end();
    this.#deps.onOver(error);
  }
}
