/** The laws that a client can hold a server to, frame by frame: LOG-1, LOG-3, LOG-4, CMD-1, TURN-1. */
import type {
  AttachResult,
  ClientFrameInput,
  CommandAccepted,
  ControlFrame,
  SessionEvent,
} from '../../protocol/index.js';

type Frame = ControlFrame | SessionEvent;

interface Watch {
  /** The last seq delivered. */
  delivered: number;
  readonly ended: Set<string>;
}

export class WsLaws {
  readonly violations: string[] = [];
  readonly #watches = new Map<string, Watch>();
  /** How many replies each command id may still get. */
  readonly #owed = new Map<string, number>();
  /** What each attach asked to go on from. */
  readonly #resumes = new Map<string, number>();

  lastSeq(sessionId: string): number {
    return this.#watches.get(sessionId)?.delivered ?? 0;
  }

  get unanswered(): readonly string[] {
    return [...this.#owed].filter(([, count]) => count > 0).map(([id]) => id);
  }

  sent(command: ClientFrameInput): void {
    if (command.type === 'ping') return;
    this.#owed.set(command.id, (this.#owed.get(command.id) ?? 0) + 1);
    if (command.type === 'session.attach') this.#resumes.set(command.id, command.after_seq ?? 0);
  }

  take(frame: Frame): void {
    if ('seq' in frame) this.#onEvent(frame);
    else if (frame.type === 'command.rejected') this.#onReply(frame.id);
    else if (frame.type === 'command.accepted') {
      this.#onReply(frame.id);
      this.#onAccepted(frame);
    }
  }

  #onEvent(event: SessionEvent): void {
    const { session_id: sessionId, seq, type } = event;
    const watch = this.#watches.get(sessionId);
    if (watch === undefined) {
      this.#break('LOG-4', `${type} ${seq} came without a subscription to ${sessionId}`);
      return;
    }
    const { delivered, ended } = watch;
    if (seq <= delivered) this.#break('LOG-1', `${type} ${seq} came after ${delivered}`);
    else if ((event.prev_seq ?? seq - 1) !== delivered)
      this.#break('LOG-3', `${type} ${seq} with prev_seq ${event.prev_seq} came after ${delivered}`);
    watch.delivered = seq;
    if (event.turn_id === undefined) return;
    if (ended.has(event.turn_id)) this.#break('TURN-1', `${type} ${seq} came after the end of ${event.turn_id}`);
    if (type === 'turn.ended') ended.add(event.turn_id);
  }

  #onReply(id: string): void {
    const owed = this.#owed.get(id) ?? 0;
    if (owed === 0) this.#break('CMD-1', `${id} was answered more often than it was sent`);
    this.#owed.set(id, owed - 1);
  }

  #onAccepted({ id, session_id: sessionId, result }: CommandAccepted): void {
    const resumedFrom = this.#resumes.get(id);
    if (resumedFrom === undefined || sessionId === undefined) return;
    const { mode, head_seq, snapshot } = result as unknown as AttachResult;
    if (mode === 'snapshot' && snapshot?.seq !== head_seq)
      this.#break('LOG-4', `a snapshot at ${snapshot?.seq} beside a head of ${head_seq}`);
    this.#watches.set(sessionId, { delivered: mode === 'snapshot' ? head_seq : resumedFrom, ended: new Set() });
  }

  #break(law: string, sentence: string): void {
    this.violations.push(`[${law}] ${sentence}`);
  }
}
