/** Which commands a session has accepted: the first answer again for the same id, never a second effect (CMD-2). */
import { createHash } from 'node:crypto';
import { MidstreamError, type Principal } from '../../protocol/index.js';
import { canonical } from '../core/registrations.js';
import type { CommandAnswer, EventLog } from '../ports/event-log.js';
import type { Accepted } from './session-api.js';

export interface Known {
  readonly bodyHash: string;
  readonly answer: Promise<Accepted>;
}

const MAX_REMEMBERED = 512;

export class CommandMemory {
  readonly #known = new Map<string, Known>();

  /** `isWhole`: everything ever accepted is in memory, so that the log needn't be asked. */
  constructor(
    private readonly sessionId: string,
    private readonly log: EventLog,
    private isWhole: boolean,
  ) {}

  /** The first answer to this id. Rejects with `idempotency_conflict` where the body was another. */
  find(
    principal: Principal,
    commandId: string,
    bodyHash: string,
  ): Promise<Accepted> | undefined | Promise<Accepted | undefined> {
    const known = this.#known.get(toKey(principal, commandId));
    if (known) {
      if (known.bodyHash !== bodyHash) throw conflict(commandId);
      return known.answer.then((answer) => ({ ...answer, duplicate: true }));
    }
    return this.isWhole ? undefined : this.#ask(principal, commandId, bodyHash);
  }

  remember(principal: Principal, commandId: string, known: Known): void {
    const key = toKey(principal, commandId);
    this.#known.set(key, known);
    known.answer.catch(() => this.#known.delete(key));
    if (this.#known.size > MAX_REMEMBERED) {
      this.isWhole = false;
      const oldest = this.#known.keys().next().value;
      if (oldest !== undefined) this.#known.delete(oldest);
    }
  }

  async #ask(principal: Principal, commandId: string, bodyHash: string): Promise<Accepted | undefined> {
    const { user_id: userId, org_id: orgId } = principal;
    const found = await this.log.findAnswer({ sessionId: this.sessionId, userId, orgId, commandId });
    if (!found) return undefined;
    if (found.bodyHash !== bodyHash) throw conflict(commandId);
    return { ...toAccepted(found), duplicate: true };
  }
}

export function toAccepted({ appliedAtSeq, result }: CommandAnswer): Accepted {
  return appliedAtSeq === undefined ? { result } : { applied_at_seq: appliedAtSeq, result };
}

/** Digest of a parsed command without what may differ when it is sent again. */
export function toBodyHash(command: object): string {
  const { id, session_id, ...body } = command as { id?: unknown; session_id?: unknown };
  return createHash('sha256').update(canonical(body)).digest('base64url');
}

const toKey = (principal: Principal, commandId: string): string =>
  `${principal.org_id}\n${principal.user_id}\n${commandId}`;

const conflict = (id: string): MidstreamError =>
  new MidstreamError('idempotency_conflict', `The id ${id} was used for another body. Use a new id for a new command.`);
