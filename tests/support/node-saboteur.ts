/** Takes nodes down by its seed: killed, stopped longer than a lease, drained; and remembers when. */
import { setTimeout as after } from 'node:timers/promises';
import type { Random } from '../core/support/random.js';
import { within } from './blackbox-server.js';
import { LEASE_MS, type NodeFarm } from './node-farm.js';

export const DEEDS = ['kill', 'stop', 'drain'] as const;
export type Deed = (typeof DEEDS)[number];

export interface Disturbance {
  readonly deed: Deed;
  readonly node: number;
  /** Milliseconds since 1970. */
  readonly from: number;
  readonly to: number;
}

const EXIT_MS = 10_000;

export class Saboteur {
  readonly done: Disturbance[] = [];
  readonly #farm: NodeFarm;
  readonly #random: Random;
  /** Nodes that are down or stopped. */
  readonly #down = new Set<number>();

  constructor(farm: NodeFarm, random: Random) {
    this.#farm = farm;
    this.#random = random;
  }

  /** By itself it takes a node that is in the middle of a model's answer, mostly. Resolves when it is up again. */
  async strike(deed: Deed, node = this.#victim()): Promise<void> {
    this.#down.add(node);
    const from = Date.now();
    await this.#do(deed, node);
    this.#down.delete(node);
    this.done.push({ deed, node, from, to: Date.now() });
  }

  async #do(deed: Deed, n: number): Promise<void> {
    const random = this.#random;
    const node = this.#farm.nodes[n];
    if (node === undefined) throw new Error(`there is no node ${n}`);
    switch (deed) {
      case 'kill':
        await node.kill();
        await after(random.int(600));
        await node.start();
        return;
      case 'stop':
        node.stall();
        await after(LEASE_MS + 300 + random.int(1_200));
        node.resume();
        return;
      case 'drain':
        node.term();
        await within(node.exited, EXIT_MS, 'a server did not end after SIGTERM');
        await node.start();
    }
  }

  #victim(): number {
    const { upstream, nodes } = this.#farm;
    const up = nodes.map((_, n) => n).filter((n) => !this.#down.has(n));
    const open = upstream.requests.filter(({ closing }) => closing === undefined);
    const busy = open.map((request) => this.#farm.nodeOf(request)).filter((n) => up.includes(n));
    return this.#random.pick(busy.length > 0 && this.#random.chance(0.8) ? busy : up);
  }
}
