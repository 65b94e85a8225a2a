/**
 * A client of servers that come and go: connects through the proxy, goes on from its cursor, sends again under the same
 * id what was not answered, does what its seed says, and comes back whenever it is cut off or has waited too long.
 */
import { setTimeout as after } from 'node:timers/promises';
import type { Random } from '../core/support/random.js';
import type { CommandBook } from './command-book.js';
import { nextCommands, toAnswer } from './node-acts.js';
import { type OpenCall, SessionView } from './session-view.js';
import { type CommandInput, type Reply, WsRecorder } from './ws-recorder.js';
import { WsSeen } from './ws-seen.js';

export interface NodeClientDeps {
  readonly name: string;
  readonly wsUrl: string;
  readonly headers: Readonly<Record<string, string>>;
  readonly sessionId: string;
  /** Of all clients of the session. */
  readonly book: CommandBook;
  readonly random: Random;
  readonly mood: Mood;
}

/** What a client does beside answering its tools. */
export interface Mood {
  /** How often it breaks its connection by itself after an act, 0 to 1. */
  readonly drops: number;
  /** Whether it prompts only, and lets every turn come to its end. */
  readonly acts: 'all' | 'prompts';
}

const CONNECT_MS = 1_000;
/** A server that doesn't answer for so long is left for another. */
const REPLY_MS = 2_500;
/** Once all servers are up: the time of a lease, CAN-2's two seconds, and a busy machine. */
const LAST_REPLY_MS = 10_000;
const SETTLE_MS = 25_000;
const LOOK_MS = 200;

const EDIT = { name: 'edit_document', description: 'Edits.', input_schema: { type: 'object' as const } };

export class NodeClient {
  readonly deps: NodeClientDeps;
  readonly seen = new WsSeen();
  readonly view = new SessionView();
  readonly violations: string[] = [];
  /** How often it had to connect. */
  connections = 0;
  /** Sent by this client, answered or not. */
  readonly #ids = new Set<string>();
  /** Of these, what waits for its reply on the connection that is open. */
  readonly #inFlight = new Set<string>();
  #client: WsRecorder | undefined;
  #phase: 'working' | 'settling' | 'over' = 'working';
  #commands = 0;
  /** What ended the connection before. */
  #lastError: unknown;
  #settleBy = Number.POSITIVE_INFINITY;

  constructor(deps: NodeClientDeps) {
    this.deps = deps;
  }

  /** Works until `rest`, then sees to it that what was begun comes to an end. Resolves when the session is at rest. */
  async run(): Promise<void> {
    while (this.#isOn) {
      await this.#live().catch((error: unknown) => {
        this.#lastError = error;
        return after(20 + this.deps.random.int(80));
      });
      if (Date.now() > this.#settleBy) throw new Error(`${this.deps.name} did not come to rest: ${this.#left()}`);
    }
  }

  /** No further acts. */
  rest(): void {
    if (this.#phase !== 'working') return;
    this.#phase = 'settling';
    this.#settleBy = Date.now() + SETTLE_MS;
  }

  /** Ends it wherever it is. */
  async giveUp(): Promise<void> {
    this.#phase = 'over';
    await this.#client?.drop();
  }

  /** Reads on until it has this event, then leaves. */
  async leaveAt(seq: number): Promise<void> {
    while (this.seen.cursor < seq) {
      const client = this.#client?.isClosed === false ? this.#client : await this.#connect();
      await client.until(() => client.lastSeq(this.deps.sessionId) >= seq, `the event ${seq}`);
      this.#take(client);
    }
    await this.#client?.drop();
    if (this.#client) this.#note(this.#client);
  }

  get #isOn(): boolean {
    return this.#phase !== 'over';
  }

  /** One connection, from its beginning to its end. Rejects where it ends early. */
  async #live(): Promise<void> {
    const client = await this.#connect();
    try {
      await Promise.all(this.#unsure().map((command) => this.#send(client, command)));
      void this.#answerOffers(client);
      while (this.#phase === 'working') await this.#act(client);
      if (this.#phase === 'settling') await this.#settle(client);
      this.#phase = 'over';
    } catch (error) {
      await client.drop();
      this.#note(client);
      throw error;
    }
  }

  async #connect(): Promise<WsRecorder> {
    const { wsUrl, headers, sessionId } = this.deps;
    const client = await WsRecorder.connect(wsUrl, headers, CONNECT_MS);
    this.connections += 1;
    client.patienceMs = REPLY_MS;
    try {
      const { mode } = await client.attach(sessionId, { after_seq: this.seen.cursor });
      if (mode === 'snapshot') this.violations.push(`[LOG-4] ${this.deps.name}: no replay after ${this.seen.cursor}`);
      await client.accepted({ type: 'tools.register', session_id: sessionId, tools: [EDIT] });
    } catch (error) {
      await client.drop();
      this.#note(client);
      throw error;
    }
    this.#client = client;
    return client;
  }

  async #act(client: WsRecorder): Promise<void> {
    const { random, sessionId, mood, name } = this.deps;
    this.#take(client);
    const toId = (): string => `${name}-${++this.#commands}`;
    const commands = nextCommands({ random, sessionId, view: this.view, acts: mood.acts, toId });
    const replies = await Promise.all(commands.map((command) => this.#send(client, command)));
    this.#take(client);
    const turnId = replies.map((reply) => reply.type === 'command.accepted' && reply.result?.turn_id).find(Boolean);
    // Where the end is long in coming, it goes on with something else.
    if (turnId && (mood.acts === 'prompts' || random.chance(0.8)))
      await client.event('turn.ended', { turnId: turnId as string }).catch(() => undefined);
    // A client has its own time; nothing is waited for.
    await after(random.int(150));
    if (client.isClosed || random.chance(mood.drops)) throw new Error('the connection is over');
  }

  async #send(client: WsRecorder, command: CommandInput & { id: string }): Promise<Reply> {
    const { book, name } = this.deps;
    this.#ids.add(command.id);
    const from = client.frames.length;
    book.sent(command as never, `${name}/${this.connections}`);
    client.send(command);
    const { patienceMs } = client;
    this.#inFlight.add(command.id);
    try {
      const reply = await client.replyTo(command.id, from);
      book.answered(reply);
      return reply;
    } catch (error) {
      if (patienceMs === LAST_REPLY_MS && !client.isClosed)
        this.violations.push(`[CMD-1] ${command.type} ${command.id} was not answered in ${patienceMs} ms`);
      throw error;
    } finally {
      this.#inFlight.delete(command.id);
    }
  }

  #unsure(): readonly (CommandInput & { id: string })[] {
    return this.deps.book.unsure(this.#ids).filter(({ id }) => !this.#inFlight.has(id));
  }

  /** Until the connection closes. Some are left to whoever comes next. */
  async #answerOffers(client: WsRecorder): Promise<void> {
    for (let from = 0; !client.isClosed; from = client.frames.length) {
      this.#take(client);
      for (const call of this.view.openCalls) {
        const isMine = call.kind === 'confirmation' || call.offeredTo === client.connectionId;
        if (isMine && this.deps.random.chance(0.8)) void this.#give(client, call).catch(() => undefined);
      }
      const isAsking = ({ type }: { type: string }): boolean => type === 'tool.offered' || type === 'turn.waiting';
      await client.waitFor(isAsking, 'a question', from).catch(() => undefined);
    }
  }

  #give(client: WsRecorder, call: OpenCall): Promise<Reply> {
    const id = `${this.deps.name}-${++this.#commands}`;
    return this.#send(client, toAnswer(call, this.deps.sessionId, id, this.deps.random));
  }

  /** Everything that is open is answered, by whoever comes first, until nothing is. */
  async #settle(client: WsRecorder): Promise<void> {
    client.patienceMs = LAST_REPLY_MS;
    for (;;) {
      await Promise.all(this.#unsure().map((command) => this.#send(client, command)));
      this.#take(client);
      if (this.view.isIdle && this.#unsure().length + this.#inFlight.size === 0) break;
      await Promise.all(this.view.openCalls.map((call) => this.#give(client, call)));
      if (client.isClosed) throw new Error('the connection is over');
      const from = client.frames.length;
      const isNews = ({ type }: { type: string }): boolean => type === 'turn.ended' || type === 'turn.waiting';
      await Promise.race([client.waitFor(isNews, 'news', from).catch(() => undefined), after(LOOK_MS)]);
      if (Date.now() > this.#settleBy) throw new Error('not at rest');
    }
    for (const id of client.unanswered) this.violations.push(`[CMD-1] ${id} was not answered`);
  }

  #take(client: WsRecorder): void {
    for (const event of this.seen.take(client, this.deps.sessionId)) this.view.take(event);
  }

  #left(): string {
    const { openTurns, openCalls } = this.view;
    return JSON.stringify({
      session: this.deps.sessionId,
      openTurns,
      openCalls,
      unsure: this.#unsure(),
      isIdle: this.view.isIdle,
      inFlight: [...this.#inFlight],
      cursor: this.seen.cursor,
      connections: this.connections,
      lastError: String(this.#lastError),
    });
  }

  #note(client: WsRecorder): void {
    this.#take(client);
    this.violations.push(...client.violations);
  }
}
