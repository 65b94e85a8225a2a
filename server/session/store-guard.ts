/** The session room's front as transports get it: a store that is away is a failure of the table, like every other. */
import { MidstreamError } from '../../protocol/index.js';
import { LogUnavailable } from '../ports/event-log.js';
import { InboxUnavailable } from '../ports/inbox.js';
import { unavailable } from './replies.js';
import type { SessionApi } from './session-api.js';

export function guardStore(api: SessionApi): SessionApi {
  return {
    dispatch: (caller, command) => changing(api.dispatch(caller, command)),
    dispatchBatch: (caller, sessionId, commands) => changing(api.dispatchBatch(caller, sessionId, commands)),
    attach: (caller, request, sink) => reading(api.attach(caller, request, sink)),
    connectionClosed: (connectionId) => api.connectionClosed(connectionId),
    getSession: (caller, sessionId) => reading(api.getSession(caller, sessionId)),
    listSessions: (caller, query) => reading(api.listSessions(caller, query)),
    deleteSession: (caller, sessionId) => changing(api.deleteSession(caller, sessionId)),
    listEvents: (caller, sessionId, query) => reading(api.listEvents(caller, sessionId, query)),
    listMessages: (caller, sessionId) => reading(api.listMessages(caller, sessionId)),
    listTools: (caller) => api.listTools(caller),
    checkTool: (caller, name, input) => api.checkTool(caller, name, input),
    callTool: (caller, name, input, options) => api.callTool(caller, name, input, options),
    listAudit: (caller, query) => reading(api.listAudit(caller, query)),
    recordFeedback: (caller, feedback) => changing(api.recordFeedback(caller, feedback)),
    get activeSessions() {
      return api.activeSessions;
    },
    get draining() {
      return api.draining;
    },
  };
}

/** What the ports of stores reject with where they are away; behind the guard it is `store_unavailable`. */
export const isAway = (error: unknown): boolean => error instanceof LogUnavailable || error instanceof InboxUnavailable;

/** What failed may have changed something (CMD-3). */
const changing = <T>(work: Promise<T>): Promise<T> =>
  work.catch((error: unknown) => {
    throw isAway(error) ? unavailable() : error;
  });

const reading = <T>(work: Promise<T>): Promise<T> =>
  work.catch((error: unknown) => {
    throw isAway(error) ? new MidstreamError('store_unavailable') : error;
  });
