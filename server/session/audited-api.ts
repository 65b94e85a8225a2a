/** The doors of the session room, with a record of the audit for each command and request that was refused for who asked. */
import { MidstreamError } from '../../protocol/index.js';
import type { AuditSink } from '../ports/audit-log.js';
import type { Clock } from '../ports/clock.js';
import type { Caller, Command, SessionApi, UsageApi } from './session-api.js';

export interface AuditedDeps {
  readonly audit: AuditSink;
  readonly clock: Clock;
}

/** What was asked for. */
interface Asked {
  readonly action: string;
  readonly sessionId?: string | undefined;
  readonly toolUseId?: string | undefined;
}

/** `call` begins at once, so that commands keep their order (CMD-5). */
type Audited = <T>(caller: Caller, asked: Asked, call: () => Promise<T>) => Promise<T>;

function createAudited({ audit, clock }: AuditedDeps): Audited {
  return async (caller, { action, sessionId, toolUseId }, call) => {
    try {
      return await call();
    } catch (error) {
      if (error instanceof MidstreamError && error.row.status === 403)
        void audit.record({
          at: new Date(clock.now()).toISOString(),
          kind: 'denial',
          user_id: caller.principal.user_id,
          org_id: caller.principal.org_id,
          ...(sessionId !== undefined && { session_id: sessionId }),
          ...(toolUseId !== undefined && { tool_use_id: toolUseId }),
          rule: `${action}: ${withoutInputs(error.message)}`,
          outcome: 'denied',
          request_id: caller.requestId,
        });
      throw error;
    }
  };
}

/** What a rule says about an input may quote it. */
const withoutInputs = (message: string): string => message.replace(/(: input of [^:]*): .*$/s, '$1');

const ofCommand = (command: Command): Asked => ({
  action: command.type,
  sessionId: 'session_id' in command ? command.session_id : undefined,
  toolUseId: command.type === 'user.tool_confirmation' ? command.tool_use_id : undefined,
});

/** Direct tool calls and revocations put their refusals on record themselves. */
export function createAuditedApi(api: SessionApi, deps: AuditedDeps): SessionApi {
  const audited = createAudited(deps);
  return {
    dispatch: (caller, command) => audited(caller, ofCommand(command), () => api.dispatch(caller, command)),
    dispatchBatch: (caller, sessionId, commands) => {
      const action = [...new Set(commands.map(({ type }) => type))].join(', ');
      return audited(caller, { action, sessionId }, () => api.dispatchBatch(caller, sessionId, commands));
    },
    attach: (caller, request, sink) =>
      audited(caller, { action: 'attach', sessionId: request.sessionId }, () => api.attach(caller, request, sink)),
    connectionClosed: (connectionId) => api.connectionClosed(connectionId),
    getSession: (caller, sessionId) =>
      audited(caller, { action: 'read', sessionId }, () => api.getSession(caller, sessionId)),
    listSessions: (caller, query) => api.listSessions(caller, query),
    deleteSession: (caller, sessionId) =>
      audited(caller, { action: 'delete', sessionId }, () => api.deleteSession(caller, sessionId)),
    listEvents: (caller, sessionId, query) =>
      audited(caller, { action: 'read', sessionId }, () => api.listEvents(caller, sessionId, query)),
    listMessages: (caller, sessionId) =>
      audited(caller, { action: 'read', sessionId }, () => api.listMessages(caller, sessionId)),
    listTools: (caller) => api.listTools(caller),
    checkTool: (caller, name, input) => api.checkTool(caller, name, input),
    callTool: (caller, name, input, options) => api.callTool(caller, name, input, options),
    listAudit: (caller, query) => audited(caller, { action: 'read the audit' }, () => api.listAudit(caller, query)),
    recordFeedback: (caller, feedback) => api.recordFeedback(caller, feedback),
    get activeSessions() {
      return api.activeSessions;
    },
    get draining() {
      return api.draining;
    },
  };
}

export function createAuditedUsage(usage: UsageApi, deps: AuditedDeps): UsageApi {
  const audited = createAudited(deps);
  return {
    report: (caller, query) => audited(caller, { action: 'read usage' }, () => usage.report(caller, query)),
  };
}
