/** What the client takes from its surroundings: time and chance. Tests put their own in its place. */
export interface Runtime {
  /** Milliseconds since the epoch. */
  now(): number;
  /** At least 0, below 1. */
  random(): number;
  /** Calls once after `delayMs`; returns how to call it off. */
  after(delayMs: number, call: () => void): () => void;
}

export const systemRuntime: Runtime = {
  now: () => Date.now(),
  random: () => Math.random(),
  after: (delayMs, call) => {
    const timer = setTimeout(call, delayMs);
    return () => clearTimeout(timer);
  },
};
