/** One interval for all open streams: a comment to each, so that proxies keep them open. */
import { BOUNDS } from '../../../protocol/index.js';
import type { Clock, Timer } from '../../ports/clock.js';

export class CommentBeat {
  private readonly listeners = new Set<() => void>();
  private timer: Timer | undefined;

  constructor(private readonly clock: Clock) {}

  add(listener: () => void): void {
    this.listeners.add(listener);
    this.timer ??= this.clock.schedule(BOUNDS.sseCommentMs, this.beat);
  }

  remove(listener: () => void): void {
    this.listeners.delete(listener);
    if (this.listeners.size > 0) return;
    this.timer?.cancel();
    this.timer = undefined;
  }

  private readonly beat = (): void => {
    this.timer = this.clock.schedule(BOUNDS.sseCommentMs, this.beat);
    for (const listener of this.listeners) listener();
  };
}
