/** Removes what is no longer kept, at the start and once an hour; of several nodes one does it for all. */
import type { Config } from '../config/index.js';
import type { Clock, Timer } from '../ports/clock.js';
import type { Logger } from '../ports/logger.js';

const RETENTION_SWEEP_MS = 3_600_000;
const DAY_MS = 86_400_000;

/** For so long no other node begins; shorter than from one sweep to the next, so that no sweep is missed. */
const TURN_MS = RETENTION_SWEEP_MS / 2;

export interface RetentionDeps {
  readonly retention: Config['retention'];
  readonly clock: Clock;
  readonly sweep: (cut: { sessionsBefore?: number; eventsBefore?: number; auditBefore?: number }) => Promise<void>;
  /** Whether it is this node's turn; left out where it always is. */
  readonly takeTurn?: ((forMs: number) => Promise<boolean>) | undefined;
  readonly logger: Logger;
}

/** Undefined where everything is kept. */
export function scheduleSweep({ retention, clock, sweep, takeTurn, logger }: RetentionDeps): Timer | undefined {
  const { session_days: sessionDays, event_days: eventDays, audit_days: auditDays } = retention;
  if (sessionDays === undefined && eventDays === undefined && auditDays === undefined) return undefined;
  let timer: Timer;
  const sweepInTurn = async (): Promise<void> => {
    if (takeTurn && !(await takeTurn(TURN_MS))) return;
    const now = clock.now();
    await sweep({
      ...(sessionDays !== undefined && { sessionsBefore: now - sessionDays * DAY_MS }),
      ...(eventDays !== undefined && { eventsBefore: now - eventDays * DAY_MS }),
      ...(auditDays !== undefined && { auditBefore: now - auditDays * DAY_MS }),
    });
  };
  const run = async (): Promise<void> => {
    await sweepInTurn().catch((error: unknown) => logger.error('the retention sweep failed', { error }));
    timer = clock.schedule(RETENTION_SWEEP_MS, () => void run());
  };
  timer = clock.schedule(0, () => void run());
  return { cancel: () => timer.cancel() };
}
