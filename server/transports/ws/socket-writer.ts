/** All writes to one socket, joined into one per tick; and its pauses: of subscriptions while it is full, of reading while it is choked. */
import type { Socket } from 'node:net';
import { WebSocket } from 'ws';
import { BOUNDS } from '../../../protocol/index.js';

export class SocketWriter {
  private corked = false;
  private readingPaused = false;
  private waiting: (() => void)[] = [];

  constructor(
    private readonly socket: WebSocket,
    private readonly tcp: Socket,
  ) {
    tcp.on('drain', this.drained);
  }

  /** Bytes handed over and not yet taken by the kernel. */
  get backlogBytes(): number {
    return this.socket.bufferedAmount;
  }

  get isReadingPaused(): boolean {
    return this.readingPaused;
  }

  send(text: string): void {
    if (this.socket.readyState !== WebSocket.OPEN) return;
    if (!this.corked) {
      this.corked = true;
      this.tcp.cork();
      process.nextTick(this.uncork);
    }
    this.socket.send(text);
  }

  /** Whether the socket takes more (LOG-6); where it doesn't, `onDrain` is called once it is empty. */
  takesMore(onDrain: () => void): boolean {
    if (this.socket.bufferedAmount <= BOUNDS.socketBufferBytes) return true;
    this.waiting.push(onDrain);
    return false;
  }

  /** Reads no more commands until the peer has taken what it was sent. */
  pauseReading(): void {
    this.readingPaused = true;
    this.socket.pause();
  }

  end(): void {
    this.waiting = [];
    this.tcp.off('drain', this.drained);
  }

  private readonly uncork = (): void => {
    this.corked = false;
    this.tcp.uncork();
  };

  private readonly drained = (): void => {
    if (this.readingPaused) {
      this.readingPaused = false;
      this.socket.resume();
    }
    const { waiting } = this;
    this.waiting = [];
    for (const resume of waiting) resume();
  };
}
