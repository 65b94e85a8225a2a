/** Makes sessions, each once for its principal and command id (CMD-2). */
import { MidstreamError, type SessionCreate } from '../../protocol/index.js';
import { createSessionState } from '../core/session-state.js';
import { toSession } from '../core/snapshot.js';
import type { CallClaim, CallKey, CallMemory, KnownCall } from '../ports/call-memory.js';
import type { Clock } from '../ports/clock.js';
import type { CommandAnswer, EventLog } from '../ports/event-log.js';
import type { NewId } from '../ports/identity.js';
import type { Logger } from '../ports/logger.js';
import type { SessionStore } from '../ports/session-store.js';
import type { ActorRegistry } from './actor-registry.js';
import { type Agents, toAgent } from './agents.js';
import { toAccepted, toBodyHash } from './command-memory.js';
import type { Accepted, Caller } from './session-api.js';
import { HeldElsewhere } from './session-door.js';

export interface MakerDeps {
  readonly registry: ActorRegistry;
  readonly log: EventLog;
  readonly sessions: SessionStore;
  readonly clock: Clock;
  readonly newId: NewId;
  readonly agents: Agents;
  readonly isDraining: () => boolean;
  readonly logger: Logger;
  /** Where several nodes make sessions: what fixes the id of each, whichever node makes it. */
  readonly creations?: CallMemory | undefined;
}

export class SessionMaker {
  readonly #deps: MakerDeps;
  /** `session.create` under way or done, by principal and id, until the store tells (CMD-2). */
  readonly #creating = new Map<string, { readonly bodyHash: string; readonly answer: Promise<Accepted> }>();

  constructor(deps: MakerDeps) {
    this.#deps = deps;
  }

  async create(caller: Caller, command: SessionCreate): Promise<Accepted> {
    const { user_id: userId, org_id: orgId } = caller.principal;
    const key = `${orgId}\n${userId}\n${command.id}`;
    const bodyHash = toBodyHash(command);
    const known = this.#creating.get(key);
    if (known) {
      if (known.bodyHash !== bodyHash) throw new MidstreamError('idempotency_conflict');
      return { ...(await known.answer), duplicate: true };
    }
    const answer = this.#create(caller, command, bodyHash);
    this.#creating.set(key, { bodyHash, answer });
    try {
      return await answer;
    } finally {
      this.#creating.delete(key);
    }
  }

  async #create(caller: Caller, command: SessionCreate, bodyHash: string): Promise<Accepted> {
    const { log, newId, agents, isDraining } = this.#deps;
    const { user_id: userId, org_id: orgId } = caller.principal;
    const found = await log.findAnswer({ sessionId: '', userId, orgId, commandId: command.id });
    if (found) {
      if (found.bodyHash !== bodyHash) throw new MidstreamError('idempotency_conflict');
      return { ...toAccepted(found), duplicate: true };
    }
    if (isDraining()) throw new MidstreamError('draining');
    // Before the claim: an id that stands for a session that can't be would be spent.
    const agent = toAgent(agents, command.agent);
    const claimed = await this.#claim(caller, command.id, { callId: newId('sesn'), bodyHash });
    if (claimed.answer !== undefined) return { ...(JSON.parse(claimed.answer) as Accepted), duplicate: true };
    const answer = await this.#make(caller, command, { agent, sessionId: claimed.callId, bodyHash });
    await this.#settle(caller, command.id, claimed.callId, answer);
    return answer;
  }

  async #make(caller: Caller, command: SessionCreate, { agent, sessionId, bodyHash }: Made): Promise<Accepted> {
    const { log, sessions, clock, registry } = this.#deps;
    const { user_id: userId, org_id: orgId } = caller.principal;
    const createdAt = clock.now();
    const created = {
      sessionId,
      epoch: log.epoch,
      owner: { user_id: userId, org_id: orgId },
      title: command.title ?? null,
      metadata: command.metadata ?? {},
      agent,
      createdAt,
    };
    const session = toSession(createSessionState(created));
    const answer: CommandAnswer = {
      sessionId: '',
      userId,
      orgId,
      commandId: command.id,
      bodyHash,
      appliedAtSeq: undefined,
      result: { session },
      acceptedAt: createdAt,
    };
    const row = {
      id: session.id,
      userId,
      orgId,
      status: 'idle',
      unfinished: false,
      createdAt,
      updatedAt: createdAt,
    } as const;
    await sessions.create({ ...row, json: JSON.stringify(session) }, answer);
    // A server that goes down meanwhile leaves it to the others.
    await registry.adopt(created).catch((error: unknown) => {
      if (!(error instanceof HeldElsewhere)) throw error;
    });
    return { result: { session } };
  }

  /**
   * What stands under the id on any node. Without an answer the session is to be made here: nobody made it, or whoever
   * was at it did not say so in time. Its id is the same whoever makes it.
   */
  async #claim({ principal }: Caller, commandId: string, claim: CallClaim): Promise<KnownCall> {
    const { creations, logger } = this.#deps;
    const known = await creations?.claim(toKey(principal, commandId), claim).catch((error: unknown) => {
      logger.error('a session could not be claimed', { error });
      throw new MidstreamError('store_unavailable', undefined, { retryAfterMs: 1_000 });
    });
    if (known && known.bodyHash !== claim.bodyHash) throw new MidstreamError('idempotency_conflict');
    return known ?? { ...claim, answer: undefined };
  }

  async #settle({ principal }: Caller, commandId: string, sessionId: string, answer: Accepted): Promise<void> {
    const { creations, logger } = this.#deps;
    await creations
      ?.settle(toKey(principal, commandId), sessionId, JSON.stringify(answer))
      .catch((error: unknown) => logger.warn('other nodes could not be told of a session', { error }));
  }
}

interface Made {
  readonly agent: ReturnType<typeof toAgent>;
  readonly sessionId: string;
  readonly bodyHash: string;
}

/** No id of a command and no key of a direct call has a slash. */
const toKey = ({ user_id: userId, org_id: orgId }: Caller['principal'], commandId: string): CallKey => ({
  userId,
  orgId,
  key: `create/${commandId}`,
});
