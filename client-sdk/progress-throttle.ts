/** Lets a tool report progress as often as it likes: at most two reports a second go out, always the newest. */
import type { Runtime } from './runtime.js';

export interface Progress {
  readonly message?: string;
  readonly percent?: number;
}

const INTERVAL_MS = 500;

export function createProgressThrottle(
  runtime: Runtime,
  send: (progress: Progress) => void,
): { report(progress: Progress): void; stop(): void } {
  let waiting: Progress | undefined;
  let stopTimer: (() => void) | undefined;
  const flush = (): void => {
    stopTimer = undefined;
    if (waiting === undefined) return;
    const progress = waiting;
    waiting = undefined;
    send(progress);
    stopTimer = runtime.after(INTERVAL_MS, flush);
  };
  return {
    report(progress) {
      waiting = progress;
      if (!stopTimer) flush();
    },
    stop() {
      waiting = undefined;
      stopTimer?.();
      // Reports after the end go nowhere.
      stopTimer = () => {};
    },
  };
}
