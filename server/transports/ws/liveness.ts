/** Whether one peer is there: pings it, and ends what is silent or takes nothing. */
import type { Socket } from 'node:net';
import { WebSocket } from 'ws';
import { BOUNDS, CLOSE, type CloseCode } from '../../../protocol/index.js';
import { BEAT_MS, type Pulse } from './heartbeat.js';
import type { SocketWriter } from './socket-writer.js';

export interface LivenessDeps {
  readonly socket: WebSocket;
  readonly tcp: Socket;
  readonly writer: SocketWriter;
  readonly close: (code: CloseCode, reason: string) => void;
}

const beats = (ms: number): number => ms / BEAT_MS;

export class Liveness implements Pulse {
  private bytesRead: number;
  private silentBeats = 0;
  private chokedBeats = 0;
  private beatsSincePing = 0;

  constructor(private readonly deps: LivenessDeps) {
    this.bytesRead = deps.tcp.bytesRead;
  }

  beat(): void {
    const { socket, tcp, writer, close } = this.deps;
    if (socket.readyState !== WebSocket.OPEN) return;
    if (writer.isReadingPaused) {
      // A peer whose replies wait can't be heard: it is judged by what it takes.
      this.silentBeats = 0;
      this.chokedBeats += 1;
      if (this.chokedBeats >= beats(BOUNDS.slowConsumerMs))
        close(CLOSE.slowConsumer, 'The replies to this connection were not read for 30 s');
      return;
    }
    this.chokedBeats = 0;
    this.silentBeats = tcp.bytesRead === this.bytesRead ? this.silentBeats + 1 : 0;
    this.bytesRead = tcp.bytesRead;
    if (this.silentBeats >= beats(BOUNDS.silentPeerMs)) {
      close(CLOSE.silentPeer, 'Nothing was heard of this peer for 60 s, not even an answer to a ping');
      return;
    }
    this.beatsSincePing += 1;
    if (this.beatsSincePing >= beats(BOUNDS.pingIntervalMs)) {
      this.beatsSincePing = 0;
      socket.ping();
    }
  }
}
