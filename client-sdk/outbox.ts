/** Commands on their way: sent in order, answered once each, and sent again under the same id after a reconnect (CMD-2). */
import type { ClientFrameInput } from '../protocol/commands.js';
import { MidstreamError } from '../protocol/errors.js';
import type { CommandAccepted, CommandRejected } from '../protocol/frames.js';
import { lostError, toError } from './errors.js';
import { Pacer } from './pacer.js';
import type { Runtime } from './runtime.js';

/** Called while the reply's frame is handled, before any later frame. */
export interface Reply {
  accepted(frame: CommandAccepted): void;
  rejected(error: MidstreamError): void;
}

/** How long a command is worth sending: as long as the client lives, or on this one connection only. */
export type Lifetime = 'client' | 'connection';

interface Entry {
  readonly frame: ClientFrameInput;
  readonly lifetime: Lifetime;
  readonly reply: Reply;
  state: 'unsent' | 'on_this_connection' | 'on_an_earlier_one';
  retries: number;
}

export interface OutboxDeps {
  readonly runtime: Runtime;
  /** Commands that may wait for their reply at a time. */
  readonly maxPending: number;
  send(json: string): void;
}

type Gate = 'shut' | 'open' | 'flowing';

/** Used until the server has named its own. */
const DEFAULT_MAX_FRAME_BYTES = 8_388_608;
const UNKNOWN_OUTCOME_RETRIES = 5;
const UNKNOWN_OUTCOME_WAIT_MS = 1_000;

export class Outbox {
  readonly #deps: OutboxDeps;
  readonly #pacer: Pacer;
  readonly #entries = new Map<string, Entry>();
  #gate: Gate = 'shut';
  #maxFrameBytes = DEFAULT_MAX_FRAME_BYTES;
  #stopTimer: () => void = () => {};
  #final: MidstreamError | undefined;

  constructor(deps: OutboxDeps) {
    this.#deps = deps;
    this.#pacer = new Pacer(deps.runtime);
  }

  /** Takes a command. A refusal that needs no server comes by `reply.rejected` at once. */
  send(frame: ClientFrameInput, lifetime: Lifetime, reply: Reply): void {
    if (this.#final) return reply.rejected(this.#final);
    if (lifetime === 'connection' && this.#gate === 'shut') return reply.rejected(lostError());
    if (this.#entries.size >= this.#deps.maxPending) {
      const message = `${this.#entries.size} commands wait for their reply already. Await some before sending more.`;
      return reply.rejected(new MidstreamError('overloaded', message));
    }
    this.#entries.set(frame.id, { frame, lifetime, reply, state: 'unsent', retries: 0 });
    this.#pump();
  }

  /** A connection is ready: what concerns that connection may go out now, everything else after `resume()`. */
  open(limits: Record<string, number>): void {
    this.#gate = 'open';
    this.#maxFrameBytes = limits['frame_bytes_with_images'] ?? limits['frame_bytes'] ?? DEFAULT_MAX_FRAME_BYTES;
    this.#pacer.restart(limits['commands_per_second']);
  }

  resume(): void {
    this.#gate = 'flowing';
    this.#pump();
  }

  /** The connection went: what lives as long as the client waits for the next one, the rest is given up. */
  shut(): void {
    this.#gate = 'shut';
    this.#stopTimer();
    for (const [id, entry] of [...this.#entries]) {
      if (entry.lifetime === 'connection') this.#settle(id)?.reply.rejected(lostError());
      else if (entry.state === 'on_this_connection') entry.state = 'on_an_earlier_one';
    }
  }

  /** Takes a command back that was never sent. */
  withdraw(id: string): boolean {
    return this.#entries.get(id)?.state === 'unsent' && this.#entries.delete(id);
  }

  handleReply(frame: CommandAccepted | CommandRejected): void {
    const entry = this.#entries.get(frame.id);
    if (!entry) return;
    if (frame.type === 'command.accepted') {
      this.#settle(frame.id)?.reply.accepted(frame);
    } else if (frame.error.details?.['outcome'] === 'unknown' && entry.retries < UNKNOWN_OUTCOME_RETRIES) {
      this.#sendAgainLater(entry, frame.error.retry_after_ms);
    } else {
      this.#settle(frame.id)?.reply.rejected(toError(frame.error));
    }
    this.#pump();
  }

  /** Refuses what waits for one session, which is over. */
  failSession(sessionId: string, error: MidstreamError): void {
    for (const [id, { frame }] of [...this.#entries])
      if ('session_id' in frame && frame.session_id === sessionId) this.#settle(id)?.reply.rejected(error);
  }

  /** Refuses everything, now and later. */
  fail(error: MidstreamError): void {
    this.#final = error;
    this.shut();
    for (const id of [...this.#entries.keys()]) this.#settle(id)?.reply.rejected(error);
  }

  #settle(id: string): Entry | undefined {
    const entry = this.#entries.get(id);
    this.#entries.delete(id);
    return entry;
  }

  /** The store died under it (CMD-3): the same id again, for only that tells what became of it. */
  #sendAgainLater(entry: Entry, waitMs = UNKNOWN_OUTCOME_WAIT_MS * 2 ** entry.retries): void {
    entry.retries += 1;
    this.#deps.runtime.after(waitMs, () => {
      if (this.#entries.get(entry.frame.id) !== entry || this.#gate !== 'flowing') return;
      entry.state = 'on_an_earlier_one';
      this.#pump();
    });
  }

  #pump(): void {
    if (this.#gate === 'shut') return;
    this.#stopTimer();
    for (const [id, entry] of [...this.#entries]) {
      // A reply's handler may have sent or removed entries meanwhile.
      if (entry.state === 'on_this_connection' || this.#entries.get(id) !== entry) continue;
      if (entry.lifetime === 'client' && this.#gate === 'open') continue;
      const json = JSON.stringify(entry.frame);
      if (isLonger(json, this.#maxFrameBytes)) {
        const message = `The command is larger than ${this.#maxFrameBytes} bytes.`;
        this.#settle(id)?.reply.rejected(new MidstreamError('payload_too_large', message));
        continue;
      }
      const waitMs = this.#pacer.take();
      if (waitMs > 0) {
        this.#stopTimer = this.#deps.runtime.after(waitMs, () => this.#pump());
        return;
      }
      entry.state = 'on_this_connection';
      this.#deps.send(json);
    }
  }
}

function isLonger(json: string, maxBytes: number): boolean {
  if (json.length * 3 <= maxBytes) return false;
  return json.length > maxBytes || new TextEncoder().encode(json).length > maxBytes;
}
