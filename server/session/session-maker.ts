/** Makes sessions, each once for its principal and command id (CMD-2). */
import { MidstreamError, type SessionCreate } from '../../protocol/index.js';
import { createSessionState } from '../core/session-state.js';
import { toSession } from '../core/snapshot.js';
import type { Clock } from '../ports/clock.js';
import type { CommandAnswer, EventLog } from '../ports/event-log.js';
import type { NewId } from '../ports/identity.js';
import type { SessionStore } from '../ports/session-store.js';
import type { ActorRegistry } from './actor-registry.js';
import { type Agents, toAgent } from './agents.js';
import { toAccepted, toBodyHash } from './command-memory.js';
import type { Accepted, Caller } from './session-api.js';

export interface MakerDeps {
  readonly registry: ActorRegistry;
  readonly log: EventLog;
  readonly sessions: SessionStore;
  readonly clock: Clock;
  readonly newId: NewId;
  readonly agents: Agents;
  readonly isDraining: () => boolean;
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
    const { log, sessions, clock, newId, registry, agents, isDraining } = this.#deps;
    const { user_id: userId, org_id: orgId } = caller.principal;
    const found = await log.findAnswer({ sessionId: '', userId, orgId, commandId: command.id });
    if (found) {
      if (found.bodyHash !== bodyHash) throw new MidstreamError('idempotency_conflict');
      return { ...toAccepted(found), duplicate: true };
    }
    if (isDraining()) throw new MidstreamError('draining');
    const createdAt = clock.now();
    const created = {
      sessionId: newId('sesn'),
      epoch: log.epoch,
      owner: { user_id: userId, org_id: orgId },
      title: command.title ?? null,
      metadata: command.metadata ?? {},
      agent: toAgent(agents, command.agent),
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
    const { state } = await registry.adopt(created);
    return { result: { session: toSession(state) } };
  }
}
