/** A session whose actor is on another node: read by following its log, changed by asking that node. */
import {
  fromErrorBody,
  type Principal,
  type SessionCommand,
  type ToolsRegister,
  type ToolsUnregister,
  type TurnCommand,
} from '../../protocol/index.js';
import type { SessionState, ToolRegistration } from '../core/session-state.js';
import type { Clock, Timer } from '../ports/clock.js';
import { type Inbox, InboxUnavailable } from '../ports/inbox.js';
import type { LogOwner } from '../ports/log-tail.js';
import type { Carried } from './command-fates.js';
import { type NodeAnswer, type NodeRequest, toSentCaller } from './node-messages.js';
import { ActorGone, isUnavailable, unavailable } from './replies.js';
import type { Accepted, Caller } from './session-api.js';
import type { SessionDoor } from './session-door.js';
import type { SessionFeed } from './session-feed.js';
import type { SessionFollower } from './session-follower.js';

type Body = NodeRequest extends infer R ? (R extends unknown ? Omit<R, 'sessionId' | 'token'> : never) : never;

export interface RemoteSessionDeps {
  readonly inbox: Inbox;
  readonly follower: SessionFollower;
  readonly owner: LogOwner;
  readonly clock: Clock;
}

const SETTLE_MS = 100;
/** How long a reader waits for what only the owner knows. */
const OWNER_MS = 500;
const LOOK_MS = 1_000;

export class RemoteSession implements SessionDoor {
  readonly #deps: RemoteSessionDeps;
  readonly #follower: SessionFollower;
  /** Aborted when the session is another's: what was asked and not answered may have been done, or not. */
  readonly #gone = new AbortController();
  /** How many questions wait for an answer. */
  #asked = 0;
  #look: Timer | undefined;

  constructor(deps: RemoteSessionDeps) {
    const { follower, owner } = deps;
    this.#deps = deps;
    this.#follower = follower;
    const unlisten = follower.onOwner(() => {
      if (follower.owner?.token === owner.token) return;
      unlisten();
      this.#gone.abort(new ActorGone());
    });
  }

  get state(): SessionState {
    return this.#follower.state;
  }

  get feed(): SessionFeed {
    return this.#follower.feed;
  }

  get isDead(): boolean {
    return this.#gone.signal.aborted || this.#follower.isOver;
  }

  async flushed(): Promise<SessionState> {
    const asked = this.#registrations();
    asked.catch(() => undefined);
    await this.#follower.catchUp();
    const registrations = await asked;
    if (this.#follower.isOver) throw new ActorGone();
    return { ...this.#follower.state, registrations };
  }

  /** In no log: only the owner knows them. A reader doesn't wait for one that may be dead. */
  #registrations(): Promise<readonly ToolRegistration[]> {
    return new Promise((resolve, reject) => {
      const timer = this.#deps.clock.schedule(OWNER_MS, () => resolve([]));
      this.#ask({ kind: 'registrations' }, undefined)
        .then((known) => resolve(known as readonly ToolRegistration[]), reject)
        .finally(() => timer.cancel());
    });
  }

  async command(command: SessionCommand, caller: Caller): Promise<Accepted> {
    return (await this.#ask({ kind: 'command', caller: toSentCaller(caller), command }, caller)) as Accepted;
  }

  async batch(commands: readonly TurnCommand[], caller: Caller): Promise<readonly Carried[]> {
    return (await this.#ask({ kind: 'batch', caller: toSentCaller(caller), commands }, caller)) as readonly Carried[];
  }

  async register(command: ToolsRegister | ToolsUnregister, caller: Caller): Promise<Accepted> {
    return (await this.#ask({ kind: 'register', caller: toSentCaller(caller), command }, caller)) as Accepted;
  }

  leave(connectionId: string): void {
    this.#ask({ kind: 'leave', connectionId }, undefined).catch((error: unknown) => {
      // Told again until it is heard; an owner that comes after this one is told of no connection that went.
      if (isUnavailable(error)) this.#deps.clock.schedule(LOOK_MS, () => this.leave(connectionId));
    });
  }

  async delete(by: Principal): Promise<void> {
    try {
      await this.#ask({ kind: 'delete', caller: { principal: by, requestId: '' } }, undefined);
    } catch (error) {
      // The log told before the owner did.
      if (!(error instanceof ActorGone && this.#follower.isDeleted)) throw error;
    }
  }

  /** The owner knows that it is none before the log tells who is; for a moment that may be nobody. */
  async #settled(): Promise<void> {
    if (this.isDead) return;
    await new Promise<void>((resolve) => {
      const timer = this.#deps.clock.schedule(SETTLE_MS, resolve);
      this.#gone.signal.addEventListener('abort', () => {
        timer.cancel();
        resolve();
      });
    });
  }

  /** While something is asked: an owner that died says nothing, and its lease lapses without a word. */
  #scheduleLook(): Timer {
    return this.#deps.clock.schedule(LOOK_MS, () => {
      this.#look = undefined;
      if (this.#asked === 0 || this.isDead) return;
      this.#follower.look();
      this.#look = this.#scheduleLook();
    });
  }

  async #ask(body: Body, caller: Caller | undefined): Promise<unknown> {
    if (this.isDead) throw new ActorGone();
    const { inbox, owner } = this.#deps;
    const request = { ...body, sessionId: this.#follower.feed.sessionId, token: owner.token } as NodeRequest;
    let answer: NodeAnswer;
    this.#asked++;
    // What was given up without need would be asked again, and what was asked after it may have passed it (CMD-5).
    const endUse = this.#follower.use();
    this.#look ??= this.#scheduleLook();
    try {
      answer = (await inbox.ask(owner.nodeId, request, this.#gone.signal)) as NodeAnswer;
    } catch (error) {
      throw error instanceof InboxUnavailable ? unavailable() : error;
    } finally {
      endUse();
      this.#asked--;
    }
    if (answer.ok === 'gone') {
      await this.#settled();
      this.#gone.abort(new ActorGone());
      throw new ActorGone();
    }
    if (answer.counted) caller?.onCounted?.(answer.counted);
    if (!answer.ok) throw fromErrorBody(answer.error);
    return answer.value;
  }
}
