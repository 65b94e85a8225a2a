/** The client: one connection, any number of sessions on it, and the commands under way. */
import type { SessionCreate } from '../protocol/commands.js';
import { BOUNDS } from '../protocol/limits.js';
import type { MidstreamError } from '../protocol/errors.js';
import { type Backoff, DEFAULT_BACKOFF } from './backoff.js';
import { createCommandId } from './command-id.js';
import { closedError, toError } from './errors.js';
import { isSessionEvent, type ReadyFrame, type ServerFrame } from './frames.js';
import { type ConnectionStatus, Link, type TicketSource, type TokenSource } from './link.js';
import { Outbox } from './outbox.js';
import { type Runtime, systemRuntime } from './runtime.js';
import { Session } from './session.js';
import { toSocketUrl, type WebSocketConstructor } from './web-socket.js';

export interface ClientOptions {
  /** Where the server is, `http(s)://` or `ws(s)://`. In a browser the page's own origin is the default. */
  readonly url?: string;
  /** A JWT or API key, or where to get one: a function is asked before each connection and when the token runs out. */
  readonly token?: TokenSource;
  /**
   * Where to get a one-time ticket (`POST /v1/ws-tickets`, asked by the page's own backend): asked before each
   * connection, in place of `token`, which then only renews.
   */
  readonly ticket?: TicketSource;
  /** Where the platform has none, or another is wanted. */
  readonly webSocket?: WebSocketConstructor;
  readonly onStatus?: (status: ConnectionStatus) => void;
  /** What nobody awaits: an exception in a listener, a refused tool result, a refused registration. */
  readonly onError?: (error: unknown) => void;
  /** Commands that may wait for their reply at a time; more are refused with `overloaded`. Default 256. */
  readonly maxPendingCommands?: number;
  readonly backoff?: Partial<Backoff>;
  /** Silence after which the client asks whether the server is there. Default 25 s. */
  readonly pingAfterMs?: number;
  /** How long the server may take to answer that. Default 10 s. */
  readonly pongTimeoutMs?: number;
  /** From the start of a connection until the server is ready. Default 15 s. */
  readonly openTimeoutMs?: number;
}

export type NewSession = Pick<SessionCreate, 'agent' | 'title' | 'metadata'>;

const DEFAULT_MAX_PENDING = 256;

export class MidstreamClient {
  readonly #runtime: Runtime;
  readonly #link: Link;
  readonly #outbox: Outbox;
  readonly #sessions = new Map<string, Session>();
  readonly #onError: (error: unknown) => void;
  #ready: ReadyFrame | undefined;
  #final: MidstreamError | undefined;

  constructor(options: ClientOptions, runtime: Runtime) {
    const { onStatus, onError, maxPendingCommands = DEFAULT_MAX_PENDING } = options;
    this.#runtime = runtime;
    this.#onError = onError ?? ((error) => console.error('midstream:', error));
    this.#outbox = new Outbox({ runtime, maxPending: maxPendingCommands, send: (json) => this.#link.send(json) });
    this.#link = new Link({
      url: toSocketUrl(options.url),
      token: options.token,
      ticket: options.ticket,
      webSocket: options.webSocket,
      runtime,
      backoff: { ...DEFAULT_BACKOFF, ...options.backoff },
      timing: {
        openTimeoutMs: options.openTimeoutMs ?? 15_000,
        pingAfterMs: options.pingAfterMs ?? BOUNDS.pingIntervalMs,
        pongTimeoutMs: options.pongTimeoutMs ?? 10_000,
      },
      onReady: (frame) => this.#resume(frame),
      onFrame: (frame) => this.#route(frame),
      onLost: () => this.#pause(),
      onFatal: (error) => this.#end(error),
      onStatus: (status) => {
        try {
          onStatus?.(status);
        } catch (error) {
          this.#onError(error);
        }
      },
    });
    this.#link.open();
  }

  /** The id under which the server knows this moment's connection. */
  get connectionId(): string | undefined {
    return this.#ready?.connection_id;
  }

  /** Makes a session and attaches to it. */
  async createSession(fields: NewSession = {}): Promise<Session> {
    const id = createCommandId(this.#runtime.now());
    const sessionId = await new Promise<string>((resolve, reject) => {
      this.#outbox.send({ type: 'session.create', id, ...fields }, 'client', {
        accepted: ({ result }) => resolve(result.session?.id ?? ''),
        rejected: reject,
      });
    });
    return this.attach(sessionId);
  }

  /** Attaches to a session; resolves when its state is here. */
  attach(sessionId: string): Promise<Session> {
    const session = this.session(sessionId);
    return session.attached.then(() => session);
  }

  /** The session at once; it attaches meanwhile, and what is sent to it waits for that where it must. */
  session(sessionId: string): Session {
    const known = this.#sessions.get(sessionId);
    if (known) return known;
    const session = new Session({
      sessionId,
      runtime: this.#runtime,
      connectionId: () => this.connectionId,
      send: (frame, lifetime, reply) => this.#outbox.send(frame, lifetime, reply),
      withdraw: (commandId) => this.#outbox.withdraw(commandId),
      onError: this.#onError,
      onOver: (error) => this.#drop(session, error),
    });
    if (this.#final) {
      session.end(this.#final);
      return session;
    }
    this.#sessions.set(sessionId, session);
    if (this.#ready) session.connect();
    return session;
  }

  /** Breaks the connection as a bad network would, then reconnects as always; for demonstrations and tests. */
  drop(options: { readonly offlineMs?: number } = {}): void {
    this.#link.drop(options.offlineMs);
  }

  /** Ends everything: what waits for a reply rejects, turns go on at the server (CMD-4). */
  close(): void {
    if (this.#final) return;
    this.#end(closedError('client'));
    this.#link.close();
  }

  #resume(ready: ReadyFrame): void {
    this.#ready = ready;
    this.#outbox.open(ready.limits);
    // Attach first, then tools, then what was under way: so a prompt finds the tools that it counts on.
    for (const session of [...this.#sessions.values()]) session.connect();
    this.#outbox.resume();
  }

  #pause(): void {
    this.#ready = undefined;
    this.#outbox.shut();
    for (const session of this.#sessions.values()) session.disconnect();
  }

  #route(frame: ServerFrame): void {
    if (isSessionEvent(frame)) {
      this.#sessions.get(frame.session_id)?.handleEvent(frame);
      return;
    }
    switch (frame.type) {
      case 'command.accepted':
      case 'command.rejected':
        return this.#outbox.handleReply(frame);
      case 'connection.reset':
      case 'presence.changed':
        return this.#sessions.get(frame.session_id)?.handleControl(frame);
      case 'connection.detached': {
        const session = this.#sessions.get(frame.session_id);
        const message = 'The session was deleted, or you are no longer a member.';
        if (session) this.#drop(session, toError({ code: frame.code, message, retryable: false }));
        return;
      }
      default:
        return;
    }
  }

  #drop(session: Session, error: MidstreamError): void {
    this.#sessions.delete(session.id);
    session.end(error);
    this.#outbox.failSession(session.id, error);
  }

  #end(error: MidstreamError): void {
    this.#final = error;
    this.#ready = undefined;
    this.#outbox.fail(error);
    for (const session of [...this.#sessions.values()]) session.end(error);
    this.#sessions.clear();
  }
}

/** Connects, and stays connected. `runtime` is for tests. */
export function createClient(options: ClientOptions = {}, runtime: Runtime = systemRuntime): MidstreamClient {
  return new MidstreamClient(options, runtime);
}
