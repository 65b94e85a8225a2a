/** One subscription's end of a socket that carries many. */
import type { CloseCode, ControlFrame } from '../../../protocol/index.js';
import { type FrameSink, type LogRecord, toFrame } from '../../session/session-api.js';
import type { SocketWriter } from './socket-writer.js';

export interface SocketSinkDeps {
  readonly sessionId: string;
  readonly writer: SocketWriter;
  /** The server ended this subscription: the session is gone, or the membership. */
  readonly onDetached: () => void;
  readonly closeConnection: (code: CloseCode, reason: string) => void;
}

export class SocketSink implements FrameSink {
  private ended = false;
  /** The latest word on who is there, while the socket takes nothing: it says all that the ones before it said. */
  private presence: ControlFrame | undefined;

  constructor(private readonly deps: SocketSinkDeps) {}

  get isEnded(): boolean {
    return this.ended;
  }

  write(record: LogRecord, prevSeq: number): void {
    if (!this.ended) this.deps.writer.send(toFrame(this.deps.sessionId, record, prevSeq));
  }

  flush(onDrain: () => void): boolean {
    return this.ended || this.deps.writer.takesMore(onDrain);
  }

  get backlogBytes(): number {
    return this.deps.writer.backlogBytes;
  }

  control(frame: ControlFrame): void {
    if (this.ended) return;
    if (frame.type === 'presence.changed' && this.isHeldBack(frame)) return;
    this.deps.writer.send(JSON.stringify(frame));
    if (frame.type === 'connection.detached') {
      this.end();
      this.deps.onDetached();
    }
  }

  /** Whether it waits until the socket takes more: who doesn't read must not be a place to store things (LOG-6). */
  private isHeldBack(frame: ControlFrame): boolean {
    const isWaiting = this.presence !== undefined;
    if (!isWaiting && this.deps.writer.takesMore(this.showPresence)) return false;
    this.presence = frame;
    return true;
  }

  private readonly showPresence = (): void => {
    const { presence } = this;
    this.presence = undefined;
    if (presence) this.control(presence);
  };

  close(code: CloseCode, reason: string): void {
    if (!this.ended) this.deps.closeConnection(code, reason);
  }

  /** Nothing of this subscription is sent any more. */
  end(): void {
    this.ended = true;
  }
}
