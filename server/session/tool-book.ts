/**
 * The client tools that connections of this node registered, by session. Only the node that has the session's actor holds
 * them; when the session goes to another one, that one is told again.
 */
import type { ToolsRegister, ToolsUnregister } from '../../protocol/index.js';
import type { Logger } from '../ports/logger.js';
import type { SessionAccess } from './session-access.js';
import type { Caller } from './session-api.js';

export interface ToolBookDeps {
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
    for (const { caller, tools } of this.#sessions.get(sessionId)?.values() ?? []) {
      const command: ToolsRegister = {
        type: 'tools.register',
        id: caller.requestId,
        session_id: sessionId,
        tools: [...tools.values()],
      };
      this.#deps.access
        .useInOrder(caller, sessionId, 'editor', (door) => door.register(command, caller))
        .catch((error: unknown) => {
          this.#deps.logger.warn('client tools could not be registered again', { session_id: sessionId, error });
        });
    }
  }
}
