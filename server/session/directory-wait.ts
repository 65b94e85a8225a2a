/** Waits, once for everybody, until the directory can say again who was revoked. */
import { type Clock, pause } from '../ports/clock.js';
import type { Directory } from './directory.js';

export interface DirectoryWaitDeps {
  readonly directory: Pick<Directory, 'isCurrent'>;
  readonly clock: Clock;
  /** Then what waits is decided without it, and that is to deny; in milliseconds. */
  readonly patienceMs: number;
}

const LOOK_MS = 50;

/** Returns what gives the time to wait: undefined where there is none. */
export function createDirectoryWait({
  directory,
  clock,
  patienceMs,
}: DirectoryWaitDeps): () => Promise<void> | undefined {
  let waiting: Promise<void> | undefined;
  const wait = async (): Promise<void> => {
    const until = clock.now() + patienceMs;
    while (!directory.isCurrent && clock.now() < until) await pause(clock, LOOK_MS);
    waiting = undefined;
  };
  return () => {
    if (directory.isCurrent) return undefined;
    waiting ??= wait();
    return waiting;
  };
}
