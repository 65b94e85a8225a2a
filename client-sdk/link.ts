/** Keeps one connection to the server: connects, waits with jittered backoff, connects again, or stops where something must be mended. */
import { isReconnectable } from '../protocol/close-codes.js';
import { SUBPROTOCOL } from '../protocol/limits.js';
import type { MidstreamError } from '../protocol/errors.js';
import { type Backoff, backoffMs } from './backoff.js';
import { Connection, type ConnectionEnd, type ConnectionTiming } from './connection.js';
import { toCloseError } from './errors.js';
import type { ReadyFrame, ServerFrame } from './frames.js';
import type { Runtime } from './runtime.js';
import { findWebSocket, type WebSocketConstructor } from './web-socket.js';

export type TokenSource = string | (() => string | Promise<string>);

export type TicketSource = () => string | Promise<string>;

export type ConnectionStatus =
  | { readonly state: 'connecting'; readonly attempt: number }
  | { readonly state: 'ready'; readonly connectionId: string; readonly principal: ReadyFrame['principal'] }
  | { readonly state: 'waiting'; readonly attempt: number; readonly delayMs: number; readonly reason: string }
  | { readonly state: 'closed'; readonly error?: MidstreamError };

export interface LinkDeps {
  readonly url: string;
  readonly token: TokenSource | undefined;
  readonly ticket: TicketSource | undefined;
  readonly webSocket: WebSocketConstructor | undefined;
  readonly runtime: Runtime;
  readonly backoff: Backoff;
  readonly timing: ConnectionTiming;
  onReady(frame: ReadyFrame): void;
  onFrame(frame: ServerFrame): void;
  /** The connection went; another one is on its way. */
  onLost(): void;
  /** Over for good: coming back unchanged would fail again. */
  onFatal(error: MidstreamError): void;
  onStatus(status: ConnectionStatus): void;
}

type LinkState =
  | { readonly name: 'idle' }
  | { readonly name: 'preparing' }
  | { readonly name: 'connecting'; readonly connection: Connection }
  | { readonly name: 'ready'; readonly connection: Connection; readonly sinceMs: number; stopTimer: () => void }
  | { readonly name: 'waiting'; readonly stopTimer: () => void }
  | { readonly name: 'closed' };

/** A connection that lasted this long was a good one: the next failure is counted from zero. */
const STEADY_MS = 5_000;

export class Link {
  readonly #deps: LinkDeps;
  #state: LinkState = { name: 'idle' };
  /** Failed attempts since the last steady connection. */
  #attempt = 0;
  readonly #onOnline = (): void => {
    if (this.#state.name === 'waiting') this.#retryNow();
  };

  constructor(deps: LinkDeps) {
    this.#deps = deps;
  }

  open(): void {
    globalThis.addEventListener?.('online', this.#onOnline);
    void this.#connect();
  }

  /** Only between `onReady` and `onLost`; dropped otherwise. */
  send(json: string): void {
    if (this.#state.name === 'ready') this.#state.connection.send(json);
  }

  /** Ends the connection abruptly and comes back after `offlineMs`, or as after any failure. */
  drop(offlineMs?: number): void {
    const state = this.#state;
    if (state.name !== 'ready' && state.name !== 'connecting') return;
    state.connection.drop('dropped on request');
    if (offlineMs !== undefined && this.#name() === 'waiting') this.#wait(offlineMs, 'dropped on request');
  }

  close(): void {
    const state = this.#state;
    if (state.name === 'closed') return;
    this.#leave();
    this.#state = { name: 'closed' };
    if (state.name === 'connecting' || state.name === 'ready') state.connection.close();
    this.#deps.onStatus({ state: 'closed' });
  }

  #name(): LinkState['name'] {
    return this.#state.name;
  }

  #leave(): void {
    globalThis.removeEventListener?.('online', this.#onOnline);
    if (this.#state.name === 'waiting' || this.#state.name === 'ready') this.#state.stopTimer();
  }

  async #connect(): Promise<void> {
    const { url, token, ticket, webSocket, runtime, timing, onFrame } = this.#deps;
    const preparing: LinkState = { name: 'preparing' };
    this.#state = preparing;
    this.#deps.onStatus({ state: 'connecting', attempt: this.#attempt });
    try {
      const [Socket, credential, oneTime] = await Promise.all([
        findWebSocket(webSocket),
        // Who has a ticket needs a token only to stay longer than it lasts.
        ticket === undefined && typeof token === 'function' ? token() : token,
        ticket?.(),
      ]);
      if (this.#state !== preparing) return;
      const connection = new Connection({
        socket: new Socket(url, oneTime === undefined ? [SUBPROTOCOL] : [SUBPROTOCOL, `ticket.${oneTime}`]),
        token: typeof credential === 'string' && oneTime === undefined ? credential : undefined,
        runtime,
        timing,
        onReady: (frame) => this.#becomeReady(connection, frame),
        onFrame: (frame) => {
          if (frame.type === 'connection.token_expiring') void this.#renew(connection);
          else if (frame.type === 'connection.draining') this.#moveOn(connection, frame.reconnect_after_ms);
          else onFrame(frame);
        },
        onEnd: (end) => this.#handleEnd(end),
      });
      this.#state = { name: 'connecting', connection };
    } catch (error) {
      if (this.#state === preparing) this.#retry(error instanceof Error ? error.message : String(error));
    }
  }

  #becomeReady(connection: Connection, frame: ReadyFrame): void {
    this.#state = { name: 'ready', connection, sinceMs: this.#deps.runtime.now(), stopTimer: () => {} };
    this.#deps.onReady(frame);
    this.#deps.onStatus({ state: 'ready', connectionId: frame.connection_id, principal: frame.principal });
  }

  async #renew(connection: Connection): Promise<void> {
    const { token } = this.#deps;
    if (typeof token !== 'function') return;
    try {
      connection.authenticate(await token());
    } catch {
      // The token stays as it is; at its end the server closes with 4401 and the next connection asks for one again.
    }
  }

  /** The node goes down: leave it after the hint, when another is ready to take over. */
  #moveOn(connection: Connection, afterMs: number): void {
    const state = this.#state;
    if (state.name !== 'ready' || state.connection !== connection) return;
    state.stopTimer();
    state.stopTimer = this.#deps.runtime.after(afterMs, () => {
      connection.close();
      this.#deps.onLost();
      void this.#connect();
    });
  }

  #handleEnd(end: ConnectionEnd): void {
    const state = this.#state;
    const wasReady = state.name === 'ready';
    if (state.name === 'ready') {
      state.stopTimer();
      if (this.#deps.runtime.now() - state.sinceMs >= STEADY_MS) this.#attempt = 0;
      this.#deps.onLost();
    }
    // onLost runs the caller's code, which may have closed the link.
    if (this.#name() === 'closed') return;
    const { code, reason, upgradeStatus } = end;
    const { token, ticket } = this.#deps;
    // A ticket that came too late is no reason to give up: the next one may be in time.
    const passes = upgradeStatus === 429 || (upgradeStatus === 401 && ticket !== undefined);
    const refused = upgradeStatus !== undefined && upgradeStatus >= 400 && upgradeStatus < 500 && !passes;
    if (refused) return this.#stop(toCloseError(upgradeStatus === 401 ? 4401 : 4403, `HTTP ${upgradeStatus}`));
    // A token that ran out while this machine slept is mended by asking its source again.
    const isMended = code === 4401 && wasReady && (ticket !== undefined || typeof token === 'function');
    if (!isMended && !(end.reconnect ?? isReconnectable(code))) return this.#stop(toCloseError(code, reason));
    this.#retry(reason === '' ? `closed with ${code}` : reason);
  }

  #retry(reason: string): void {
    const delayMs = backoffMs(this.#deps.backoff, this.#attempt, this.#deps.runtime.random);
    this.#attempt += 1;
    this.#wait(delayMs, reason);
  }

  #wait(delayMs: number, reason: string): void {
    if (this.#state.name === 'waiting') this.#state.stopTimer();
    this.#state = { name: 'waiting', stopTimer: this.#deps.runtime.after(delayMs, () => this.#retryNow()) };
    this.#deps.onStatus({ state: 'waiting', attempt: this.#attempt, delayMs, reason });
  }

  #retryNow(): void {
    if (this.#state.name === 'waiting') this.#state.stopTimer();
    void this.#connect();
  }

  #stop(error: MidstreamError): void {
    this.#leave();
    this.#state = { name: 'closed' };
    this.#deps.onFatal(error);
    this.#deps.onStatus({ state: 'closed', error });
  }
}
