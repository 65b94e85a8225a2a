/** One prompt and all that the agent does about it: its events, its text, its end, and the ways to change its course. */
import type { UserMessage, UserSteer } from '../protocol/commands.js';
import type { MidstreamError } from '../protocol/errors.js';
import type { EventOf, SessionEvent, StopReason, Usage } from '../protocol/events.js';
import type { CommandAccepted } from '../protocol/frames.js';
import { EventBuffer } from './event-buffer.js';
import type { Transcript } from './transcript/transcript.js';
import { toTextStream, TurnText } from './turn-text.js';

export interface TurnEnd {
  /** `unknown` where the turn ended while this client was away for so long that the log no longer says how. */
  readonly stop_reason: StopReason | 'unknown';
  readonly partial: boolean;
  readonly usage?: Usage;
  readonly estimated?: boolean;
  readonly cost_usd?: number;
  readonly duration_ms?: number;
  readonly error?: EventOf<'turn.ended'>['error'];
}

export interface TurnAccepted {
  readonly turn_id: string;
  readonly message_id?: string;
  /** Turns ahead; 0: starts now. */
  readonly position?: number;
}

export type UserContent = UserMessage['content'] | string;
export type SteerOptions = Partial<Pick<UserSteer, 'apply'>>;
export interface CancelOptions {
  readonly reason?: string;
  readonly scope?: 'turn' | 'turn_and_queue';
}
export interface Cancelled {
  readonly turn_id?: string;
  readonly outcome: 'cancelled' | 'already_ended';
}
export interface Steered {
  readonly turn_id: string;
  readonly steer_id: string;
  readonly outcome: 'joined' | 'pending';
}

/** How a turn is named to the server: by its own id once that is known, by the command's until then (CAN-1). */
export type TurnName = { readonly turn_id: string } | { readonly command_id: string };

export interface TurnDeps {
  readonly commandId: string;
  /** Takes the prompt back, if it was never sent. */
  withdraw(): boolean;
  interrupt(name: TurnName, options: CancelOptions): Promise<Cancelled>;
  steer(content: UserContent, options: SteerOptions & { turn_id?: string }): Promise<Steered>;
  /** It needs no more events. */
  onOver(): void;
}

interface Deferred<T> {
  readonly promise: Promise<T>;
  resolve(value: T): void;
  reject(error: unknown): void;
}

function createDeferred<T>(): Deferred<T> {
  let resolve!: (value: T) => void;
  let reject!: (error: unknown) => void;
  const promise = new Promise<T>((onResolve, onReject) => {
    resolve = onResolve;
    reject = onReject;
  });
  // Whoever awaits it sees the failure; nobody has to await every promise of a turn.
  promise.catch(() => {});
  return { promise, resolve, reject };
}

export class Turn implements AsyncIterable<SessionEvent> {
  readonly commandId: string;
  readonly #deps: TurnDeps;
  readonly #buffer = new EventBuffer();
  readonly #text = new TurnText();
  readonly #accepted = createDeferred<TurnAccepted>();
  readonly #ended = createDeferred<TurnEnd>();
  readonly #wholeText = createDeferred<string>();
  #turnId: string | undefined;
  /** Set while this prompt is a steer that has neither joined the running turn nor become one of its own. */
  #pendingSteerId: string | undefined;
  #isOver = false;

  constructor(deps: TurnDeps) {
    this.#deps = deps;
    this.commandId = deps.commandId;
  }

  /** Known from the echo or the reply on, whichever comes first. */
  get turnId(): string | undefined {
    return this.#turnId;
  }

  /** Resolves when the server took the prompt; rejects when it refused. */
  get accepted(): Promise<TurnAccepted> {
    return this.#accepted.promise;
  }

  /** Resolves at the turn's end, however it ended; rejects only where there was no turn, or no way to learn its end. */
  get ended(): Promise<TurnEnd> {
    return this.#ended.promise;
  }

  /** The whole text of the answer, at the turn's end. */
  get text(): Promise<string> {
    return this.#wholeText.promise;
  }

  /** The text that is here already. */
  get textSoFar(): string {
    return this.#text.value;
  }

  /** Events, from the echo of the prompt to `turn.ended`. They can be read once, here or by `textStream`. */
  [Symbol.asyncIterator](): AsyncIterableIterator<SessionEvent> {
    return this.#buffer;
  }

  /** The answer's text, each piece once. */
  textStream(): AsyncIterable<string> {
    return toTextStream(this.#buffer);
  }

  /** Works from the moment `prompt()` returned: before the reply, while queued, mid-token, while a tool runs. */
  async cancel(options: CancelOptions = {}): Promise<Cancelled> {
    if (this.#isOver && this.#turnId === undefined) return { outcome: 'already_ended' };
    if (!this.#isOver && this.#deps.withdraw()) {
      this.#finish({ stop_reason: 'cancelled', partial: true });
      return { outcome: 'cancelled' };
    }
    const name = this.#turnId === undefined ? { command_id: this.commandId } : { turn_id: this.#turnId };
    return this.#deps.interrupt(name, options);
  }

  /** Says something to the running turn: at its next step, or `now`. */
  async steer(content: UserContent, options: SteerOptions = {}): Promise<Steered> {
    const turnId = this.#turnId;
    return this.#deps.steer(content, { ...options, ...(turnId !== undefined && { turn_id: turnId }) });
  }

  /** The session's events, all of them, in order. */
  apply(event: SessionEvent): void {
    if (this.#isOver) return;
    if (event.type === 'user.message' && event.command_id === this.commandId) {
      this.#follow({ ...event, turn_id: event.turn_id ?? '' }, event.steer_id);
    } else if (
      event.type === 'turn.queued' &&
      event.steer_id !== undefined &&
      event.steer_id === this.#pendingSteerId
    ) {
      this.#pendingSteerId = undefined;
      this.#turnId = event.turn_id;
    } else if (event.type === 'steer.joined' && event.steer_id === this.#pendingSteerId) {
      this.#pendingSteerId = undefined;
    }
    if (event.turn_id === undefined || event.turn_id !== this.#turnId) return;
    this.#text.apply(event);
    this.#buffer.push(event);
    if (event.type === 'turn.ended') this.#finish(event);
  }

  /** The server took the prompt. `seen` is the transcript, `seenSeq` how far it goes; undefined where it is yet to come. */
  accept(frame: CommandAccepted, seen: Transcript, seenSeq: number | undefined): void {
    if (this.#isOver || this.#turnId !== undefined) return;
    const { turn_id: turnId = '', message_id, position, steer_id } = frame.result;
    this.#follow({ turn_id: turnId, message_id, position }, steer_id);
    const isSkipped = seenSeq !== undefined && (frame.applied_at_seq ?? 0) <= seenSeq;
    if (isSkipped) this.restart(seen);
  }

  /** The log was left out up to `seen`: a turn that is still in it goes on, any other has ended unseen. */
  restart(seen: Transcript): void {
    if (this.#isOver || this.#turnId === undefined) return;
    const steerId = this.#pendingSteerId;
    const candidates = [...(seen.turn ? [seen.turn] : []), ...seen.queue];
    const live = candidates.find(
      ({ turnId, messageId }) => turnId === this.#turnId || (steerId !== undefined && messageId === steerId),
    );
    if (!live) return this.#finish({ stop_reason: 'unknown', partial: true });
    this.#turnId = live.turnId;
    for (const item of seen.items)
      if (item.kind === 'assistant' && item.turnId === live.turnId) this.#text.replace(item.id, item.content);
  }

  fail(error: MidstreamError): void {
    if (this.#isOver) return;
    this.#isOver = true;
    this.#accepted.reject(error);
    this.#ended.reject(error);
    this.#wholeText.reject(error);
    this.#buffer.fail(error);
    this.#deps.onOver();
  }

  #follow(accepted: TurnAccepted, steerId: string | undefined): void {
    this.#turnId = accepted.turn_id;
    this.#pendingSteerId = steerId;
    const { turn_id, message_id, position } = accepted;
    this.#accepted.resolve({ turn_id, message_id, position });
  }

  #finish(end: TurnEnd): void {
    this.#isOver = true;
    const { stop_reason, partial, usage, estimated, cost_usd, duration_ms, error } = end;
    this.#accepted.resolve({ turn_id: this.#turnId ?? '' });
    this.#ended.resolve({ stop_reason, partial, usage, estimated, cost_usd, duration_ms, error });
    this.#wholeText.resolve(this.#text.value);
    this.#buffer.end();
    this.#deps.onOver();
  }
}
