/** Runs code that somebody else's schema drives, for a bounded time: a pattern or a reference may take forever. */
import { createContext, Script } from 'node:vm';

export class OutOfTime extends Error {
  override readonly name = 'OutOfTime';
}

export type RunBounded = <T>(timeoutMs: number, job: () => T) => T;

/** The engine's watchdog ends even a regular expression that backtracks; it costs about 0.1 ms a run. */
export function createTimeBound(): RunBounded {
  const sandbox: { job: (() => unknown) | undefined } = { job: undefined };
  const context = createContext(sandbox);
  const script = new Script('job()');
  return <T>(timeoutMs: number, job: () => T): T => {
    sandbox.job = job;
    try {
      return script.runInContext(context, { timeout: timeoutMs }) as T;
    } catch (error) {
      if ((error as NodeJS.ErrnoException).code === 'ERR_SCRIPT_EXECUTION_TIMEOUT') {
        throw new OutOfTime(`took longer than ${timeoutMs} ms`);
      }
      throw error;
    } finally {
      sandbox.job = undefined;
    }
  };
}
