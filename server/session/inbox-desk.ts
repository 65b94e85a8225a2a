/** Does what other nodes ask of the actors here. Rights are looked at again: the node that asked may know less. */
import { bodyOf } from '../../protocol/index.js';
import { LogUnavailable } from '../ports/event-log.js';
import type { Inbox } from '../ports/inbox.js';
import type { RateVerdict } from '../ports/rate-limiter.js';
import type { ActorRegistry } from './actor-registry.js';
import type { Directory } from './directory.js';
import type { NodeAnswer, NodeRequest } from './node-messages.js';
import type { RemoteConnections } from './remote-connections.js';
import { ActorGone, unavailable } from './replies.js';
import type { SessionAccess } from './session-access.js';
import type { SessionActor } from './session-actor.js';
import type { Caller } from './session-api.js';
import { HeldElsewhere } from './session-door.js';

export interface InboxDeskDeps {
  readonly inbox: Inbox;
  readonly registry: ActorRegistry;
  /** To the actors here alone. */
  readonly access: SessionAccess;
  readonly directory: Directory;
  readonly connections: RemoteConnections;
  readonly isDraining: () => boolean;
  readonly deleteSession: (caller: Caller, sessionId: string) => Promise<void>;
}

export class InboxDesk {
  readonly #deps: InboxDeskDeps;

  constructor(deps: InboxDeskDeps) {
    this.#deps = deps;
    deps.inbox.serve((request, from) => this.#answer(request as NodeRequest, from));
  }

  async #answer(request: NodeRequest, from: string): Promise<NodeAnswer> {
    let counted: RateVerdict | undefined;
    const onCounted = (verdict: RateVerdict): void => {
      counted = verdict;
    };
    try {
      const value = await this.#do(request, from, onCounted);
      return { ok: true, value, ...(counted && { counted }) };
    } catch (error) {
      if (error instanceof HeldElsewhere || error instanceof ActorGone) return { ok: 'gone' };
      const { registry, isDraining } = this.#deps;
      if (isDraining() && !registry.find(request.sessionId)) return { ok: 'gone' };
      return {
        ok: false,
        error: bodyOf(error instanceof LogUnavailable ? unavailable() : error),
        ...(counted && { counted }),
      };
    }
  }

  async #do(request: NodeRequest, from: string, onCounted: (verdict: RateVerdict) => void): Promise<unknown> {
    const { access, registry, connections, deleteSession } = this.#deps;
    const { sessionId } = request;
    if (request.kind === 'registrations') {
      await registry.get(sessionId);
      return this.#meant(request).state.registrations;
    }
    if (request.kind === 'leave') {
      connections.left(sessionId, request.connectionId, from);
      registry.find(sessionId)?.leave(request.connectionId);
      return undefined;
    }
    const caller = { ...request.caller, onCounted };
    const knowing = this.#deps.directory.meet(caller.principal);
    if (knowing) await knowing;
    switch (request.kind) {
      case 'command':
        return access.useInOrder(caller, sessionId, roleFor(request.command.type), () =>
          this.#meant(request).command(request.command, caller),
        );
      case 'batch':
        return access.useInOrder(caller, sessionId, 'editor', () =>
          this.#meant(request).batch(request.commands, caller),
        );
      case 'register':
        connections.joined(sessionId, caller.connectionId, from);
        return access.useInOrder(caller, sessionId, 'editor', () =>
          this.#meant(request).register(request.command, caller),
        );
      case 'delete':
        return deleteSession(caller, sessionId);
    }
  }

  /**
   * What was sent to an actor that is gone is not for the next one: it may be told that it has to look for another, and
   * must not be passed meanwhile by what came later on the same connection (CMD-5).
   */
  #meant({ sessionId, token }: NodeRequest): SessionActor {
    const actor = this.#deps.registry.find(sessionId);
    if (actor?.token !== token) throw new HeldElsewhere();
    return actor;
  }
}

/** Members are changed by rules of their own. */
const roleFor = (type: string): 'viewer' | 'editor' => (type === 'session.member_update' ? 'viewer' : 'editor');
