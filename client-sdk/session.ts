/** One session, as its user sees it: prompts, answers, tools, approvals and the transcript, across any number of connections. */
import type { ClientFrameInput, UserInterrupt, UserMessage } from '../protocol/commands.js';
import type { ClientTool } from '../protocol/content.js';
import type { MidstreamError } from '../protocol/errors.js';
import type { SessionEvent } from '../protocol/events.js';
import type { CommandAccepted, ControlFrame } from '../protocol/frames.js';
import type { PresenceMember, Snapshot } from '../protocol/resources.js';
import { type ApprovalHandler, Approvals, type Decision } from './approvals.js';
import { createCommandId } from './command-id.js';
import { closedError } from './errors.js';
import { type Attached, Feed } from './feed.js';
import type { Lifetime, Reply } from './outbox.js';
import type { Runtime } from './runtime.js';
import { createSignal, type Signal } from './signal.js';
import { toToolResult, type ToolOutput } from './tool-output.js';
import { ClientTools, type ToolHandler, type ToolRegistration } from './tools.js';
import { fold } from './transcript/fold.js';
import { fromSnapshot } from './transcript/from-snapshot.js';
import { emptyTranscript, type Transcript } from './transcript/transcript.js';
import { type Cancelled, type Steered, type SteerOptions, Turn, type UserContent } from './turn.js';

export type PromptOptions = Partial<
  Pick<UserMessage, 'on_busy' | 'max_tokens' | 'model' | 'tool_choice' | 'deadline_ms' | 'tags'>
> & {
  /** Cancels the turn when it aborts. */
  readonly signal?: AbortSignal;
};
export type InterruptOptions = Partial<
  Pick<UserInterrupt, 'turn_id' | 'message_id' | 'command_id' | 'scope' | 'reason'>
>;

export interface SessionDeps {
  readonly sessionId: string;
  readonly runtime: Runtime;
  connectionId(): string | undefined;
  send(frame: ClientFrameInput, lifetime: Lifetime, reply: Reply): void;
  withdraw(commandId: string): boolean;
  onError(error: unknown): void;
  onOver(error: MidstreamError): void;
}

type SessionFrame = Extract<ControlFrame, { type: 'connection.reset' | 'connection.detached' | 'presence.changed' }>;

export class Session {
  readonly id: string;
  readonly #deps: SessionDeps;
  readonly #feed: Feed;
  readonly #tools: ClientTools;
  readonly #approvals: Approvals;
  readonly #turns = new Set<Turn>();
  readonly #changes: Signal<[transcript: Transcript, event: SessionEvent | undefined]>;
  readonly #attaches: Signal<[attached: Attached]>;
  readonly #presence: Signal<[members: readonly PresenceMember[]]>;
  #transcript: Transcript;
  #isConnected = false;
  /** Resolves when the session's state is here; rejects where it can't be had. */
  readonly attached: Promise<void>;
  #refuse: (error: MidstreamError) => void = () => {};

  constructor(deps: SessionDeps) {
    const { sessionId, runtime, send, onError, connectionId } = deps;
    this.id = sessionId;
    this.#deps = deps;
    this.#transcript = emptyTranscript(sessionId);
    this.#changes = createSignal(onError);
    this.#attaches = createSignal(onError);
    this.#presence = createSignal(onError);
    this.#tools = new ClientTools({ sessionId, runtime, connectionId, send, onError });
    this.#approvals = new Approvals({ sessionId, runtime, send, onError });
    this.attached = new Promise((resolve, reject) => {
      this.#attaches.on(() => resolve());
      this.#refuse = reject;
    });
    this.attached.catch(() => {});
    this.#feed = new Feed({
      sessionId,
      runtime,
      send,
      onSnapshot: (snapshot, epoch) => this.#restart(snapshot, epoch),
      onAttached: (attached) => {
        this.#transcript = { ...this.#transcript, epoch: attached.epoch };
        this.#attaches.emit(attached);
        this.#act();
      },
      onEvent: (event) => this.#apply(event),
      onOver: deps.onOver,
    });
  }

  /** The session as it stands; a new object after every change, with unchanged parts shared. */
  get transcript(): Transcript {
    return this.#transcript;
  }

  /** Called after every change: with the event, or without one where a snapshot began it anew. */
  subscribe(listener: (transcript: Transcript, event: SessionEvent | undefined) => void): () => void {
    return this.#changes.on(listener);
  }

  /** Called after every attach: the first, after a reconnect, and where a gap was mended. */
  onAttached(listener: (attached: Attached) => void): () => void {
    return this.#attaches.on(listener);
  }

  onPresence(listener: (members: readonly PresenceMember[]) => void): () => void {
    return this.#presence.on(listener);
  }

  prompt(content: UserContent, options: PromptOptions = {}): Turn {
    const { signal, ...fields } = options;
    const id = this.#newId();
    const turn = new Turn({
      commandId: id,
      withdraw: () => this.#deps.withdraw(id),
      interrupt: (name, cancel) => this.interrupt({ ...name, ...cancel }),
      steer: (text, steer) => this.steer(text, steer),
      onOver: () => {
        this.#turns.delete(turn);
        signal?.removeEventListener('abort', onAbort);
      },
    });
    const onAbort = (): void => void turn.cancel().catch(this.#deps.onError);
    this.#turns.add(turn);
    this.#deps.send({ type: 'user.message', id, session_id: this.id, content, ...fields }, 'client', {
      accepted: (frame) => turn.accept(frame, this.#transcript, this.#feed.seq),
      rejected: (error) => turn.fail(error),
    });
    if (signal?.aborted) onAbort();
    else signal?.addEventListener('abort', onAbort, { once: true });
    return turn;
  }

  /** Says something to the running turn, whoever began it. */
  async steer(content: UserContent, options: SteerOptions & { turn_id?: string } = {}): Promise<Steered> {
    const frame = await this.#request({
      type: 'user.steer',
      id: this.#newId(),
      session_id: this.id,
      content,
      ...options,
    });
    return frame.result as Steered;
  }

  /** Cancels the running turn, whoever began it, or the one that is named. */
  async interrupt(options: InterruptOptions = {}): Promise<Cancelled> {
    const frame = await this.#request({ type: 'user.interrupt', id: this.#newId(), session_id: this.id, ...options });
    return frame.result as Cancelled;
  }

  /** Offers a function of this client to the model, on this connection and on every later one. */
  tool<Input = Record<string, unknown>>(definition: ClientTool, handler: ToolHandler<Input>): ToolRegistration {
    return this.#tools.add(definition, handler as ToolHandler);
  }

  /** Asks `handler` about every call that waits for an approver. */
  onApproval(handler: ApprovalHandler): void {
    this.#approvals.handle(handler);
    this.#act();
  }

  /** Decides about a call that waits for an approver. */
  async confirm(toolUseId: string, decision: Decision): Promise<void> {
    const id = this.#newId();
    await this.#request({
      type: 'user.tool_confirmation',
      id,
      session_id: this.id,
      tool_use_id: toolUseId,
      ...decision,
    });
  }

  /** Answers a client tool call by hand, in place of its connection. */
  async answer(toolUseId: string, output: ToolOutput): Promise<void> {
    const frame = { type: 'user.custom_tool_result' as const, id: this.#newId(), session_id: this.id };
    await this.#request({ ...frame, custom_tool_use_id: toolUseId, ...toToolResult(output) });
  }

  /** Shows `state` to the other members; gone with the connection. */
  async setPresence(state: Record<string, unknown>): Promise<void> {
    await this.#request({ type: 'presence.update', id: this.#newId(), session_id: this.id, state });
  }

  /** Stops watching. Turns go on at the server (CMD-4); those of this object reject. */
  close(): void {
    if (this.#isConnected)
      this.#deps.send({ type: 'session.detach', id: this.#newId(), session_id: this.id }, 'connection', {
        accepted: () => {},
        rejected: () => {},
      });
    this.#deps.onOver(closedError('session'));
  }

  /** @internal A connection is ready. */
  connect(): void {
    this.#isConnected = true;
    this.#feed.attach();
    this.#tools.connect();
  }

  /** @internal The connection went. */
  disconnect(): void {
    this.#isConnected = false;
    this.#feed.lose();
    this.#tools.disconnect();
  }

  /** @internal */
  handleEvent(event: SessionEvent): void {
    this.#feed.handleEvent(event);
  }

  /** @internal */
  handleControl(frame: SessionFrame): void {
    if (frame.type === 'presence.changed') this.#presence.emit(frame.members);
    else if (frame.type === 'connection.reset' && this.#isConnected) this.#feed.attach();
  }

  /** @internal It is over for this client: everything that waits is told so. */
  end(error: MidstreamError): void {
    this.#refuse(error);
    this.#feed.end();
    this.#tools.end(error);
    this.#approvals.end();
    for (const turn of [...this.#turns]) turn.fail(error);
  }

  #restart(snapshot: Snapshot, epoch: string): void {
    this.#transcript = fromSnapshot(snapshot, epoch);
    this.#tools.applySnapshot(snapshot);
    this.#approvals.applySnapshot(snapshot);
    for (const turn of [...this.#turns]) turn.restart(this.#transcript);
    this.#changes.emit(this.#transcript, undefined);
  }

  #apply(event: SessionEvent): void {
    this.#transcript = fold(this.#transcript, event);
    this.#tools.apply(event);
    this.#approvals.apply(event);
    for (const turn of [...this.#turns]) turn.apply(event);
    this.#changes.emit(this.#transcript, event);
    this.#act();
  }

  #act(): void {
    if (!this.#feed.isCaughtUp) return;
    this.#tools.runOffered();
    this.#approvals.askOpen();
  }

  #newId(): string {
    return createCommandId(this.#deps.runtime.now());
  }

  #request(frame: ClientFrameInput): Promise<CommandAccepted> {
    return new Promise((resolve, reject) => {
      this.#deps.send(frame, 'client', { accepted: resolve, rejected: reject });
    });
  }
}
