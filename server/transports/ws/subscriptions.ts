/** What one connection watches. Attaching and detaching of one session take effect one after the other. */
import { type AttachResult, MidstreamError, type SessionAttach } from '../../../protocol/index.js';
import type { Attachment, Caller, SessionApi } from '../../session/session-api.js';
import type { SocketSink } from './socket-sink.js';

interface Watch {
  readonly attachment: Attachment;
  readonly sink: SocketSink;
}

interface Slot {
  watch: Watch | undefined;
  busy: boolean;
  readonly waiting: (() => Promise<void>)[];
}

export interface SubscriptionsDeps {
  readonly api: SessionApi;
  readonly maxSessions: number;
  /** Delivery failed after the reply went out: nothing but closing the connection is left. */
  readonly onBroken: (error: unknown) => void;
  readonly createSink: (sessionId: string, onDetached: () => void) => SocketSink;
}

/** How many attach and detach commands of one session may wait for the one under way. */
const MAX_WAITING = 64;

export class Subscriptions {
  private readonly slots = new Map<string, Slot>();
  private ended = false;

  constructor(private readonly deps: SubscriptionsDeps) {}

  /** `reply` is called before the first event; a failed attach leaves the earlier one as it was (CMD-3). */
  attach(
    caller: Caller,
    command: SessionAttach,
    reply: (result: AttachResult) => void,
    refuse: (error: unknown) => void,
  ): void {
    const sessionId = command.session_id;
    if (!this.slots.has(sessionId) && this.slots.size >= this.deps.maxSessions) {
      const message = `This socket watches ${this.deps.maxSessions} sessions, the most it may. Detach one, or open another socket`;
      refuse(new MidstreamError('invalid_request', message));
      return;
    }
    this.inTurn(sessionId, refuse, async (slot) => {
      const sink = this.deps.createSink(sessionId, () => this.forget(sessionId, slot));
      const { after_seq, epoch, deltas } = command;
      const attachment = await this.deps.api
        .attach(caller, { sessionId, afterSeq: after_seq, epoch, deltas }, sink)
        .catch((error: unknown) => {
          sink.end();
          refuse(error);
        });
      if (attachment === undefined) return;
      if (this.ended) {
        attachment.detach();
        return;
      }
      release(slot);
      slot.watch = { attachment, sink };
      reply(attachment.result);
      if (sink.isEnded) release(slot);
      else this.begin(attachment);
    });
  }

  detach(sessionId: string, reply: () => void, refuse: (error: unknown) => void): void {
    this.inTurn(sessionId, refuse, async (slot) => {
      release(slot);
      reply();
    });
  }

  /** The connection is gone: every subscription ends, also one that is still being made. */
  end(): void {
    this.ended = true;
    for (const slot of this.slots.values()) release(slot);
    this.slots.clear();
  }

  private begin(attachment: Attachment): void {
    try {
      attachment.start();
    } catch (error) {
      this.deps.onBroken(error);
    }
  }

  private forget(sessionId: string, slot: Slot): void {
    slot.watch?.attachment.detach();
    slot.watch = undefined;
    if (!slot.busy) this.slots.delete(sessionId);
  }

  /** Runs `work` now, or after what is under way for this session. */
  private inTurn(sessionId: string, refuse: (error: unknown) => void, work: (slot: Slot) => Promise<void>): void {
    const slot = this.slots.get(sessionId) ?? { watch: undefined, busy: false, waiting: [] };
    this.slots.set(sessionId, slot);
    const run = async (): Promise<void> => {
      slot.busy = true;
      try {
        if (!this.ended) await work(slot);
      } catch (error) {
        refuse(error);
      } finally {
        slot.busy = false;
        const next = slot.waiting.shift();
        if (next !== undefined) void next();
        else if (slot.watch === undefined && this.slots.get(sessionId) === slot) this.slots.delete(sessionId);
      }
    };
    if (!slot.busy) void run();
    else if (slot.waiting.length < MAX_WAITING) slot.waiting.push(run);
    else
      refuse(
        new MidstreamError('rate_limited', 'Too many attaches of this session wait already', { retryAfterMs: 1_000 }),
      );
  }
}

function release(slot: Slot): void {
  slot.watch?.sink.end();
  slot.watch?.attachment.detach();
  slot.watch = undefined;
}
