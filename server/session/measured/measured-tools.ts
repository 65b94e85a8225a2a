/** Server tools with how long they run, and the audit with how all calls of tools end. */
import type { AuditLog, AuditRecord } from '../../ports/audit-log.js';
import type { MeasuredTool, Metrics, ToolOutcome } from '../../ports/metrics.js';
import type { ToolDefinition, ToolRunner } from '../../ports/tool-runner.js';
import type { Stopwatch } from './measured-deps.js';

export function measureTools(tools: ToolRunner, metrics: Metrics, now: Stopwatch): ToolRunner {
  return {
    definitions: tools.definitions,
    async run(call, context) {
      const startedAt = now();
      const answer = await tools.run(call, context);
      metrics.toolRan(call.name, now() - startedAt);
      return answer;
    },
  };
}

/** Calls of all tools pass through the audit: those of the model, direct ones, and those of clients. */
export function measureAudit(audit: AuditLog, metrics: Metrics, tools: readonly ToolDefinition[]): AuditLog {
  const serverTools = new Set(tools.map(({ name }) => name));
  const toTool = (name: string): MeasuredTool =>
    serverTools.has(name) ? { kind: 'server', name } : { kind: 'client' };
  return {
    record(record) {
      const outcome = outcomeOf(record);
      if (outcome) metrics.toolEnded(toTool(record.tool ?? ''), outcome);
      return audit.record(record);
    },
    read: (query) => audit.read(query),
    sweep: (before) => audit.sweep(before),
  };
}

/** How a call of a tool ended; undefined where the record is of something else. */
function outcomeOf({ kind, outcome, tool }: AuditRecord): ToolOutcome | undefined {
  const isCall = kind === 'tool_call' || kind === 'direct_tool_call' || (kind === 'denial' && tool !== undefined);
  if (!isCall || outcome === 'started' || outcome === 'allowed' || outcome === 'applied') return undefined;
  return outcome;
}
