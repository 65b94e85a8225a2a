/** One chat turn as it runs: sends the message, follows its turn in the log, and cancels it for a client that went away. */
import {
  type ChatEvent,
  type ChatRequest,
  type CloseCode,
  type ControlFrame,
  MidstreamError,
} from '../../../protocol/index.js';
import type { NewId } from '../../ports/identity.js';
import type { Logger } from '../../ports/logger.js';
import type { Attachment, Caller, FrameSink, LogRecord, SessionApi } from '../../session/session-api.js';
import { ChatProjection } from './chat-projection.js';
import { checkSystemPrompt, toSessionCreate, toUserMessage } from './chat-request.js';

export interface ChatTurnDeps {
  readonly api: SessionApi;
  readonly newId: NewId;
  readonly logger: Logger;
  readonly caller: Caller;
}

/** Who shows the turn: a stream, or the one JSON answer. */
export interface ChatAudience {
  show(events: readonly ChatEvent[]): void;
  /** Ends a pull; as `FrameSink.flush`. */
  flush(onDrain: () => void): boolean;
  /** Nothing more comes, though the turn may go on without this client. */
  lose(error: MidstreamError): void;
  /** As `FrameSink.backlogBytes`. */
  readonly backlogBytes: number;
}

export class ChatTurn {
  private attachment: Attachment | undefined;
  private sentTo: { sessionId: string; commandId: string } | undefined;
  private gone = false;
  private lostBy: MidstreamError | undefined;
  private audience: ChatAudience | undefined;
  private projected: ChatProjection | undefined;

  constructor(
    private readonly deps: ChatTurnDeps,
    private readonly chat: ChatRequest,
  ) {}

  /** Resolves once the message is accepted; rejects with the refusal. Nothing is shown before `follow`. */
  async send(commandId: string): Promise<ChatProjection> {
    const { api, caller } = this.deps;
    const sessionId = await this.openSession(commandId);
    this.attachment = await this.attach(sessionId, 'head');
    const message = toUserMessage(commandId, sessionId, this.chat);
    this.sentTo = { sessionId, commandId };
    const sent = api.dispatch(caller, message);
    // Behind the message, so that it finds what it cancels (CMD-5).
    if (this.gone) this.leave();
    const { result, duplicate, applied_at_seq } = await sent;
    if (result.turn_id === undefined) throw new Error('user.message was accepted without a turn_id');
    if (duplicate === true && applied_at_seq !== undefined) {
      // The turn began before this request came: it is read from where its message stands.
      this.attachment.detach();
      this.attachment = await this.attach(sessionId, applied_at_seq - 1);
      if (this.attachment.result.mode === 'snapshot')
        throw new MidstreamError('turn_not_found', 'This turn is no longer in the log; read the conversation instead');
    }
    this.projected = new ChatProjection(sessionId, result.turn_id);
    return this.projected;
  }

  follow(audience: ChatAudience): void {
    this.audience = audience;
    if (this.lostBy !== undefined) audience.lose(this.lostBy);
    else this.attachment?.start();
  }

  /** Ends the watching; the turn goes on (CMD-4). */
  detach(): void {
    this.attachment?.detach();
  }

  /** The client may watch no longer; the turn goes on. */
  cutOff(error: MidstreamError): void {
    this.detach();
    this.lose(error);
  }

  /** The client went away: by `on_disconnect` its turn is cancelled, also while its message is under way (CAN-1). */
  leave(): void {
    this.gone = true;
    this.detach();
    if (this.sentTo === undefined || this.chat.on_disconnect === 'continue') return;
    const { api, caller, logger, newId } = this.deps;
    const { sessionId, commandId } = this.sentTo;
    api
      .dispatch(caller, {
        type: 'user.interrupt',
        id: newId('cmd'),
        session_id: sessionId,
        command_id: commandId,
        reason: 'The client of the chat went away',
      })
      .catch((error: unknown) => {
        if (error instanceof MidstreamError && error.code === 'turn_not_found') return;
        logger.warn('A chat whose client went away could not be cancelled', {
          request_id: caller.requestId,
          session_id: sessionId,
          error: error instanceof Error ? error.message : String(error),
        });
      });
  }

  get isGone(): boolean {
    return this.gone;
  }

  private async openSession(commandId: string): Promise<string> {
    const { api, caller } = this.deps;
    const { conversation_id } = this.chat;
    if (conversation_id !== undefined) {
      if (this.chat.system_prompt !== undefined)
        checkSystemPrompt(this.chat, await api.getSession(caller, conversation_id));
      return conversation_id;
    }
    const { result } = await api.dispatch(caller, toSessionCreate(commandId, this.chat));
    if (result.session === undefined) throw new Error('session.create was accepted without a session');
    return result.session.id;
  }

  private attach(sessionId: string, afterSeq: number | 'head'): Promise<Attachment> {
    const turn = this;
    const sink: FrameSink = {
      get backlogBytes() {
        return turn.audience?.backlogBytes ?? 0;
      },
      write: (record) => this.take(record),
      flush: (onDrain) => this.audience?.flush(onDrain) ?? true,
      control: (frame) => this.control(frame),
      close: (code, reason) => this.closed(code, reason),
    };
    return this.deps.api.attach(this.deps.caller, { sessionId, afterSeq, epoch: undefined, deltas: true }, sink);
  }

  private take(record: LogRecord): void {
    const events = this.projected?.project(record) ?? [];
    if (events.length > 0) this.audience?.show(events);
  }

  private control(frame: ControlFrame): void {
    if (frame.type === 'connection.detached')
      this.lose(new MidstreamError(frame.code === 'forbidden' ? 'forbidden' : 'session_not_found'));
    else if (frame.type === 'connection.reset') this.lose(new MidstreamError('store_unavailable'));
  }

  private closed(_code: CloseCode, reason: string): void {
    this.lose(new MidstreamError('internal', reason));
  }

  private lose(error: MidstreamError): void {
    this.lostBy ??= error;
    this.audience?.lose(error);
  }
}
