/**
 * Runs code that somebody else's schema drives, for a bounded time: a pattern or a reference may take forever. What the
 * machine takes for itself meanwhile does not count.
 */
import { createContext, Script } from 'node:vm';

export class OutOfTime extends Error {
  override readonly name = 'OutOfTime';
}

/** The job may be run again from its beginning. */
export type RunBounded = <T>(timeoutMs: number, job: () => T) => T;

/** The watchdog goes by the wall; a job that had less than this part of the processor was kept waiting. */
const WORKED = 0.5;
/** What never gets the processor ends, too. */
const MAX_TRIES = 3;

/** The engine's watchdog ends even a regular expression that backtracks; it costs about 0.1 ms a run. */
export function createTimeBound(): RunBounded {
  const sandbox: { job: (() => unknown) | undefined } = { job: undefined };
  const context = createContext(sandbox);
  const script = new Script('job()');
  return <T>(timeoutMs: number, job: () => T): T => {
    const begun = process.cpuUsage();
    sandbox.job = job;
    try {
      for (let tries = 1; ; tries++)
        try {
          return script.runInContext(context, { timeout: timeoutMs }) as T;
        } catch (error) {
          if ((error as NodeJS.ErrnoException).code !== 'ERR_SCRIPT_EXECUTION_TIMEOUT') throw error;
          const { user, system } = process.cpuUsage(begun);
          const workedMs = (user + system) / 1_000;
          if (workedMs >= timeoutMs * WORKED || tries === MAX_TRIES)
            throw new OutOfTime(`took longer than ${timeoutMs} ms`);
        }
    } finally {
      sandbox.job = undefined;
    }
  };
}
