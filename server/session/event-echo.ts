/** What a batch shows of commands that were answered before. */
import type { TurnCommand } from '../../protocol/index.js';
import type { Clock } from '../ports/clock.js';
import type { EventLog } from '../ports/event-log.js';
import type { Accepted } from './session-api.js';

export interface EchoDeps {
  readonly log: EventLog;
  readonly clock: Clock;
}

/** The logged echo of a command that was answered before; where it logged none, what it came to. */
export async function readEcho(
  sessionId: string,
  accepted: Accepted,
  command: TurnCommand | undefined,
  { log, clock }: EchoDeps,
): Promise<string> {
  const seq = accepted.applied_at_seq;
  if (command && command.type !== 'user.interrupt' && seq !== undefined) {
    const [event] = await log.read(sessionId, { afterSeq: seq - 1, limit: 1 });
    if (event?.seq === seq) return event.json;
  }
  const processed_at = new Date(clock.now()).toISOString();
  return JSON.stringify({
    type: command?.type,
    id: command?.id,
    session_id: sessionId,
    ...accepted.result,
    processed_at,
  });
}
