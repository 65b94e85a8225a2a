/** The way to a session's actor, for who may use it. */
import { MidstreamError, type Principal } from '../../protocol/index.js';
import type { SessionState } from '../core/session-state.js';
import type { ActorRegistry } from './actor-registry.js';
import { ActorGone } from './replies.js';
import type { SessionActor } from './session-actor.js';
import type { Caller } from './session-api.js';

export interface AccessDeps {
  readonly registry: ActorRegistry;
}

export class SessionAccess {
  readonly #deps: AccessDeps;

  constructor(deps: AccessDeps) {
    this.#deps = deps;
  }

  /** Uses the session's actor; where it was put to rest meanwhile, the next one. */
  async use<T>(caller: Caller, sessionId: string, use: (actor: SessionActor) => Promise<T>): Promise<T> {
    for (let tries = 1; ; tries++) {
      const actor = await this.actorFor(caller, sessionId);
      try {
        return await use(actor);
      } catch (error) {
        if (!(error instanceof ActorGone)) throw error;
        if (tries === MAX_ACTORS) throw new MidstreamError('store_unavailable');
      }
    }
  }

  /** The session's actor, for who may use it; for others the session doesn't exist (AUTH-3). */
  async actorFor({ principal }: Caller, sessionId: string): Promise<SessionActor> {
    const actor = await this.#deps.registry.get(sessionId);
    if (!isMember(actor.state, principal) || actor.state.deleted) throw new MidstreamError('session_not_found');
    return actor;
  }
}

/** How many actors of one session are tried before the store is said to be away. */
const MAX_ACTORS = 3;

const isMember = (state: SessionState, principal: Principal): boolean =>
  state.owner.user_id === principal.user_id && state.owner.org_id === principal.org_id;
