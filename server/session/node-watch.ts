/** Which of the nodes that have something here are dead: a node that dies says no goodbye. */
import type { Clock, Timer } from '../ports/clock.js';
import type { Inbox } from '../ports/inbox.js';

export interface NodeWatchDeps {
  readonly inbox: Inbox;
  readonly clock: Clock;
}

const MIN_LOOK_MS = 2_000;
/** A store that lost all it had knows of nobody until each has said again that it is there. */
const MISSING_LOOKS = 2;

export class NodeWatch {
  readonly #deps: NodeWatchDeps;
  /** How many looks in a row each was missing. */
  readonly #nodes = new Map<string, number>();
  readonly #listeners = new Set<(nodeId: string) => void>();
  #timer: Timer | undefined;

  constructor(deps: NodeWatchDeps) {
    this.#deps = deps;
  }

  /** Looks after a node from now on. */
  add(nodeId: string): void {
    if (!this.#nodes.has(nodeId)) this.#nodes.set(nodeId, 0);
    this.#timer ??= this.#schedule();
  }

  onDead(listener: (nodeId: string) => void): void {
    this.#listeners.add(listener);
  }

  close(): void {
    this.#timer?.cancel();
    this.#nodes.clear();
  }

  /** A renewal apart: whoever lives has said so in between. */
  #schedule(): Timer {
    const { inbox, clock } = this.#deps;
    return clock.schedule(Math.max(MIN_LOOK_MS, inbox.renewMs), () => void this.#look());
  }

  async #look(): Promise<void> {
    for (const nodeId of [...this.#nodes.keys()]) {
      // Where the store can't tell, nobody is missing.
      const isThere = await this.#deps.inbox.isAlive(nodeId).catch(() => true);
      const missing = this.#nodes.get(nodeId);
      if (missing === undefined) continue;
      this.#nodes.set(nodeId, isThere ? 0 : missing + 1);
      if (isThere || missing + 1 < MISSING_LOOKS) continue;
      this.#nodes.delete(nodeId);
      for (const listener of this.#listeners) listener(nodeId);
    }
    this.#timer = this.#nodes.size > 0 ? this.#schedule() : undefined;
  }
}
