/** Looks for turns that no node runs, and takes them up here (NODE-2). Every node does; the lease decides. */
import type { Clock, Timer } from '../ports/clock.js';
import type { Leases } from '../ports/lease.js';
import type { Logger } from '../ports/logger.js';

export interface TakeOverDeps {
  readonly leases: Leases;
  readonly clock: Clock;
  readonly random: () => number;
  readonly logger: Logger;
  readonly recover: () => Promise<void>;
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
  #isHinted = false;
  #isClosed = false;

  constructor(deps: TakeOverDeps) {
    this.#deps = deps;
    deps.leases.onOrphan?.(() => this.#hint());
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
      void this.#look().finally(() => !this.#isClosed && this.#schedule());
    });
  }

  #hint(): void {
    if (this.#isHinted) return;
    this.#isHinted = true;
    const { clock, random } = this.#deps;
    clock.schedule(random() * HINT_MS, () => {
      this.#isHinted = false;
      void this.#look();
    });
  }

  #look(): Promise<void> {
    this.#looking = this.#looking.then(async () => {
      const { recover, logger, isDraining } = this.#deps;
      if (this.#isClosed || isDraining()) return;
      await recover().catch((error: unknown) => logger.warn('turns without a server were not looked for', { error }));
    });
    return this.#looking;
  }
}
