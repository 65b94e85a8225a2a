/** Looks for turns that no node runs, and takes them up here (NODE-2). Every node does; the lease decides. */
import type { Clock, Timer } from '../ports/clock.js';
import type { Leases } from '../ports/lease.js';
import type { Logger } from '../ports/logger.js';

export interface TakeOverDeps {
  readonly leases: Leases;
  readonly clock: Clock;
  readonly random: () => number;
  readonly logger: Logger;
  /** Looks at all sessions. */
  readonly recover: () => Promise<void>;
  /** Takes up these, where no other node did. */
  readonly takeUp: (sessionIds: readonly string[]) => Promise<void>;
  readonly isDraining: () => boolean;
}

/** How often it is looked, in milliseconds; each node at another time. */
const LOOK_MS = { from: 500, to: 1_000 } as const;
/** After word of an orphan, so that not all nodes reach for it in the same moment. */
const HINT_MS = 20;

export class TakeOver {
  readonly #deps: TakeOverDeps;
  #timer: Timer | undefined;
  #looking: Promise<void> = Promise.resolve();
  /** Sessions that were told to be orphans, and are about to be taken up. */
  #named: string[] = [];
  #isClosed = false;

  constructor(deps: TakeOverDeps) {
    this.#deps = deps;
    deps.leases.onOrphan?.((sessionId) => this.#hear(sessionId));
    this.#schedule();
  }

  async close(): Promise<void> {
    this.#isClosed = true;
    this.#timer?.cancel();
    await this.#looking;
  }

  #schedule(): void {
    const { clock, random } = this.#deps;
    const delayMs = LOOK_MS.from + random() * (LOOK_MS.to - LOOK_MS.from);
    this.#timer = clock.schedule(delayMs, () => {
      void this.#inTurn(this.#deps.recover).finally(() => !this.#isClosed && this.#schedule());
    });
  }

  #hear(sessionId: string): void {
    this.#named.push(sessionId);
    if (this.#named.length > 1) return;
    const { clock, random } = this.#deps;
    clock.schedule(random() * HINT_MS, () => {
      const named = [...new Set(this.#named.splice(0))];
      void this.#inTurn(() => this.#deps.takeUp(named));
    });
  }

  #inTurn(take: () => Promise<void>): Promise<void> {
    this.#looking = this.#looking.then(async () => {
      const { logger, isDraining } = this.#deps;
      if (this.#isClosed || isDraining()) return;
      await take().catch((error: unknown) => logger.warn('turns without a server were not taken up', { error }));
    });
    return this.#looking;
  }
}
