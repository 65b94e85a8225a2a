/** Who watches sessions on this node, and how far they are behind: counted when somebody asks. */
import type { Reading } from '../ports/metrics.js';
import type { SessionFeed } from './session-feed.js';
import { BEHIND, type Delivered } from './subscription.js';

export class WatchCensus {
  readonly delivered: Delivered = { event: 0, delta: 0 };
  readonly #feeds: () => readonly SessionFeed[];

  constructor(feeds: () => readonly SessionFeed[]) {
    this.#feeds = feeds;
  }

  countByState(): Reading {
    const count = { live: 0, behind: 0 };
    for (const lag of this.#lags()) count[lag > BEHIND ? 'behind' : 'live']++;
    return count;
  }

  get greatestLag(): number {
    let greatest = 0;
    for (const lag of this.#lags()) greatest = Math.max(greatest, lag);
    return greatest;
  }

  *#lags(): Generator<number> {
    for (const { head, watchers } of this.#feeds()) for (const { cursor } of watchers) yield Math.max(0, head - cursor);
  }
}
