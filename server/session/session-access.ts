/** The way to a session's actor, for who may use it. */
import { type MemberRole, MidstreamError } from '../../protocol/index.js';
import { refusalOf, type Shared } from '../core/membership.js';
import { type Participant, toFirstMembers } from '../core/session-state.js';
import type { SessionRow, SessionStore } from '../ports/session-store.js';
import { CommandOrder } from './command-order.js';
import { ActorGone, unavailable } from './replies.js';
import type { Caller } from './session-api.js';
import type { Doors, SessionDoor } from './session-door.js';

export interface AccessDeps {
  readonly doors: Doors;
  readonly sessions: SessionStore;
}

export class SessionAccess {
  readonly #deps: AccessDeps;
  /** Rows being read, by session: who comes meanwhile waits for the same one, and so behind who came before (CMD-5). */
  readonly #reading = new Map<string, Promise<SessionRow | undefined>>();

  readonly #order = new CommandOrder<SessionDoor>();

  constructor(deps: AccessDeps) {
    this.#deps = deps;
  }

  /** For commands: those that came earlier stay ahead, whichever actor takes them (CMD-5). */
  useInOrder<T>(
    caller: Caller,
    sessionId: string,
    needed: MemberRole,
    use: (actor: SessionDoor) => Promise<T>,
  ): Promise<T> {
    const find = (): Promise<SessionDoor> => this.actorFor(caller, sessionId, needed);
    return this.#order.inOrder(sessionId, (enter) => this.#try(() => enter(find), use));
  }

  /** Uses the session's actor, for who has at least this role; where it was put to rest meanwhile, the next one. */
  use<T>(caller: Caller, sessionId: string, needed: MemberRole, use: (actor: SessionDoor) => Promise<T>): Promise<T> {
    return this.#try(() => this.actorFor(caller, sessionId, needed), use);
  }

  async #try<T>(find: () => Promise<SessionDoor>, use: (actor: SessionDoor) => Promise<T>): Promise<T> {
    for (let tries = 1; ; tries++) {
      const actor = await find().catch((error: unknown) => {
        // Who was asked before may have done it (CMD-3).
        throw tries > 1 && isRefused(error) ? unavailable() : error;
      });
      try {
        return await use(actor);
      } catch (error) {
        if (!(error instanceof ActorGone)) throw error;
        if (tries === MAX_ACTORS) throw unavailable();
      }
    }
  }

  /** The session's actor; for who is no member the session doesn't exist, and isn't opened either (AUTH-3). */
  async actorFor({ principal }: Caller, sessionId: string, needed: MemberRole): Promise<SessionDoor> {
    const { doors } = this.#deps;
    if (this.#reading.has(sessionId) || !doors.find(sessionId)) {
      const row = await this.#read(sessionId);
      if (!row) throw new MidstreamError('session_not_found');
      requireRole(toShared(row), principal, 'viewer');
    }
    const actor = await doors.get(sessionId);
    if (actor.state.deleted) throw new MidstreamError('session_not_found');
    requireRole(actor.state, principal, needed);
    return actor;
  }

  #read(sessionId: string): Promise<SessionRow | undefined> {
    const known = this.#reading.get(sessionId);
    if (known) return known;
    const reading = this.#deps.sessions.get(sessionId).finally(() => this.#reading.delete(sessionId));
    this.#reading.set(sessionId, reading);
    return reading;
  }
}

const isRefused = (error: unknown): boolean =>
  error instanceof MidstreamError && (error.code === 'store_unavailable' || error.code === 'draining');

/** How many actors of one session are tried before the store is said to be away. */
const MAX_ACTORS = 6;

function requireRole(shared: Shared, who: Participant, needed: MemberRole): void {
  const refusal = refusalOf(shared, who, needed);
  if (refusal) throw new MidstreamError(refusal.code, refusal.message);
}

/** The members as the row has them; one written before sessions were shared names none. */
export function toShared(row: SessionRow): Shared {
  const owner = { user_id: row.userId, org_id: row.orgId };
  const { members = toFirstMembers(owner) } = JSON.parse(row.json) as Partial<Shared>;
  return { owner, members };
}
