/** A session as this node reaches it: by its actor here, or by the node that has the actor. */
import type { Principal, SessionCommand, ToolsRegister, ToolsUnregister, TurnCommand } from '../../protocol/index.js';
import type { SessionState } from '../core/session-state.js';
import type { Carried } from './command-fates.js';
import type { Accepted, Caller } from './session-api.js';
import type { SessionFeed } from './session-feed.js';

/** What can't be done because the actor went away rejects with `ActorGone`: the next door can, under the same id. */
export interface SessionDoor {
  /** As far as this node knows. */
  readonly state: SessionState;
  readonly feed: SessionFeed;
  readonly isDead: boolean;
  /** The state with all that was done before the call, when it is in the log. */
  flushed(): Promise<SessionState>;
  /** Carries out a command, in the order of the calls. Resolves when it took effect. */
  command(command: SessionCommand, caller: Caller): Promise<Accepted>;
  /** Carries out commands, in order, all or none. A refusal names its place as `details.index`. */
  batch(commands: readonly TurnCommand[], caller: Caller): Promise<readonly Carried[]>;
  /** Registers or unregisters client tools, in order with the commands. */
  register(command: ToolsRegister | ToolsUnregister, caller: Caller): Promise<Accepted>;
  /** A connection is gone, with all it had here. */
  leave(connectionId: string): void;
  /** Ends the session; its log says so when this resolves. */
  delete(by: Principal): Promise<void>;
}

/** Where doors are found. */
export interface Doors {
  /** The session's door where it is open. */
  find(sessionId: string): SessionDoor | undefined;
  /** What is shown of the session here, also while nobody has its actor. */
  feedOf(sessionId: string): SessionFeed | undefined;
  /** The session's door, opened where it isn't. Rejects with `session_not_found`. */
  get(sessionId: string): Promise<SessionDoor>;
}

/** Another node holds the session. */
export class HeldElsewhere extends Error {
  override readonly name = 'HeldElsewhere';
}
