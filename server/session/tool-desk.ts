/** Tools called without the model: the same gate, the same cap, each key's effect once (TOOL-1, TOOL-6, CMD-2). */
import { MidstreamError, type ToolCallResult } from '../../protocol/index.js';
import { decide, type FitsSchema, type Policy, withoutInput } from '../core/permissions.js';
import { capResult } from '../core/result-cap.js';
import type { AuditOutcome, AuditRecord, AuditSink } from '../ports/audit-log.js';
import type { CallKey, CallMemory } from '../ports/call-memory.js';
import type { Clock } from '../ports/clock.js';
import type { NewId } from '../ports/identity.js';
import type { Logger } from '../ports/logger.js';
import type { Metrics } from '../ports/metrics.js';
import type { ToolDefinition, ToolRunner } from '../ports/tool-runner.js';
import { toBodyHash } from './command-memory.js';
import type { Directory } from './directory.js';
import type { Counted, RateDesk } from './rate-desk.js';
import type { Caller, ToolCallOptions } from './session-api.js';

export interface ToolDeskDeps {
  readonly tools: ToolRunner;
  readonly calls: CallMemory;
  readonly rates: RateDesk;
  readonly metrics: Metrics;
  readonly audit: AuditSink;
  readonly policy: () => Policy;
  readonly directory: Pick<Directory, 'isCurrent' | 'rolesOf'>;
  readonly fitsSchema: FitsSchema;
  readonly clock: Clock;
  readonly newId: NewId;
  readonly logger: Logger;
  readonly maxResultBytes: number;
  readonly isDraining: () => boolean;
}

type Input = Readonly<Record<string, unknown>>;

interface Asked {
  readonly caller: Caller;
  readonly tool: ToolDefinition;
  readonly input: Input;
}

interface Running {
  readonly result: Promise<ToolCallResult>;
  readonly ending: AbortController;
}

export class ToolDesk {
  readonly #deps: ToolDeskDeps;
  readonly #byName: ReadonlyMap<string, ToolDefinition>;
  /** Calls under a key, by principal and key, while they run. */
  readonly #keyed = new Map<string, { readonly bodyHash: string; readonly result: Promise<ToolCallResult> }>();
  readonly #running = new Set<Running>();

  constructor(deps: ToolDeskDeps) {
    this.#deps = deps;
    this.#byName = new Map(deps.tools.definitions.map((tool) => [tool.name, tool]));
  }

  /** Throws where the tool may not be called with this input at this moment; a denial is in the audit. */
  check(caller: Caller, name: string, input: Input): ToolDefinition {
    const { policy, fitsSchema, directory } = this.#deps;
    const tool = this.#byName.get(name);
    if (!tool) throw new MidstreamError('not_found', `There is no server tool named ${name}.`);
    if (!directory.isCurrent) throw new MidstreamError('store_unavailable');
    const roles = directory.rolesOf(caller.principal);
    const { effect, rule } = decide(policy(), [roles], name, input, fitsSchema);
    if (effect !== 'allow') {
      this.#deps.metrics.denied('forbidden_tool');
      void this.#record({ caller, tool, input }, 'denial', 'denied', { rule: withoutInput(rule, name) });
      const message =
        effect === 'ask'
          ? `${name} needs an approval, which only a session can give: ${rule}.`
          : `You may not call ${name}: ${rule}.`;
      throw new MidstreamError('forbidden_tool', message, { details: { tool: name, rule, effect } });
    }
    const mismatch = fitsSchema(tool.input_schema, input);
    if (mismatch !== undefined) throw new MidstreamError('invalid_request', `input: ${mismatch}`);
    return tool;
  }

  async call(caller: Caller, name: string, input: Input, options: ToolCallOptions): Promise<ToolCallResult> {
    if (this.#deps.isDraining()) throw new MidstreamError('draining');
    // First, also for what was answered before: who may no longer call it, no longer reads its answers.
    const asked = { caller, tool: this.check(caller, name, input), input };
    const { idempotencyKey: key, signal } = options;
    if (key === undefined) {
      const counted = await this.#count(asked);
      const { result, ending } = this.#begin((s) => this.#run(asked, this.#deps.newId('cmd'), s, counted));
      if (signal.aborted) ending.abort();
      else signal.addEventListener('abort', () => ending.abort(), { once: true });
      return result;
    }
    const { user_id: userId, org_id: orgId } = caller.principal;
    return this.#callOnce(asked, { userId, orgId, key });
  }

  /** Aborts what runs; resolves when its answers are kept. */
  async close(): Promise<void> {
    for (const { ending } of this.#running) ending.abort();
    await Promise.allSettled([...this.#running].map(({ result }) => result));
  }

  /** Goes on when its caller has gone: others may wait for it, here or on another node, or ask again. */
  async #callOnce(asked: Asked, key: CallKey): Promise<ToolCallResult> {
    const bodyHash = toBodyHash({ tool: asked.tool.name, input: asked.input });
    const mapKey = `${key.orgId}\n${key.userId}\n${key.key}`;
    const running = this.#keyed.get(mapKey);
    if (running) {
      if (running.bodyHash !== bodyHash) throw conflict();
      return { ...(await running.result), duplicate: true };
    }
    const { result } = this.#begin((s) => this.#claimAndRun(asked, key, bodyHash, s));
    this.#keyed.set(mapKey, { bodyHash, result });
    try {
      return await result;
    } finally {
      this.#keyed.delete(mapKey);
    }
  }

  async #claimAndRun(asked: Asked, key: CallKey, bodyHash: string, signal: AbortSignal): Promise<ToolCallResult> {
    const { calls, newId, logger } = this.#deps;
    const fresh = newId('cmd');
    // Before the claim: a key that stands for a call that never ran would be spent.
    const counted = await this.#count(asked);
    const known = await calls.claim(key, { callId: fresh, bodyHash }).catch((error: unknown) => {
      counted.giveBack();
      logger.error('a tool call could not be claimed', { error });
      throw new MidstreamError('store_unavailable');
    });
    const runs = !known || (known.bodyHash === bodyHash && known.answer === undefined && asked.tool.idempotent);
    if (!runs) counted.giveBack();
    if (known && known.bodyHash !== bodyHash) throw conflict();
    if (known?.answer !== undefined) return { ...(JSON.parse(known.answer) as ToolCallResult), duplicate: true };
    // Its server died before the answer was kept; what can't be run twice isn't (NODE-2).
    if (known && !asked.tool.idempotent) return UNKNOWN;
    const callId = known?.callId ?? fresh;
    const result = await this.#run(asked, callId, signal, counted);
    await calls.settle(key, callId, JSON.stringify(result)).catch((error: unknown) =>
      // Under its key the outcome stays unknown, and nothing runs again.
      logger.error('the answer of a tool call could not be kept', { error }),
    );
    return result;
  }

  async #count({ caller }: Asked): Promise<Counted> {
    return this.#deps.rates.count(caller, 1, (error) => {
      this.#deps.metrics.denied(error.code);
      return error;
    });
  }

  async #run(asked: Asked, callId: string, signal: AbortSignal, counted: Counted): Promise<ToolCallResult> {
    const { tools, clock, maxResultBytes } = this.#deps;
    const { caller, tool, input } = asked;
    const extra = { tool_use_id: callId };
    if (!(await this.#record(asked, 'direct_tool_call', 'started', extra))) {
      void this.#record(asked, 'direct_tool_call', 'refused', extra);
      counted.giveBack();
      throw new MidstreamError('store_unavailable', 'The call could not be put on record, so the tool was not run.');
    }
    const startedAt = clock.now();
    const call = { tool_use_id: callId, name: tool.name, input, session_id: '', turn_id: '' };
    const answer = await tools.run({ ...call, user_id: caller.principal.user_id }, { signal, progress: () => {} });
    const endedAt = clock.now();
    // What the client is told is on record by then.
    await this.#record(asked, 'direct_tool_call', answer.outcome, extra);
    return {
      content: capResult(answer.content, maxResultBytes),
      is_error: answer.is_error,
      outcome: answer.outcome,
      duration_ms: Math.max(0, endedAt - startedAt),
    };
  }

  #record(
    { caller, tool }: Asked,
    kind: AuditRecord['kind'],
    outcome: AuditOutcome,
    extra: Pick<AuditRecord, 'rule' | 'tool_use_id'>,
  ): Promise<boolean> {
    const { user_id, org_id } = caller.principal;
    const at = new Date(this.#deps.clock.now()).toISOString();
    const request_id = caller.requestId;
    return this.#deps.audit.record({ at, kind, user_id, org_id, tool: tool.name, ...extra, outcome, request_id });
  }

  #begin(run: (signal: AbortSignal) => Promise<ToolCallResult>): Running {
    const ending = new AbortController();
    const running = { result: run(ending.signal), ending };
    this.#running.add(running);
    const done = (): void => void this.#running.delete(running);
    running.result.then(done, done);
    return running;
  }
}

const UNKNOWN: ToolCallResult = {
  content: [{ type: 'text', text: 'The server ended while the tool ran. Whether it took effect is not known.' }],
  is_error: true,
  outcome: 'unknown',
  duration_ms: 0,
  duplicate: true,
};

const conflict = (): MidstreamError =>
  new MidstreamError('idempotency_conflict', 'This Idempotency-Key was used for another call. Use a new one.');
