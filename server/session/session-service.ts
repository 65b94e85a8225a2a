/** The session room's front: authorises, finds the session's actor, and hands on. Implements the two doors. */
import {
  type AttachResult,
  EVENT_TYPES,
  type Feedback,
  type Message,
  MidstreamError,
  type PresenceUpdate,
  type Principal,
  type Session,
  type SessionCreate,
  type ToolCallResult,
  type ToolsRegister,
  type ToolsUnregister,
  type TurnCommand,
} from '../../protocol/index.js';
import { canInspect, decide, type FitsSchema, type Policy } from '../core/permissions.js';
import { createSessionState, type SessionState } from '../core/session-state.js';
import { toReading, toSession, toSnapshot } from '../core/snapshot.js';
import type { AuditLog, AuditPage, AuditQuery } from '../ports/audit-log.js';
import type { Clock } from '../ports/clock.js';
import type { CommandAnswer, EventLog, LogQuery } from '../ports/event-log.js';
import type { NewId } from '../ports/identity.js';
import type { Logger } from '../ports/logger.js';
import type { SessionStore } from '../ports/session-store.js';
import type { ToolDefinition } from '../ports/tool-runner.js';
import type { ActorRegistry } from './actor-registry.js';
import { type Agents, toAgent } from './agents.js';
import { toAccepted, toBodyHash } from './command-memory.js';
import type { Directory } from './directory.js';
import { OpenConnections } from './open-connections.js';
import { Presence } from './presence.js';
import { ActorGone } from './replies.js';
import type { SessionActor } from './session-actor.js';
import type {
  Accepted,
  Attachment,
  AttachRequest,
  Caller,
  Command,
  Echoes,
  EventPage,
  FrameSink,
  SessionApi,
  ToolCallOptions,
} from './session-api.js';
import { Subscription } from './subscription.js';
import type { ToolDesk } from './tool-desk.js';

export interface ServiceDeps {
  readonly registry: ActorRegistry;
  readonly log: EventLog;
  readonly sessions: SessionStore;
  readonly clock: Clock;
  readonly newId: NewId;
  readonly logger: Logger;
  readonly agents: Agents;
  readonly directory: Directory;
  /** The one of this moment. */
  readonly policy: Policy;
  readonly audit: AuditLog;
  readonly toolDesk: ToolDesk;
  readonly tools: readonly ToolDefinition[];
  readonly fitsSchema: FitsSchema;
  readonly isDraining: () => boolean;
}

/** What a listing shows: everything but the starts of deltas that it doesn't show either. */
const LISTED_TYPES = EVENT_TYPES.filter((type) => type !== 'event_start' && type !== 'event_delta');

export class SessionService implements SessionApi {
  readonly #deps: ServiceDeps;
  readonly #presence = new Presence();
  readonly #connections = new OpenConnections();
  /** `session.create` under way or done, by principal and id, until the store tells (CMD-2). */
  readonly #creating = new Map<string, { readonly bodyHash: string; readonly answer: Promise<Accepted> }>();

  constructor(deps: ServiceDeps) {
    this.#deps = deps;
  }

  get activeSessions(): number {
    return this.#deps.registry.size;
  }

  get draining(): boolean {
    return this.#deps.isDraining();
  }

  async dispatch(caller: Caller, command: Command): Promise<Accepted> {
    this.#deps.directory.knows(caller.principal);
    switch (command.type) {
      case 'session.create':
        return this.#createOnce(caller, command);
      case 'tools.register':
      case 'tools.unregister':
        return this.#register(caller, command);
      case 'presence.update':
        return this.#updatePresence(caller, command);
      default:
        return this.#use(caller, command.session_id, (actor) => actor.command(command, caller));
    }
  }

  async dispatchBatch(caller: Caller, sessionId: string, commands: readonly TurnCommand[]): Promise<Echoes> {
    this.#deps.directory.knows(caller.principal);
    const carried = await this.#use(caller, sessionId, (actor) => actor.batch(commands, caller));
    const echoes = await Promise.all(
      carried.map(async ({ accepted, echo }, at) => echo ?? (await this.#readEcho(sessionId, accepted, commands[at]))),
    );
    return { accepted: carried.map(({ accepted }) => accepted), echoes };
  }

  async attach(caller: Caller, request: AttachRequest, sink: FrameSink): Promise<Attachment> {
    return this.#use(caller, request.sessionId, (actor) => this.#attachTo(actor, request, sink));
  }

  async #attachTo(actor: SessionActor, request: AttachRequest, sink: FrameSink): Promise<Attachment> {
    const { log, clock } = this.#deps;
    const { afterSeq, epoch } = request;
    const { state } = actor;
    const isReplay = await this.#canReplay(actor, afterSeq, epoch);
    // What is shown must be in the log (LOG-2).
    if (!isReplay) await actor.flushed();
    if (actor.isDead) throw new ActorGone();
    const head = isReplay ? actor.feed.head : state.seq;
    const cursor = isReplay && typeof afterSeq === 'number' ? afterSeq : head;
    const subscription = new Subscription(
      { feed: actor.feed, log, clock, sink, deltas: request.deltas, onEnd: () => undefined },
      cursor,
    );
    const result: AttachResult = isReplay
      ? { mode: 'replay', epoch: state.epoch, head_seq: head }
      : { mode: 'snapshot', epoch: state.epoch, head_seq: head, snapshot: toSnapshot(state) };
    return { result, start: () => subscription.start(), detach: () => subscription.detach() };
  }

  connectionClosed(connectionId: string): void {
    for (const sessionId of this.#connections.close(connectionId)) this.#leave(sessionId, connectionId);
  }

  /** What a connection had in a session goes with it: its tools, its presence. */
  #leave(sessionId: string, connectionId: string): void {
    const actor = this.#deps.registry.find(sessionId);
    actor?.send({ type: 'connection_gone', connectionId });
    const members = this.#presence.remove(sessionId, connectionId);
    if (members) actor?.feed.broadcast({ type: 'presence.changed', session_id: sessionId, members: [...members] });
  }

  async getSession(caller: Caller, sessionId: string): Promise<Session> {
    return toSession(await this.#stateOf(caller, sessionId));
  }

  async listSessions(
    caller: Caller,
    query: { limit: number; page?: string },
  ): Promise<{ data: readonly Session[]; nextPage: string | undefined }> {
    const { user_id: userId, org_id: orgId } = caller.principal;
    const { rows, nextPage } = await this.#deps.sessions.list({ userId, orgId }, query);
    return { data: rows.map((row) => JSON.parse(row.json) as Session), nextPage };
  }

  async deleteSession(caller: Caller, sessionId: string): Promise<void> {
    await this.#use(caller, sessionId, async (actor) => {
      actor.send({ type: 'delete' });
      await actor.flushed();
    });
    await this.#deps.sessions.remove(sessionId);
    await this.#deps.registry.drop(sessionId);
  }

  async listEvents(caller: Caller, sessionId: string, query: LogQuery): Promise<EventPage> {
    await this.#actorFor(caller, sessionId);
    const types = query.types?.filter((type) => LISTED_TYPES.includes(type)) ?? LISTED_TYPES;
    if (types.length === 0) return { events: [], hasMore: false };
    const events = await this.#deps.log.read(sessionId, { ...query, types, limit: query.limit + 1 });
    return { events: events.slice(0, query.limit), hasMore: events.length > query.limit };
  }

  async listMessages(caller: Caller, sessionId: string): Promise<readonly Message[]> {
    return toReading(await this.#stateOf(caller, sessionId));
  }

  listTools(caller: Caller): readonly ToolDefinition[] {
    const { policy, fitsSchema, tools } = this.#deps;
    const roles = [caller.principal.roles];
    return tools.filter(({ name }) => decide(policy, roles, name, undefined, fitsSchema).effect !== 'deny');
  }

  checkTool(caller: Caller, name: string, input: Readonly<Record<string, unknown>>): void {
    this.#deps.toolDesk.check(caller, name, input);
  }

  async callTool(
    caller: Caller,
    name: string,
    input: Readonly<Record<string, unknown>>,
    options: ToolCallOptions,
  ): Promise<ToolCallResult> {
    this.#deps.directory.saw(caller.principal);
    return this.#deps.toolDesk.call(caller, name, input, options);
  }

  async listAudit({ principal }: Caller, query: Omit<AuditQuery, 'orgId'>): Promise<AuditPage> {
    const { audit, policy } = this.#deps;
    if (!canInspect(policy, principal.roles))
      throw new MidstreamError('forbidden', 'Only a role with inspect may read the audit log.');
    return audit.read({ ...query, orgId: principal.org_id });
  }

  async recordFeedback({ principal }: Caller, feedback: Feedback): Promise<void> {
    const { sessions, clock } = this.#deps;
    await sessions.putFeedback({ ...feedback, userId: principal.user_id, orgId: principal.org_id, at: clock.now() });
  }

  /** The state, as far as it is in the log (LOG-2). */
  #stateOf(caller: Caller, sessionId: string): Promise<SessionState> {
    return this.#use(caller, sessionId, async (actor) => {
      const { state } = actor;
      await actor.flushed();
      return state;
    });
  }

  /** Uses the session's actor; where it was put to rest meanwhile, the next one. */
  async #use<T>(caller: Caller, sessionId: string, use: (actor: SessionActor) => Promise<T>): Promise<T> {
    for (let tries = 1; ; tries++) {
      const actor = await this.#actorFor(caller, sessionId);
      try {
        return await use(actor);
      } catch (error) {
        if (!(error instanceof ActorGone)) throw error;
        if (tries === MAX_ACTORS) throw new MidstreamError('store_unavailable');
      }
    }
  }

  /** The session's actor, for who may use it; for others the session doesn't exist (AUTH-3). */
  async #actorFor({ principal }: Caller, sessionId: string): Promise<SessionActor> {
    const actor = await this.#deps.registry.get(sessionId);
    if (!isMember(actor.state, principal) || actor.state.deleted) throw new MidstreamError('session_not_found');
    return actor;
  }

  /** Whether everything after the cursor can be told without a hole (LOG-4). */
  async #canReplay(
    actor: SessionActor,
    afterSeq: number | 'head' | undefined,
    epoch: string | undefined,
  ): Promise<boolean> {
    const { log } = this.#deps;
    if (afterSeq === 'head') return true;
    if (afterSeq === undefined || (epoch !== undefined && epoch !== actor.state.epoch)) return false;
    if (afterSeq > actor.feed.head) return false;
    return afterSeq >= actor.feed.base || afterSeq >= (await log.floorOf(actor.state.sessionId));
  }

  #register(caller: Caller, command: ToolsRegister | ToolsUnregister): Promise<Accepted> {
    const { session_id } = command;
    return this.#asMember(caller, session_id, () =>
      this.#use(caller, session_id, (actor) => actor.register(command, caller)),
    );
  }

  #updatePresence(caller: Caller, command: PresenceUpdate): Promise<Accepted> {
    const { session_id, state } = command;
    return this.#asMember(caller, session_id, async (connection_id) => {
      const actor = await this.#actorFor(caller, session_id);
      const member = { user_id: caller.principal.user_id, connection_id, state };
      const members = this.#presence.set(session_id, member);
      actor.feed.broadcast({ type: 'presence.changed', session_id, members: [...members] });
      return { result: {} };
    });
  }

  /** Does what ties a connection to a session; undoes it where the connection was closed meanwhile. */
  async #asMember(
    { connectionId }: Caller,
    sessionId: string,
    join: (connectionId: string) => Promise<Accepted>,
  ): Promise<Accepted> {
    if (connectionId === undefined)
      throw new MidstreamError('invalid_request', 'Tools and presence belong to a connection: use the WebSocket.');
    const isStillOpen = this.#connections.join(connectionId, sessionId);
    try {
      return await join(connectionId);
    } finally {
      if (!isStillOpen()) this.#leave(sessionId, connectionId);
    }
  }

  async #createOnce(caller: Caller, command: SessionCreate): Promise<Accepted> {
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
    await registry.adopt(created);
    return { result: { session } };
  }

  /** The logged echo of a command that was answered before; where it logged none, what it came to. */
  async #readEcho(sessionId: string, accepted: Accepted, command: TurnCommand | undefined): Promise<string> {
    const seq = accepted.applied_at_seq;
    if (command && command.type !== 'user.interrupt' && seq !== undefined) {
      const [event] = await this.#deps.log.read(sessionId, { afterSeq: seq - 1, limit: 1 });
      if (event?.seq === seq) return event.json;
    }
    const processed_at = new Date(this.#deps.clock.now()).toISOString();
    return JSON.stringify({
      type: command?.type,
      id: command?.id,
      session_id: sessionId,
      ...accepted.result,
      processed_at,
    });
  }
}

/** How many actors of one session are tried before the store is said to be away. */
const MAX_ACTORS = 3;

const isMember = (state: SessionState, principal: Principal): boolean =>
  state.owner.user_id === principal.user_id && state.owner.org_id === principal.org_id;
