/**
 * The client tools that connections of this node registered, by session. Only the node that has the session's actor holds
 * them; when the session goes to another one, that one is told again.
 */
import type { ToolsRegister, ToolsUnregister } from '../../protocol/index.js';
import type { Clock } from '../ports/clock.js';
import type { Logger } from '../ports/logger.js';
import { isUnavailable } from './replies.js';
import type { SessionAccess } from './session-access.js';
import type { Caller } from './session-api.js';
import type { SessionDoor } from './session-door.js';
import { isAway } from './store-guard.js';

const FIRST_AGAIN_MS = 500;
const MAX_AGAIN_MS = 5_000;

export interface ToolBookDeps {
  readonly clock: Clock;
  readonly access: SessionAccess;
  readonly logger: Logger;
}

interface Page {
  readonly caller: Caller;
  readonly tools: Map<string, ToolsRegister['tools'][number]>;
}

export class ToolBook {
  readonly #deps: ToolBookDeps;
  readonly #sessions = new Map<string, Map<string, Page>>();

  constructor(deps: ToolBookDeps) {
    this.#deps = deps;
  }

  has(sessionId: string): boolean {
    return this.#sessions.has(sessionId);
  }

  /** What was accepted for a connection. */
  note(caller: Caller, connectionId: string, command: ToolsRegister | ToolsUnregister): void {
    const { session_id: sessionId } = command;
    const pages = this.#sessions.get(sessionId) ?? new Map<string, Page>();
    const { principal, requestId } = caller;
    const page = pages.get(connectionId) ?? { caller: { principal, requestId, connectionId }, tools: new Map() };
    if (command.type === 'tools.register') for (const tool of command.tools) page.tools.set(tool.name, tool);
    else for (const name of command.names) page.tools.delete(name);
    if (page.tools.size === 0) {
      this.forget(sessionId, connectionId);
      return;
    }
    pages.set(connectionId, page);
    this.#sessions.set(sessionId, pages);
  }

  forget(sessionId: string, connectionId: string): void {
    const pages = this.#sessions.get(sessionId);
    pages?.delete(connectionId);
    if (pages?.size === 0) this.#sessions.delete(sessionId);
  }

  /** The session is another node's now, or was and is this one's. */
  renew(sessionId: string): void {
    for (const connectionId of this.#sessions.get(sessionId)?.keys() ?? []) this.#renew(sessionId, connectionId);
  }

  /** Again where the store was away: the connection still believes that its tools are known. */
  #renew(sessionId: string, connectionId: string, againMs = FIRST_AGAIN_MS): void {
    const page = this.#sessions.get(sessionId)?.get(connectionId);
    if (!page) return;
    const { access, clock, logger } = this.#deps;
    const { caller, tools } = page;
    const command: ToolsRegister = {
      type: 'tools.register',
      id: caller.requestId,
      session_id: sessionId,
      tools: [...tools.values()],
    };
    const register = async (door: SessionDoor): Promise<void> => {
      await door.register(command, caller);
      // It went meanwhile.
      if (!this.#sessions.get(sessionId)?.has(connectionId)) door.leave(connectionId);
    };
    access.useInOrder(caller, sessionId, 'editor', register).catch((error: unknown) => {
      logger.warn('client tools could not be registered again', { session_id: sessionId, error });
      // Below the guard of the room a store that is away is not yet a failure of the table.
      if (!isAway(error) && !isUnavailable(error)) return;
      clock.schedule(againMs, () => this.#renew(sessionId, connectionId, Math.min(2 * againMs, MAX_AGAIN_MS)));
    });
  }
}
