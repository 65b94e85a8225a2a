/** Finds a session's door: its actor here, the actor of another node, or, where no node has one, a new actor here. */
import { MidstreamError } from '../../protocol/index.js';
import type { Clock } from '../ports/clock.js';
import type { Inbox } from '../ports/inbox.js';
import type { LogOwner } from '../ports/log-tail.js';
import type { ActorRegistry } from './actor-registry.js';
import type { Followers } from './followers.js';
import { RemoteSession } from './remote-session.js';
import { type Doors, HeldElsewhere, type SessionDoor } from './session-door.js';
import type { SessionFeed } from './session-feed.js';
import type { SessionFollower } from './session-follower.js';

export interface SessionDoorsDeps {
  readonly registry: ActorRegistry;
  readonly followers: Followers;
  readonly inbox: Inbox;
  readonly clock: Clock;
}

/** How often an owner is looked for that is gone when it is found. */
const MAX_LOOKS = 10;

export class SessionDoors implements Doors {
  readonly #deps: SessionDoorsDeps;
  readonly #remotes = new WeakMap<SessionFollower, RemoteSession>();

  constructor(deps: SessionDoorsDeps) {
    this.#deps = deps;
  }

  find(sessionId: string): SessionDoor | undefined {
    return this.#deps.registry.find(sessionId) ?? this.#findRemote(sessionId);
  }

  feedOf(sessionId: string): SessionFeed | undefined {
    const { registry, followers } = this.#deps;
    return registry.feedOf(sessionId) ?? followers.find(sessionId)?.feed;
  }

  async get(sessionId: string): Promise<SessionDoor> {
    const { registry, followers, inbox } = this.#deps;
    for (let looks = 1; looks <= MAX_LOOKS; looks++) {
      const remote = registry.find(sessionId) ? undefined : this.#findRemote(sessionId);
      if (remote) {
        // So that it is followed on.
        await followers.get(sessionId);
        if (!remote.isDead) return remote;
        continue;
      }
      try {
        return await registry.get(sessionId);
      } catch (error) {
        if (!(error instanceof HeldElsewhere)) throw error;
      }
      const follower = await followers.get(sessionId);
      // Who was asked before said that it is the owner no more, and may have said so before the log did.
      if (looks > 1 || this.#remotes.get(follower)?.isDead) await follower.catchUp();
      const { owner } = follower;
      if (owner && owner.nodeId !== inbox.nodeId && !follower.isOver) return this.#open(sessionId, follower, owner);
      // Nobody has it, and this node takes nothing more.
      if (registry.isYielding && !owner) throw new MidstreamError('draining');
    }
    throw new MidstreamError('store_unavailable', 'The session moves between servers. Try again.');
  }

  #findRemote(sessionId: string): RemoteSession | undefined {
    const follower = this.#deps.followers.find(sessionId);
    const remote = follower && this.#remotes.get(follower);
    return remote?.isDead ? undefined : remote;
  }

  #open(sessionId: string, follower: SessionFollower, owner: LogOwner): RemoteSession {
    const known = this.#findRemote(sessionId);
    if (known) return known;
    const remote = new RemoteSession({ ...this.#deps, follower, owner });
    this.#remotes.set(follower, remote);
    return remote;
  }
}
