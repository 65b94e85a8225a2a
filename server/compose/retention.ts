/** Removes what is no longer kept, at the start and once an hour. */
import type { Config } from '../config/index.js';
import type { Clock, Timer } from '../ports/clock.js';
import type { Logger } from '../ports/logger.js';

const RETENTION_SWEEP_MS = 3_600_000;
const DAY_MS = 86_400_000;

/** Undefined where everything is kept. */
export function scheduleSweep(
  config: Config,
  clock: Clock,
  sweep: (cut: { sessionsBefore?: number; eventsBefore?: number; auditBefore?: number }) => Promise<void>,
  logger: Logger,
): Timer | undefined {
  const { session_days: sessionDays, event_days: eventDays, audit_days: auditDays } = config.retention;
  if (sessionDays === undefined && eventDays === undefined && auditDays === undefined) return undefined;
  let timer: Timer;
  const run = async (): Promise<void> => {
    const now = clock.now();
    await sweep({
      ...(sessionDays !== undefined && { sessionsBefore: now - sessionDays * DAY_MS }),
      ...(eventDays !== undefined && { eventsBefore: now - eventDays * DAY_MS }),
      ...(auditDays !== undefined && { auditBefore: now - auditDays * DAY_MS }),
    }).catch((error: unknown) => logger.error('the retention sweep failed', { error }));
    timer = clock.schedule(RETENTION_SWEEP_MS, () => void run());
  };
  timer = clock.schedule(0, () => void run());
  return { cancel: () => timer.cancel() };
}
