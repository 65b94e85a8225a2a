/** Time, as the session room sees it; a test gives its own. */
export interface Timer {
  cancel(): void;
}

export interface Clock {
  /** Milliseconds since 1970, UTC. May jump. */
  now(): number;
  /** Calls `fire` once, after at least `delayMs`; never before this call returns. Keeps no process alive. */
  schedule(delayMs: number, fire: () => void): Timer;
}

/** Resolves after at least so many milliseconds. */
export const pause = (clock: Clock, ms: number): Promise<void> =>
  new Promise((resolve) => void clock.schedule(ms, resolve));
