/** Connections of other nodes that have something in sessions here; where their node dies, they are gone. */
import type { NodeWatch } from './node-watch.js';

type Place = readonly [sessionId: string, connectionId: string];

export class RemoteConnections {
  readonly #watch: NodeWatch;
  readonly #nodes = new Map<string, Map<string, Place>>();

  constructor(watch: NodeWatch, onGone: (sessionId: string, connectionId: string) => void) {
    this.#watch = watch;
    watch.onDead((nodeId) => {
      const places = this.#nodes.get(nodeId)?.values() ?? [];
      this.#nodes.delete(nodeId);
      for (const [sessionId, connectionId] of places) onGone(sessionId, connectionId);
    });
  }

  joined(sessionId: string, connectionId: string | undefined, nodeId: string): void {
    if (connectionId === undefined) return;
    const places = this.#nodes.get(nodeId) ?? new Map<string, Place>();
    this.#nodes.set(nodeId, places.set(toKey(sessionId, connectionId), [sessionId, connectionId]));
    this.#watch.add(nodeId);
  }

  left(sessionId: string, connectionId: string, nodeId: string): void {
    const places = this.#nodes.get(nodeId);
    places?.delete(toKey(sessionId, connectionId));
    if (places?.size === 0) this.#nodes.delete(nodeId);
  }
}

const toKey = (...place: Place): string => place.join('\n');
