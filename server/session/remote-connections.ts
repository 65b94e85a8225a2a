/**
 * Connections of other nodes that have something in sessions here. When their node dies nobody says that they are gone,
 * so this node looks whether it still announces itself.
 */
import type { Clock, Timer } from '../ports/clock.js';
import type { Inbox } from '../ports/inbox.js';

export interface RemoteConnectionsDeps {
  readonly inbox: Inbox;
  readonly clock: Clock;
  readonly onGone: (sessionId: string, connectionId: string) => void;
}

const LOOK_MS = 2_000;

export class RemoteConnections {
  readonly #deps: RemoteConnectionsDeps;
  /** By node: session and connection. */
  readonly #nodes = new Map<string, Map<string, readonly [sessionId: string, connectionId: string]>>();
  #timer: Timer | undefined;

  constructor(deps: RemoteConnectionsDeps) {
    this.#deps = deps;
  }

  joined(sessionId: string, connectionId: string | undefined, nodeId: string): void {
    if (connectionId === undefined) return;
    const known = this.#nodes.get(nodeId) ?? new Map();
    this.#nodes.set(nodeId, known.set(`${sessionId}\n${connectionId}`, [sessionId, connectionId]));
    this.#timer ??= this.#deps.clock.schedule(LOOK_MS, () => void this.#look());
  }

  left(sessionId: string, connectionId: string): void {
    for (const [nodeId, known] of this.#nodes) {
      known.delete(`${sessionId}\n${connectionId}`);
      if (known.size === 0) this.#nodes.delete(nodeId);
    }
  }

  close(): void {
    this.#timer?.cancel();
    this.#nodes.clear();
  }

  async #look(): Promise<void> {
    const { inbox, clock, onGone } = this.#deps;
    for (const [nodeId, known] of [...this.#nodes]) {
      // Where the store can't tell, nobody is gone.
      if (await inbox.isAlive(nodeId).catch(() => true)) continue;
      this.#nodes.delete(nodeId);
      for (const [sessionId, connectionId] of known.values()) onGone(sessionId, connectionId);
    }
    this.#timer = this.#nodes.size > 0 ? clock.schedule(LOOK_MS, () => void this.#look()) : undefined;
  }
}
