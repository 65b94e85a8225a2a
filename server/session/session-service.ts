/** The session room's front: authorises, finds the session's actor, and hands on. Implements the two doors. */
import {
  EVENT_TYPES,
  type Feedback,
  type MemberUpdate,
  type Message,
  MidstreamError,
  type PresenceUpdate,
  type Session,
  type ToolCallResult,
  type ToolsRegister,
  type ToolsUnregister,
  type TurnCommand,
} from '../../protocol/index.js';
import { roleOf } from '../core/membership.js';
import { canInspect, decide, type FitsSchema, type Policy } from '../core/permissions.js';
import type { SessionState } from '../core/session-state.js';
import { toReading, toSession } from '../core/snapshot.js';
import type { AuditLog, AuditPage, AuditQuery } from '../ports/audit-log.js';
import type { CallMemory } from '../ports/call-memory.js';
import type { Clock } from '../ports/clock.js';
import type { EventLog, LogQuery } from '../ports/event-log.js';
import type { NewId } from '../ports/identity.js';
import type { Inbox } from '../ports/inbox.js';
import type { Logger } from '../ports/logger.js';
import type { SessionStore } from '../ports/session-store.js';
import type { ToolDefinition } from '../ports/tool-runner.js';
import type { ActorRegistry } from './actor-registry.js';
import type { Agents } from './agents.js';
import { attachTo } from './attaching.js';
import type { Directory } from './directory.js';
import { readEcho } from './event-echo.js';
import type { Doors } from './session-door.js';
import type { NodeWatch } from './node-watch.js';
import { OpenConnections } from './open-connections.js';
import { Presence } from './presence.js';
import { type SessionAccess, toShared } from './session-access.js';
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
import { SessionMaker } from './session-maker.js';
import type { Delivered } from './subscription.js';
import type { ToolBook } from './tool-book.js';
import type { ToolDesk } from './tool-desk.js';

export interface ServiceDeps {
  readonly registry: ActorRegistry;
  readonly doors: Doors;
  readonly access: SessionAccess;
  readonly toolBook: ToolBook;
  /** Other nodes, where there are any. */
  readonly nodes: { readonly inbox: Inbox; readonly watch: NodeWatch } | undefined;
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
  readonly creations: CallMemory | undefined;
  readonly delivered: Delivered;
}

/** What a listing shows: everything but the starts of deltas that it doesn't show either. */
const LISTED_TYPES = EVENT_TYPES.filter((type) => type !== 'event_start' && type !== 'event_delta');

export class SessionService implements SessionApi {
  readonly #deps: ServiceDeps;
  readonly #presence: Presence;
  readonly #connections = new OpenConnections();
  readonly #access: SessionAccess;
  readonly #maker: SessionMaker;

  constructor(deps: ServiceDeps) {
    this.#deps = deps;
    this.#access = deps.access;
    this.#presence = new Presence({
      onChange: (session_id, members) =>
        deps.doors.feedOf(session_id)?.broadcast({ type: 'presence.changed', session_id, members: [...members] }),
      isOpen: (sessionId) => deps.doors.feedOf(sessionId) !== undefined,
      others: deps.nodes,
    });
    this.#maker = new SessionMaker(deps);
  }

  get activeSessions(): number {
    return this.#deps.registry.size;
  }

  get draining(): boolean {
    return this.#deps.isDraining();
  }

  async dispatch(caller: Caller, command: Command): Promise<Accepted> {
    const knowing = this.#deps.directory.meet(caller.principal);
    if (knowing) await knowing;
    switch (command.type) {
      case 'session.create':
        return this.#maker.create(caller, command);
      case 'tools.register':
      case 'tools.unregister':
        return this.#register(caller, command);
      case 'presence.update':
        return this.#updatePresence(caller, command);
      case 'session.member_update':
        return this.#updateMember(caller, command);
      default:
        return this.#access.useInOrder(caller, command.session_id, 'editor', (actor) => actor.command(command, caller));
    }
  }

  async dispatchBatch(caller: Caller, sessionId: string, commands: readonly TurnCommand[]): Promise<Echoes> {
    const knowing = this.#deps.directory.meet(caller.principal);
    if (knowing) await knowing;
    const carried = await this.#access.useInOrder(caller, sessionId, 'editor', (actor) =>
      actor.batch(commands, caller),
    );
    const echoes = await Promise.all(
      carried.map(
        async ({ accepted, echo }, at) => echo ?? (await readEcho(sessionId, accepted, commands[at], this.#deps)),
      ),
    );
    return { accepted: carried.map(({ accepted }) => accepted), echoes };
  }

  async attach(caller: Caller, request: AttachRequest, sink: FrameSink): Promise<Attachment> {
    return this.#access.use(caller, request.sessionId, 'viewer', (actor) =>
      attachTo(actor, request, sink, { ...this.#deps, principal: caller.principal }),
    );
  }

  connectionClosed(connectionId: string): void {
    for (const sessionId of this.#connections.close(connectionId)) this.#leave(sessionId, connectionId);
  }

  /** What a connection had in a session goes with it: its tools, its presence. */
  #leave(sessionId: string, connectionId: string): void {
    this.#deps.doors.find(sessionId)?.leave(connectionId);
    this.#deps.toolBook.forget(sessionId, connectionId);
    this.#presence.remove(sessionId, connectionId);
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
    return {
      data: rows.map((row) => ({ ...(JSON.parse(row.json) as Session), members: [...toShared(row).members] })),
      nextPage,
    };
  }

  async deleteSession(caller: Caller, sessionId: string): Promise<void> {
    await this.#access.use(caller, sessionId, 'owner', (actor) => actor.delete(caller.principal));
    await this.#deps.sessions.remove(sessionId);
    await this.#deps.registry.drop(sessionId);
  }

  async listEvents(caller: Caller, sessionId: string, query: LogQuery): Promise<EventPage> {
    await this.#access.actorFor(caller, sessionId, 'viewer');
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
    const roles = [this.#rolesOf(caller)];
    return tools.filter(({ name }) => decide(policy, roles, name, undefined, fitsSchema).effect !== 'deny');
  }

  checkTool(caller: Caller, name: string, input: Readonly<Record<string, unknown>>): void {
    this.#deps.directory.knows(caller.principal);
    this.#deps.toolDesk.check(caller, name, input);
  }

  async callTool(
    caller: Caller,
    name: string,
    input: Readonly<Record<string, unknown>>,
    options: ToolCallOptions,
  ): Promise<ToolCallResult> {
    this.#deps.directory.knows(caller.principal);
    return this.#deps.toolDesk.call(caller, name, input, options);
  }

  async listAudit(caller: Caller, query: Omit<AuditQuery, 'orgId'>): Promise<AuditPage> {
    const { audit, policy } = this.#deps;
    if (!canInspect(policy, this.#rolesOf(caller)))
      throw new MidstreamError('forbidden', 'Only a role with inspect may read the audit log.');
    return audit.read({ ...query, orgId: caller.principal.org_id });
  }

  async recordFeedback({ principal }: Caller, feedback: Feedback): Promise<void> {
    const { sessions, clock } = this.#deps;
    await sessions.putFeedback({ ...feedback, userId: principal.user_id, orgId: principal.org_id, at: clock.now() });
  }

  /** The roles of the last credential verified, also where this caller came by an older one (TOOL-1). */
  #rolesOf({ principal }: Caller): readonly string[] {
    this.#deps.directory.knows(principal);
    return this.#deps.directory.rolesOf(principal);
  }

  /** The state, as far as it is in the log (LOG-2). */
  #stateOf(caller: Caller, sessionId: string): Promise<SessionState> {
    return this.#access.use(caller, sessionId, 'viewer', (actor) => actor.flushed());
  }

  #register(caller: Caller, command: ToolsRegister | ToolsUnregister): Promise<Accepted> {
    const { session_id } = command;
    return this.#asMember(caller, session_id, async (connectionId) => {
      const accepted = await this.#access.useInOrder(caller, session_id, 'editor', (actor) =>
        actor.register(command, caller),
      );
      this.#deps.toolBook.note(caller, connectionId, command);
      return accepted;
    });
  }

  #updatePresence(caller: Caller, command: PresenceUpdate): Promise<Accepted> {
    const { session_id, state } = command;
    return this.#asMember(caller, session_id, async (connection_id) => {
      await this.#access.actorFor(caller, session_id, 'viewer');
      this.#presence.set(session_id, { user_id: caller.principal.user_id, connection_id, state });
      return { result: {} };
    });
  }

  /** Who is a member no more is not shown to be there either. */
  #updateMember(caller: Caller, command: MemberUpdate): Promise<Accepted> {
    const { session_id, user_id } = command;
    return this.#access.useInOrder(caller, session_id, 'viewer', async (actor) => {
      const accepted = await actor.command(command, caller);
      const who = { user_id, org_id: caller.principal.org_id };
      if (roleOf(await actor.flushed(), who) === undefined) this.#presence.removeUser(session_id, user_id);
      return accepted;
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
}
