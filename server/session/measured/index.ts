/** The ports of the session room as it gets them, each with what operators watch of it. */
import type { AuditLog } from '../../ports/audit-log.js';
import type { EventLog } from '../../ports/event-log.js';
import type { Inbox } from '../../ports/inbox.js';
import type { Leases } from '../../ports/lease.js';
import type { LogTail } from '../../ports/log-tail.js';
import type { Metrics } from '../../ports/metrics.js';
import type { Model } from '../../ports/model.js';
import type { ToolRunner } from '../../ports/tool-runner.js';
import type { Stopwatch } from './measured-deps.js';
import { measureInbox } from './measured-inbox.js';
import { measureLeases } from './measured-leases.js';
import { MeasuredLog } from './measured-log.js';
import { measureModel } from './measured-model.js';
import { measureAudit, measureTools } from './measured-tools.js';

export { measureApi } from './measured-api.js';
export type { Check, Stopwatch } from './measured-deps.js';

export interface Ports {
  readonly log: EventLog;
  readonly leases: Leases;
  readonly nodes: { readonly inbox: Inbox; readonly tail: LogTail } | undefined;
  readonly audit: AuditLog;
  readonly model: Model;
  readonly tools: ToolRunner;
}

export function measurePorts(ports: Ports, metrics: Metrics, now: Stopwatch): Ports & { readonly log: MeasuredLog } {
  const { nodes, tools } = ports;
  return {
    log: new MeasuredLog(ports.log, metrics, now),
    leases: measureLeases(ports.leases, metrics),
    nodes: nodes && { ...nodes, inbox: measureInbox(nodes.inbox, metrics, now) },
    audit: measureAudit(ports.audit, metrics, tools.definitions),
    model: measureModel(ports.model, metrics, now),
    tools: measureTools(tools, metrics, now),
  };
}
