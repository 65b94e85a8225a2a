/** A user of a server that keeps dying: prompts, answers tools, comes back by cursor, and remembers what it was promised. */
import type { EventOf, SessionEvent } from '../../protocol/index.js';
import type { Random } from '../core/support/random.js';
import { type Accepted, type CommandInput, WsRecorder } from './ws-recorder.js';
import { WsTranscript } from './ws-transcript.js';

type Message = Extract<CommandInput, { type: 'user.message' }> & { id: string };

export interface Kept {
  readonly command: Message;
  readonly accepted: Accepted;
}

const EDIT = { name: 'edit_document', description: 'Edits.', input_schema: { type: 'object' as const } };

export class ChaosUser {
  readonly #name: string;
  readonly #random: Random;
  /** What was accepted, with its reply. */
  readonly promises: Kept[] = [];
  /** Everything seen, over all connections; one entry a seq. */
  readonly seen = new Map<number, SessionEvent>();
  readonly transcript = new WsTranscript();
  readonly violations: string[] = [];
  sessionId = '';
  #cursor = 0;
  #count = 0;
  #isSettling = false;
  #client: WsRecorder | undefined;
  #unsure: Message | undefined;
  #stopped: Promise<void> = Promise.resolve();

  constructor(name: string, random: Random) {
    this.#name = name;
    this.#random = random;
  }

  async begin(wsUrl: string): Promise<void> {
    const client = await WsRecorder.connect(wsUrl);
    this.sessionId = await client.createSession({ title: this.#name });
    await client.drop();
  }

  /** Connects, goes on from the cursor and works until the connection breaks. */
  async work(wsUrl: string): Promise<void> {
    const client = await WsRecorder.connect(wsUrl);
    this.#client = client;
    await this.#resume(client);
    this.#stopped = this.#run(client).catch(() => undefined);
  }

  /** Resolves when the server is gone, and takes down what came until then. */
  async lost(): Promise<void> {
    const client = this.#client;
    if (client === undefined) return;
    await client.closed;
    await this.#stopped;
    this.#note(client);
  }

  /** Connects for the last time, lets everything come to an end, and takes it down. */
  async settle(wsUrl: string): Promise<void> {
    const client = await WsRecorder.connect(wsUrl);
    await this.#resume(client);
    this.#isSettling = true;
    await this.#repeat(client);
    const answering = this.#answer(client);
    const { result } = await client.prompt(this.sessionId, `${this.#name}-last`);
    await client.event('turn.ended', { turnId: result.turn_id });
    await client.waitFor((f) => f.type === 'session.status_idle' && f.seq > client.lastSeq(this.sessionId) - 1, 'idle');
    await client.drop();
    await answering;
    this.#note(client);
  }

  /** Everything promised is sent once more: each is a duplicate, with the same answer. */
  async #repeat(client: WsRecorder): Promise<void> {
    for (const { command, accepted } of this.promises) {
      const again = await client.accepted(command);
      const isSame =
        again.duplicate === true &&
        again.applied_at_seq === accepted.applied_at_seq &&
        JSON.stringify(again.result) === JSON.stringify(accepted.result);
      if (!isSame) this.violations.push(`[CMD-2] ${command.id} was forgotten: ${JSON.stringify(again)}`);
    }
  }

  async #resume(client: WsRecorder): Promise<void> {
    const { mode, snapshot } = await client.attach(this.sessionId, { after_seq: this.#cursor });
    if (mode === 'snapshot')
      this.violations.push(`[LOG-4] ${this.sessionId}: no replay after ${this.#cursor}: ${snapshot?.seq}`);
    await client.accepted({ type: 'tools.register', session_id: this.sessionId, tools: [EDIT] });
    const unsure = this.#unsure;
    if (unsure !== undefined) await this.#send(client, unsure);
  }

  async #run(client: WsRecorder): Promise<void> {
    void this.#answer(client);
    for (;;) {
      const content = `${this.#name}-${++this.#count} ${this.#random.pick(['talk', 'search', 'edit', 'both'])}`;
      const id = `${this.#name}-${this.#count}`;
      const accepted = await this.#send(client, { type: 'user.message', id, session_id: this.sessionId, content });
      const turnId = accepted.result.turn_id as string;
      const session_id = this.sessionId;
      const apply = this.#random.pick(['next_step', 'now'] as const);
      if (this.#random.chance(0.2)) await client.request({ type: 'user.steer', session_id, content: 'steer', apply });
      if (this.#random.chance(0.2)) await client.request({ type: 'user.interrupt', session_id });
      if (this.#random.chance(0.7)) await client.event('turn.ended', { turnId });
    }
  }

  async #send(client: WsRecorder, command: Message): Promise<Accepted> {
    this.#unsure = command;
    const accepted = await client.accepted(command);
    this.#unsure = undefined;
    this.promises.push({ command, accepted });
    return accepted;
  }

  /** Answers what is offered, also to a connection that the last crash took, until this one closes. */
  async #answer(client: WsRecorder): Promise<void> {
    const open = [...this.seen.values()].filter(
      (event): event is EventOf<'tool.offered'> => event.type === 'tool.offered',
    );
    let answered = open.at(-1)?.seq ?? 0;
    for (const offer of open) this.#give(client, offer);
    for (;;) {
      const offer = await client
        .waitFor((f) => f.type === 'tool.offered' && f.seq > answered, 'an offer')
        .catch(() => undefined);
      if (offer === undefined || offer.type !== 'tool.offered') return;
      answered = offer.seq;
      this.#give(client, offer);
    }
  }

  #give(client: WsRecorder, { tool_use_id: id }: EventOf<'tool.offered'>): void {
    // Some are left until the next connection comes.
    if (!this.#isSettling && this.#random.chance(0.2)) return;
    client.send({
      type: 'user.custom_tool_result',
      session_id: this.sessionId,
      custom_tool_use_id: id,
      content: 'edited',
    });
  }

  #note(client: WsRecorder): void {
    this.violations.push(...client.violations);
    for (const event of client.events(this.sessionId)) {
      if (this.seen.has(event.seq)) this.violations.push(`[LOG-4] ${this.sessionId}: ${event.seq} came twice`);
      this.seen.set(event.seq, event);
      this.transcript.take(event);
    }
    this.#cursor = Math.max(this.#cursor, client.lastSeq(this.sessionId));
  }
}
