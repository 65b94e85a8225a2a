/** The doors of the session room, with how long a cancel takes. */
import type { Metrics } from '../../ports/metrics.js';
import type { Accepted, SessionApi } from '../session-api.js';
import type { Stopwatch } from './measured-deps.js';

export function measureApi(api: SessionApi, metrics: Metrics, now: Stopwatch): SessionApi {
  const timed = async <T>(answered: Promise<T>, all: (value: T) => readonly Accepted[]): Promise<T> => {
    const askedAt = now();
    const value = await answered;
    // One that came too late had nothing to end.
    if (all(value).some(({ result }) => result.outcome === 'cancelled')) metrics.cancelled(now() - askedAt);
    return value;
  };
  return {
    dispatch: (caller, command) => {
      const answered = api.dispatch(caller, command);
      return command.type === 'user.interrupt' ? timed(answered, (accepted) => [accepted]) : answered;
    },
    dispatchBatch: (caller, sessionId, commands) => {
      const answered = api.dispatchBatch(caller, sessionId, commands);
      return commands.some(({ type }) => type === 'user.interrupt')
        ? timed(answered, ({ accepted }) => accepted)
        : answered;
    },
    attach: (caller, request, sink) => api.attach(caller, request, sink),
    connectionClosed: (connectionId) => api.connectionClosed(connectionId),
    getSession: (caller, sessionId) => api.getSession(caller, sessionId),
    listSessions: (caller, query) => api.listSessions(caller, query),
    deleteSession: (caller, sessionId) => api.deleteSession(caller, sessionId),
    listEvents: (caller, sessionId, query) => api.listEvents(caller, sessionId, query),
    listMessages: (caller, sessionId) => api.listMessages(caller, sessionId),
    listTools: (caller) => api.listTools(caller),
    checkTool: (caller, name, input) => api.checkTool(caller, name, input),
    callTool: (caller, name, input, options) => api.callTool(caller, name, input, options),
    listAudit: (caller, query) => api.listAudit(caller, query),
    recordFeedback: (caller, feedback) => api.recordFeedback(caller, feedback),
    get activeSessions() {
      return api.activeSessions;
    },
    get draining() {
      return api.draining;
    },
  };
}
