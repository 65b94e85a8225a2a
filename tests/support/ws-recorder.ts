/**
 * A WebSocket client that believes nothing: every frame is parsed by its schema, and the laws that a client can check
 * are checked on each. It keeps all frames, and waits for what a test names.
 */
import type { Socket } from 'node:net';
import { WebSocket } from 'ws';
import {
  type ClientFrameInput,
  type CommandAccepted,
  type CommandRejected,
  type ControlFrame,
  type EventOf,
  type EventType,
  type SessionEvent,
  type Snapshot,
  SUBPROTOCOL,
  serverFrameSchema,
} from '../../protocol/index.js';
import { within } from './blackbox-server.js';
import { WsLaws } from './ws-laws.js';

export type Frame = ControlFrame | SessionEvent;
export type Reply = CommandAccepted | CommandRejected;
type WithoutId<T> = T extends unknown ? Omit<T, 'id'> & { id?: string } : never;
/** A command; its id is made up where it is left out. */
export type CommandInput = WithoutId<ClientFrameInput>;

export interface Accepted extends CommandAccepted {
  // biome-ignore lint/suspicious/noExplicitAny: which fields there are depends on the command.
  readonly result: any;
}

const WAIT_MS = 10_000;
let connections = 0;

export class WsRecorder {
  readonly frames: Frame[] = [];
  /** How long a frame is waited for, in milliseconds. */
  patienceMs = WAIT_MS;
  readonly closed: Promise<{ code: number; reason: string }>;
  readonly #socket: WebSocket;
  readonly #laws = new WsLaws();
  readonly #waiting = new Set<() => void>();
  readonly #name = `c${++connections}`;
  #commands = 0;
  #isClosed = false;

  private constructor(socket: WebSocket) {
    this.#socket = socket;
    socket.on('message', (data) => this.#take(String(data)));
    socket.on('error', () => undefined);
    this.closed = new Promise((resolve) => {
      socket.once('close', (code, reason) => {
        this.#isClosed = true;
        this.#wake();
        resolve({ code, reason: String(reason) });
      });
    });
  }

  /** Resolves when the server said `connection.ready`. */
  static async connect(
    wsUrl: string,
    headers: Readonly<Record<string, string>> = {},
    patienceMs = WAIT_MS,
  ): Promise<WsRecorder> {
    const socket = new WebSocket(wsUrl, SUBPROTOCOL, { headers, perMessageDeflate: false });
    const recorder = new WsRecorder(socket);
    recorder.patienceMs = patienceMs;
    try {
      await recorder.waitFor('connection.ready');
    } catch (error) {
      socket.terminate();
      throw error;
    }
    return recorder;
  }

  get connectionId(): string {
    const ready = this.frames.find((frame) => frame.type === 'connection.ready');
    return ready?.type === 'connection.ready' ? ready.connection_id : '';
  }

  /** What broke a law; a suite asserts that it is empty. */
  get violations(): readonly string[] {
    return this.#laws.violations;
  }

  /** The ids of commands that were sent and not answered (CMD-1). */
  get unanswered(): readonly string[] {
    return this.#laws.unanswered;
  }

  get isClosed(): boolean {
    return this.#isClosed;
  }

  /** Where a resume would begin. */
  lastSeq(sessionId: string): number {
    return this.#laws.lastSeq(sessionId);
  }

  events(sessionId?: string): readonly SessionEvent[] {
    return this.frames.filter(
      (frame): frame is SessionEvent => 'seq' in frame && (sessionId === undefined || frame.session_id === sessionId),
    );
  }

  /** Sends and doesn't wait. Returns the command's id. */
  send(command: CommandInput): string {
    const id = command.id ?? `${this.#name}-${++this.#commands}`;
    const frame = { ...command, id } as ClientFrameInput;
    this.#laws.sent(frame);
    this.#socket.send(JSON.stringify(frame));
    return id;
  }

  sendRaw(data: string | Buffer): void {
    this.#socket.send(data);
  }

  async request(command: CommandInput): Promise<Reply> {
    // An id may have been sent, and answered, before.
    const from = this.frames.length;
    return this.replyTo(this.send(command), from);
  }

  /** The reply to a command that was sent without waiting; of frames from this place on. */
  replyTo(id: string, from = 0): Promise<Reply> {
    const isReply = (frame: Frame): frame is Reply =>
      (frame.type === 'command.accepted' || frame.type === 'command.rejected') && frame.id === id;
    return this.waitFor(isReply, `a reply to ${id}`, from);
  }

  /** Sends, and fails where it is refused. */
  async accepted(command: CommandInput): Promise<Accepted> {
    const reply = await this.request(command);
    if (reply.type === 'command.rejected')
      throw new Error(`${command.type} was refused: ${JSON.stringify(reply.error)}`);
    return reply;
  }

  /** Sends, and fails where it is accepted. */
  async refused(command: CommandInput): Promise<CommandRejected['error']> {
    const reply = await this.request(command);
    if (reply.type === 'command.accepted') throw new Error(`${command.type} was accepted: ${JSON.stringify(reply)}`);
    return reply.error;
  }

  async createSession(fields: Omit<Extract<CommandInput, { type: 'session.create' }>, 'type'> = {}): Promise<string> {
    const { result } = await this.accepted({ type: 'session.create', ...fields });
    return result.session.id;
  }

  /** A new session, watched with deltas. */
  async openSession(fields: Omit<Extract<CommandInput, { type: 'session.create' }>, 'type'> = {}): Promise<string> {
    const sessionId = await this.createSession(fields);
    await this.attach(sessionId);
    return sessionId;
  }

  async attach(
    sessionId: string,
    fields: { after_seq?: number; epoch?: string; deltas?: boolean } = {},
  ): Promise<{ mode: 'replay' | 'snapshot'; epoch: string; head_seq: number; snapshot?: Snapshot }> {
    const command = { type: 'session.attach' as const, session_id: sessionId, deltas: true, ...fields };
    const { result } = await this.accepted(command);
    return result;
  }

  prompt(
    sessionId: string,
    content: string,
    fields: Partial<Extract<CommandInput, { type: 'user.message' }>> = {},
  ): Promise<Accepted> {
    return this.accepted({ type: 'user.message', session_id: sessionId, content, ...fields });
  }

  /** The first event of this type of this turn. */
  event<T extends EventType>(type: T, of: { turnId?: string; sessionId?: string } = {}): Promise<EventOf<T>> {
    const fits = (frame: Frame): frame is EventOf<T> & Frame =>
      frame.type === type &&
      (of.turnId === undefined || ('turn_id' in frame && frame.turn_id === of.turnId)) &&
      (of.sessionId === undefined || ('session_id' in frame && frame.session_id === of.sessionId));
    return this.waitFor(fits, `${type} of ${JSON.stringify(of)}`) as Promise<EventOf<T>>;
  }

  /** The first frame that fits, whether it came already or is to come. Fails where the connection closes before. */
  waitFor<T extends Frame>(fits: (frame: Frame) => frame is T, what?: string, from?: number): Promise<T>;
  waitFor(fits: Frame['type'] | ((frame: Frame) => boolean), what?: string, from?: number): Promise<Frame>;
  waitFor(fits: Frame['type'] | ((frame: Frame) => boolean), what = String(fits), from = 0): Promise<Frame> {
    const test = typeof fits === 'string' ? (frame: Frame) => frame.type === fits : fits;
    let seen = from;
    const found = new Promise<Frame>((resolve, reject) => {
      const check = (): void => {
        for (; seen < this.frames.length; seen += 1) {
          const frame = this.frames[seen] as Frame;
          if (!test(frame)) continue;
          this.#waiting.delete(check);
          resolve(frame);
          return;
        }
        if (!this.#isClosed) return;
        this.#waiting.delete(check);
        reject(new Error(`the connection closed before ${what}; last: ${this.#tail()}`));
      };
      this.#waiting.add(check);
      check();
    });
    return within(found, this.patienceMs, () => `no frame fits ${what}; last: ${this.#tail()}`);
  }

  /** Resolves when `check` says so; it is asked after every frame. */
  async until(check: () => boolean, what = String(check)): Promise<void> {
    if (check()) return;
    await this.waitFor(() => check(), what);
  }

  /** Reads no more from the socket, as a client that hangs. */
  pause(): void {
    this.#tcp.pause();
  }

  resume(): void {
    this.#tcp.resume();
  }

  /** Breaks the connection without a goodbye. */
  async drop(): Promise<void> {
    this.#socket.terminate();
    await this.closed;
  }

  async close(): Promise<void> {
    this.#socket.close();
    await this.closed;
  }

  get #tcp(): Socket {
    return (this.#socket as unknown as { _socket: Socket })._socket;
  }

  #take(text: string): void {
    const parsed = serverFrameSchema.safeParse(JSON.parse(text));
    if (!parsed.success) this.#laws.violations.push(`not a frame of the protocol: ${text.slice(0, 300)}`);
    const frame = (parsed.success ? parsed.data : JSON.parse(text)) as Frame;
    this.#laws.take(frame);
    this.frames.push(frame);
    this.#wake();
  }

  #wake(): void {
    for (const check of [...this.#waiting]) check();
  }

  #tail(): string {
    return this.frames
      .slice(-6)
      .map((frame) => JSON.stringify(frame).slice(0, 300))
      .join('\n');
  }
}
