/** One socket, from its opening to its one end: authenticates, notices silence, and reports why it ended. */
import { CLOSE } from '../protocol/close-codes.js';
import { createCommandId } from './command-id.js';
import { type ClosingFrame, parseFrame, type ReadyFrame, type ServerFrame } from './frames.js';
import type { Runtime } from './runtime.js';
import type { WebSocketLike } from './web-socket.js';

/** Why a connection ended. */
export interface ConnectionEnd {
  readonly code: number;
  readonly reason: string;
  /** The server's own word on whether to come back, where it said one. */
  readonly reconnect?: boolean;
  /** HTTP status of a refused upgrade, where the socket class tells. */
  readonly upgradeStatus?: number;
}

export interface ConnectionDeps {
  readonly socket: WebSocketLike;
  readonly token: string | undefined;
  readonly runtime: Runtime;
  readonly timing: ConnectionTiming;
  onReady(frame: ReadyFrame): void;
  onFrame(frame: ServerFrame): void;
  /** Called once. No other call follows. */
  onEnd(end: ConnectionEnd): void;
}

export interface ConnectionTiming {
  /** From the start until `connection.ready`. */
  readonly openTimeoutMs: number;
  /** Silence after which a `ping` asks whether the server is there. */
  readonly pingAfterMs: number;
  /** How long any frame may take to come after that `ping`. */
  readonly pongTimeoutMs: number;
}

export class Connection {
  readonly #deps: ConnectionDeps;
  #over = false;
  #closing: ClosingFrame | undefined;
  #upgradeStatus: number | undefined;
  #lastHeardMs: number;
  #stopTimer: () => void;

  constructor(deps: ConnectionDeps) {
    this.#deps = deps;
    const { socket, runtime, timing } = deps;
    this.#lastHeardMs = runtime.now();
    this.#stopTimer = runtime.after(timing.openTimeoutMs, () => this.drop('no answer while connecting'));
    socket.onopen = () => this.authenticate(deps.token);
    socket.onmessage = (event: { data: unknown }) => this.#hear(event.data);
    socket.onerror = (event: { message?: unknown }) => {
      const status = /Unexpected server response: (\d{3})/.exec(String(event?.message))?.[1];
      if (status) this.#upgradeStatus = Number(status);
    };
    socket.onclose = (event: { code?: number; reason?: unknown }) =>
      this.#end(event?.code ?? 1006, String(event?.reason ?? ''));
  }

  send(json: string): void {
    if (!this.#over) this.#deps.socket.send(json);
  }

  authenticate(token: string | undefined): void {
    if (token === undefined) return;
    const id = createCommandId(this.#deps.runtime.now());
    this.send(JSON.stringify({ type: 'connection.authenticate', id, token }));
  }

  /** Ends it in order, and says nothing more. */
  close(): void {
    this.#release();
    this.#deps.socket.close(1000);
  }

  /** Ends it as a broken network would: nothing is said to the server, what is under way is lost. */
  drop(reason: string): void {
    if (this.#over) return;
    const { socket } = this.#deps;
    this.#end(1006, reason);
    if (socket.terminate) socket.terminate();
    else socket.close();
  }

  #hear(data: unknown): void {
    const { runtime, timing } = this.#deps;
    this.#lastHeardMs = runtime.now();
    const frame = parseFrame(data);
    if (!frame) return this.drop('the server sent something that is no frame');
    switch (frame.type) {
      case 'connection.ready':
        this.#stopTimer();
        this.#stopTimer = runtime.after(timing.pingAfterMs, () => this.#checkSilence());
        return this.#deps.onReady(frame);
      case 'connection.closing':
        this.#closing = frame;
        return;
      case 'pong':
        return;
      default:
        return this.#deps.onFrame(frame);
    }
  }

  /** One timer that follows the last frame heard, rather than one set anew for each frame. */
  #checkSilence(): void {
    const { runtime, timing } = this.#deps;
    const quietMs = runtime.now() - this.#lastHeardMs;
    if (quietMs < timing.pingAfterMs) {
      this.#stopTimer = runtime.after(timing.pingAfterMs - quietMs, () => this.#checkSilence());
      return;
    }
    const askedMs = runtime.now();
    this.send(JSON.stringify({ type: 'ping', id: createCommandId(askedMs) }));
    this.#stopTimer = runtime.after(timing.pongTimeoutMs, () => {
      if (this.#lastHeardMs < askedMs) this.drop('the server fell silent');
      else this.#checkSilence();
    });
  }

  #end(code: number, reason: string): void {
    if (this.#over) return;
    this.#release();
    const said = this.#closing;
    const known = code === 1006 || code === 1005 ? (said?.code ?? code) : code;
    this.#deps.onEnd({
      code: known,
      reason: reason === '' ? (said?.reason ?? '') : reason,
      ...(said && { reconnect: said.reconnect || known === CLOSE.silentPeer }),
      ...(this.#upgradeStatus !== undefined && { upgradeStatus: this.#upgradeStatus }),
    });
  }

  #release(): void {
    this.#over = true;
    this.#stopTimer();
    const { socket } = this.#deps;
    socket.onopen = null;
    socket.onmessage = null;
    socket.onclose = null;
    // A socket closed while it connects reports an error; without a listener `ws` would throw it.
    socket.onerror = () => {};
  }
}
