/** Which of the nodes that have something here are dead: a node that dies says no goodbye. */
import type { Clock, Timer } from '../ports/clock.js';
import type { Inbox } from '../ports/inbox.js';

export interface NodeWatchDeps {
  readonly inbox: Inbox;
  readonly clock: Clock;
}

const LOOK_MS = 2_000;

export class NodeWatch {
  readonly #deps: NodeWatchDeps;
  readonly #nodes = new Set<string>();
  readonly #listeners = new Set<(nodeId: string) => void>();
  #timer: Timer | undefined;

  constructor(deps: NodeWatchDeps) {
    this.#deps = deps;
  }

  /** Looks after a node from now on. */
  add(nodeId: string): void {
    this.#nodes.add(nodeId);
    this.#timer ??= this.#deps.clock.schedule(LOOK_MS, () => void this.#look());
  }

  onDead(listener: (nodeId: string) => void): void {
    this.#listeners.add(listener);
  }

  close(): void {
    this.#timer?.cancel();
    this.#nodes.clear();
  }

  async #look(): Promise<void> {
    const { inbox, clock } = this.#deps;
    for (const nodeId of [...this.#nodes]) {
      // Where the store can't tell, nobody is dead.
      if (await inbox.isAlive(nodeId).catch(() => true)) continue;
      if (!this.#nodes.delete(nodeId)) continue;
      for (const listener of this.#listeners) listener(nodeId);
    }
    this.#timer = this.#nodes.size > 0 ? clock.schedule(LOOK_MS, () => void this.#look()) : undefined;
  }
}
