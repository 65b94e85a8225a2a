/** What became of commands: carried out by this call, or answered before. */
import type { SessionCommand } from '../../protocol/index.js';
import type { LogRecord } from '../core/log-record.js';
import type { CommandAnswer } from '../ports/event-log.js';
import type { Accepted, Caller } from './session-api.js';

export interface Carried {
  readonly accepted: Accepted;
  /** The logged echo, where this call logged it. */
  readonly echo: string | undefined;
}

/** A promise where the command was known before: its first answer. */
export type Fate = Carried | Promise<Accepted>;

/** The fate of the same command earlier in the batch, told again. */
export function toTwin(commands: readonly SessionCommand[], fates: readonly Fate[], at: number): Carried | undefined {
  const fate = fates[commands.findIndex((command) => command.id === commands[at]?.id)];
  return fate && !(fate instanceof Promise) ? { ...fate, accepted: { ...fate.accepted, duplicate: true } } : undefined;
}

export function toAnswer(
  sessionId: string,
  command: SessionCommand,
  bodyHash: string,
  caller: Caller,
  accepted: Accepted,
  acceptedAt: number,
): CommandAnswer {
  const { user_id: userId, org_id: orgId } = caller.principal;
  return {
    sessionId,
    userId,
    orgId,
    commandId: command.id,
    bodyHash,
    appliedAtSeq: accepted.applied_at_seq,
    result: accepted.result,
    acceptedAt,
  };
}

/** The logged echo of a command that took effect there. */
export function echoOf(records: readonly LogRecord[], seq: number | undefined): string | undefined {
  const record = records.find((r) => r.seq === seq);
  return record?.kind === 'event' ? record.json : undefined;
}
