/** Takes up turns that nobody runs: those of the last run of this node, or of nodes that died (NODE-2). */
import type { Leases } from '../ports/lease.js';
import type { Logger } from '../ports/logger.js';
import type { SessionStore } from '../ports/session-store.js';
import type { ActorRegistry } from './actor-registry.js';
import { HeldElsewhere } from './session-door.js';

export interface RecoveryDeps {
  readonly registry: ActorRegistry;
  readonly sessions: SessionStore;
  readonly leases: Leases;
  readonly random: () => number;
  readonly logger: Logger;
}

/** How many sessions are taken up at a time. */
const AT_ONCE = 8;

export class Recovery {
  readonly #deps: RecoveryDeps;

  constructor(deps: RecoveryDeps) {
    this.#deps = deps;
  }

  /** The sessions that have an unfinished turn which nobody runs. */
  async unfinished(): Promise<readonly string[]> {
    const { sessions, leases } = this.#deps;
    return leases.orphans ? this.#shuffle(await leases.orphans()) : sessions.unfinished();
  }

  /** Takes up those of them that no other node took. */
  async takeUp(ids: readonly string[]): Promise<void> {
    const { registry, logger } = this.#deps;
    const left = ids.values();
    let count = 0;
    const takeOn = async (): Promise<void> => {
      for (const id of left) {
        if (registry.find(id)) continue;
        await registry.get(id).then(
          () => count++,
          (error: unknown) => {
            if (!(error instanceof HeldElsewhere)) logger.error('recovery failed', { session_id: id, error });
          },
        );
      }
    };
    await Promise.all(Array.from({ length: AT_ONCE }, takeOn));
    if (count > 0) logger.info('unfinished sessions taken up', { count });
  }

  /** So that several nodes don't reach for the same one first. */
  #shuffle(ids: readonly string[]): readonly string[] {
    const weighed = ids.map((id) => [this.#deps.random(), id] as const);
    return weighed.sort(([one], [other]) => one - other).map(([, id]) => id);
  }
}
