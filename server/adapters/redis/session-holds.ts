/** What this node knows about the sessions it holds: the lease's token, the head of the log, whether an append failed. */
export interface SessionHold {
  readonly sessionId: string;
  /** Which of the appends go out together. */
  readonly lane: string;
  /** The current lease's; undefined where it is over. */
  token: string | undefined;
  /** Whether Redis gave it, and the head is known. */
  isClaimed: boolean;
  /** Whether there is such a session. */
  isStored: boolean;
  /** The seq of the last record that was queued, that was sent, and that Redis said it has. */
  head: number;
  sent: number;
  acked: number;
  /** Something of it was refused or lost: nothing is taken until it is claimed again. */
  hasFailed: boolean;
  /** When the last claim or renewal that was granted was asked for; of the clock that never goes back. */
  provenAt: number;
  /** When the lease may be another's, whatever Redis would say; of the same clock. */
  lapsesAt: number;
  /** The lease is known to be another's, or was given up. */
  isLost: boolean;
  isRenewing: boolean;
  /** When the session was listed as unfinished, as far as it was done here; while it is being done, a promise. */
  listed: Promise<string> | undefined;
  /** Who its members are by the last append that was queued and changed them. */
  memberIds: readonly string[] | undefined;
}

/** Whether the lease may be another's by now, whatever Redis would say. */
export const hasLapsed = ({ isClaimed, lapsesAt }: SessionHold): boolean => isClaimed && performance.now() >= lapsesAt;

export class SessionHolds {
  readonly #holds = new Map<string, SessionHold>();
  readonly #laneOf: (sessionId: string) => string;
  readonly #listeners = new Set<(sessionId: string) => void>();

  constructor(laneOf: (sessionId: string) => string) {
    this.#laneOf = laneOf;
  }

  get all(): readonly SessionHold[] {
    return [...this.#holds.values()];
  }

  find(sessionId: string): SessionHold | undefined {
    return this.#holds.get(sessionId);
  }

  /** From here on the holder before is refused. */
  begin(sessionId: string, token: string): SessionHold {
    let hold = this.#holds.get(sessionId);
    if (!hold) {
      hold = {
        sessionId,
        lane: this.#laneOf(sessionId),
        token,
        isClaimed: false,
        isStored: false,
        head: 0,
        sent: 0,
        acked: 0,
        hasFailed: false,
        provenAt: 0,
        lapsesAt: 0,
        isLost: false,
        isRenewing: false,
        listed: undefined,
        memberIds: undefined,
      };
      this.#holds.set(sessionId, hold);
    }
    hold.token = token;
    hold.isClaimed = false;
    return hold;
  }

  /** Forgets a session: whatever lease there was is over. */
  drop(hold: SessionHold): void {
    hold.token = undefined;
    if (this.#holds.get(hold.sessionId) === hold) this.#holds.delete(hold.sessionId);
  }

  /** The lease is another's, or may be: whoever listens is told. */
  lose(hold: SessionHold): void {
    if (this.#holds.get(hold.sessionId) !== hold) return;
    this.drop(hold);
    hold.isLost = true;
    for (const listener of this.#listeners) listener(hold.sessionId);
  }

  onLost(listener: (sessionId: string) => void): void {
    this.#listeners.add(listener);
  }
}
