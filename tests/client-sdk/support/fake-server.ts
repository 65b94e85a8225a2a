/** A server of the protocol's frames over real sockets, whose every answer, delay and fault a test decides. */
import { once } from 'node:events';
import { createServer, type Server } from 'node:http';
import type { AddressInfo } from 'node:net';
import { type WebSocket, WebSocketServer } from 'ws';
import type { ClientFrameInput } from '../../../protocol/commands.js';
import type { SessionEvent } from '../../../protocol/events.js';
import { SUBPROTOCOL } from '../../../protocol/limits.js';
import { FakeLog } from './fake-log.js';

type FrameType = ClientFrameInput['type'];
export type FrameOf<T extends FrameType> = Extract<ClientFrameInput, { type: T }>;
export type Received = ClientFrameInput & { readonly connection: FakeConnection };
/** What becomes of a command: the usual, nothing at all, or done and its reply lost. */
export type Treatment = 'usual' | 'ignored' | 'reply_lost';

export class FakeConnection {
  readonly id: string;
  readonly #socket: WebSocket;
  /** Seq of the last event delivered, by attached session. */
  readonly delivered = new Map<string, number>();

  constructor(id: string, socket: WebSocket) {
    this.id = id;
    this.#socket = socket;
  }

  send(frame: object): void {
    if (this.#socket.readyState === this.#socket.OPEN) this.#socket.send(JSON.stringify(frame));
  }

  sendText(text: string): void {
    this.#socket.send(text);
  }

  close(code: number, reason = ''): void {
    this.#socket.close(code, reason);
  }

  terminate(): void {
    this.#socket.terminate();
  }

  deliver(event: SessionEvent): void {
    const last = this.delivered.get(event.session_id);
    if (last === undefined) return;
    this.delivered.set(event.session_id, event.seq);
    this.send(last === event.seq - 1 ? event : { ...event, prev_seq: last });
  }
}

export interface FakeServerOptions {
  /** Waits for `connection.authenticate` before `connection.ready`. */
  readonly auth?: 'token' | 'none';
  readonly limits?: Record<string, number>;
  readonly pingIntervalMs?: number;
}

export class FakeServer {
  readonly logs = new Map<string, FakeLog>();
  readonly connections: FakeConnection[] = [];
  readonly received: Received[] = [];
  readonly tokens: string[] = [];
  /** Decides what becomes of each command. */
  treat: (frame: Received) => Treatment = () => 'usual';
  /** Sees each command after it was handled. */
  onHandled: (frame: Received) => void = () => {};
  /** Stands between the log and a socket: which events are delivered in place of one. */
  tamper: (event: SessionEvent, connection: FakeConnection) => SessionEvent[] = (event) => [event];
  attachMode: 'replay' | 'snapshot' = 'replay';
  readonly #replies = new Map<string, object>();
  readonly #waiters = new Set<() => void>();
  readonly #options: FakeServerOptions;
  readonly #http: Server;
  readonly #sockets: WebSocketServer;
  #sessions = 0;

  private constructor(options: FakeServerOptions) {
    this.#options = options;
    this.#http = createServer((_, response) => response.writeHead(404).end());
    this.#sockets = new WebSocketServer({ server: this.#http, path: '/v1/ws', handleProtocols: () => SUBPROTOCOL });
    this.#sockets.on('connection', (socket) => this.#welcome(socket));
  }

  static async start(options: FakeServerOptions = {}): Promise<FakeServer> {
    const server = new FakeServer(options);
    server.#http.listen(0, '127.0.0.1');
    await once(server.#http, 'listening');
    return server;
  }

  get http(): Server {
    return this.#http;
  }

  get url(): string {
    return `http://127.0.0.1:${(this.#http.address() as AddressInfo).port}`;
  }

  get connection(): FakeConnection {
    return this.connections.at(-1)!;
  }

  async stop(): Promise<void> {
    for (const socket of this.#sockets.clients) socket.terminate();
    this.#sockets.close();
    this.#http.closeAllConnections();
    this.#http.close();
    await once(this.#http, 'close');
  }

  log(sessionId: string): FakeLog {
    const known = this.logs.get(sessionId);
    if (known) return known;
    const log = new FakeLog(sessionId);
    this.logs.set(sessionId, log);
    return log;
  }

  /** Appends to a log and delivers to whoever is attached. */
  append(sessionId: string, draft: { type: string } & Record<string, unknown>): SessionEvent {
    const event = this.log(sessionId).append(draft);
    for (const connection of this.connections)
      for (const frame of this.tamper(event, connection)) connection.deliver(frame);
    this.#wake();
    return event;
  }

  dropAll(): void {
    for (const connection of this.connections) connection.terminate();
  }

  /** The commands of a type that came so far. */
  of<T extends FrameType>(type: T): (FrameOf<T> & { connection: FakeConnection })[] {
    return this.received.filter((frame) => frame.type === type) as never;
  }

  /** The `count`th command of a type, when it is there. */
  async command<T extends FrameType>(type: T, count = 1): Promise<FrameOf<T> & { connection: FakeConnection }> {
    await this.until(() => this.of(type).length >= count);
    return this.of(type)[count - 1]!;
  }

  /** Resolves when `isTrue`, which is asked after every frame. */
  async until(isTrue: () => boolean): Promise<void> {
    while (!isTrue())
      await new Promise<void>((resolve) => {
        this.#waiters.add(resolve);
      });
  }

  #wake(): void {
    for (const wake of this.#waiters) wake();
    this.#waiters.clear();
  }

  #welcome(socket: WebSocket): void {
    const connection = new FakeConnection(`conn_${this.connections.length + 1}`, socket);
    this.connections.push(connection);
    socket.on('close', () => {
      connection.delivered.clear();
      this.#wake();
    });
    socket.on('message', (data) => {
      this.#handle({ ...(JSON.parse(String(data)) as ClientFrameInput), connection });
      this.#wake();
    });
    if (this.#options.auth !== 'token') this.#sayReady(connection);
    this.#wake();
  }

  #sayReady(connection: FakeConnection): void {
    connection.send({
      type: 'connection.ready',
      protocol: SUBPROTOCOL,
      connection_id: connection.id,
      principal: { user_id: 'local', org_id: 'local', roles: ['admin'] },
      token_expires_at: null,
      ping_interval_ms: this.#options.pingIntervalMs ?? 25_000,
      limits: this.#options.limits ?? { frame_bytes: 1_048_576, commands_per_second: 6_000 },
    });
  }

  #handle(frame: Received): void {
    this.received.push(frame);
    const treatment = this.treat(frame);
    if (treatment === 'ignored') return;
    const reply = this.#replyTo(frame);
    if (reply && treatment === 'usual') frame.connection.send(reply);
    if (frame.type === 'session.attach') this.#replay(frame);
    this.onHandled(frame);
  }

  /** An id that was answered gets the same answer again (CMD-2). */
  #replyTo(frame: Received): object | undefined {
    if (frame.type === 'ping') return { type: 'pong', id: frame.id };
    const first = this.#replies.get(frame.id);
    if (first) return { ...first, duplicate: true };
    const { applied_at_seq, ...result } = this.#carryOut(frame);
    const session_id = 'session_id' in frame ? frame.session_id : undefined;
    const reply = { type: 'command.accepted', id: frame.id, session_id, applied_at_seq, result };
    this.#replies.set(frame.id, reply);
    return reply;
  }

  #carryOut(frame: Received): Record<string, unknown> {
    switch (frame.type) {
      case 'connection.authenticate':
        this.tokens.push(frame.token);
        if (this.tokens.length === this.connections.length) this.#sayReady(frame.connection);
        return { expires_at: null };
      case 'session.create':
        this.#sessions += 1;
        return { session: this.log(`sesn_${this.#sessions}`).resource() };
      case 'session.attach': {
        const log = this.log(frame.session_id);
        const isReplay = this.attachMode === 'replay' && frame.after_seq !== undefined && frame.epoch === log.epoch;
        const base = { epoch: log.epoch, head_seq: log.head };
        return isReplay ? { mode: 'replay', ...base } : { mode: 'snapshot', ...base, snapshot: log.snapshot() };
      }
      case 'user.message': {
        const turn_id = `turn_${frame.id}`;
        const ids = { turn_id, message_id: `sevt_${frame.id}`, position: 0 };
        const content = typeof frame.content === 'string' ? [{ type: 'text', text: frame.content }] : frame.content;
        const { seq } = this.append(frame.session_id, {
          ...{ type: 'user.message', command_id: frame.id, content, actor: { user_id: 'local' }, ...ids },
          ...(frame.on_busy && { on_busy: frame.on_busy }),
        });
        return { ...ids, applied_at_seq: seq };
      }
      case 'user.interrupt':
        return { outcome: 'cancelled', applied_at_seq: this.log(frame.session_id).head };
      case 'user.steer':
        return { turn_id: 'turn_x', steer_id: `sevt_${frame.id}`, outcome: 'pending' };
      default:
        return {};
    }
  }

  #replay(frame: FrameOf<'session.attach'> & { connection: FakeConnection }): void {
    const { connection, session_id } = frame;
    const log = this.log(session_id);
    const isSnapshot = this.attachMode === 'snapshot' || frame.after_seq === undefined || frame.epoch !== log.epoch;
    const from = isSnapshot ? log.head : (frame.after_seq ?? 0);
    connection.delivered.set(session_id, from);
    for (const event of log.events)
      if (event.seq > from) for (const shown of this.tamper(event, connection)) connection.deliver(shown);
  }
}
