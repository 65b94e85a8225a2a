/** Asks the caller about tool calls that wait for an approver, once each, and sends the decision. */
import type { ClientFrameInput } from '../protocol/commands.js';
import type { SessionEvent } from '../protocol/events.js';
import type { Snapshot } from '../protocol/resources.js';
import { createCommandId } from './command-id.js';
import type { Lifetime, Reply } from './outbox.js';
import type { Runtime } from './runtime.js';

export interface ApprovalRequest {
  readonly tool_use_id: string;
  readonly name: string;
  readonly label: string;
  readonly input: Record<string, unknown>;
  readonly expires_at: string | undefined;
  /** Aborts when the call was decided by somebody else, expired, or its turn ended. */
  readonly signal: AbortSignal;
}

export interface Decision {
  readonly result: 'allow' | 'deny';
  /** Told to the model. */
  readonly deny_message?: string;
  /** Runs with this input instead; the policy looks at it again. */
  readonly updated_input?: Record<string, unknown>;
}

/** Returning nothing leaves the decision to others. */
export type ApprovalHandler = (call: ApprovalRequest) => Decision | undefined | Promise<Decision | undefined>;

export interface ApprovalsDeps {
  readonly sessionId: string;
  readonly runtime: Runtime;
  send(frame: ClientFrameInput, lifetime: Lifetime, reply: Reply): void;
  onError(error: unknown): void;
}

interface Waiting {
  readonly turnId: string | undefined;
  readonly request: Omit<ApprovalRequest, 'signal'>;
  asked?: AbortController;
}

/** Refusals that say that there is nothing left to decide. */
const IS_OVER: readonly string[] = ['already_resolved', 'tool_call_not_found', 'session_not_found'];

export class Approvals {
  readonly #deps: ApprovalsDeps;
  readonly #waiting = new Map<string, Waiting>();
  #handler: ApprovalHandler | undefined;

  constructor(deps: ApprovalsDeps) {
    this.#deps = deps;
  }

  handle(handler: ApprovalHandler): void {
    this.#handler = handler;
  }

  apply(event: SessionEvent): void {
    switch (event.type) {
      case 'agent.tool_use':
      case 'agent.mcp_tool_use':
      case 'agent.custom_tool_use': {
        if (event.evaluated_permission !== 'ask') return;
        const { id, name, label, input, expires_at, turn_id: turnId } = event;
        this.#waiting.set(id, { turnId, request: { tool_use_id: id, name, label, input, expires_at } });
        return;
      }
      case 'user.tool_confirmation':
      case 'tool.denied':
      case 'agent.tool_result':
        return this.#close(event.tool_use_id);
      case 'step.superseded':
        for (const id of event.discard_event_ids) this.#close(id);
        return;
      case 'turn.ended':
        for (const [id, { turnId }] of [...this.#waiting]) if (turnId === event.turn_id) this.#close(id);
        return;
      default:
        return;
    }
  }

  applySnapshot({ pending, turn }: Snapshot): void {
    const open = new Map(pending.filter(({ kind }) => kind === 'confirmation').map((call) => [call.tool_use_id, call]));
    for (const id of [...this.#waiting.keys()]) if (!open.has(id)) this.#close(id);
    for (const [id, { name, label, input, expires_at }] of open)
      if (!this.#waiting.has(id))
        this.#waiting.set(id, { turnId: turn?.turn_id, request: { tool_use_id: id, name, label, input, expires_at } });
  }

  /** Asks about what waits. Called when the log is read to its head, so that nobody is asked about what is decided. */
  askOpen(): void {
    const handler = this.#handler;
    if (!handler || this.#waiting.size === 0) return;
    for (const waiting of [...this.#waiting.values()]) if (!waiting.asked) void this.#ask(waiting, handler);
  }

  end(): void {
    for (const id of [...this.#waiting.keys()]) this.#close(id);
  }

  async #ask(waiting: Waiting, handler: ApprovalHandler): Promise<void> {
    const { sessionId, runtime, send, onError } = this.#deps;
    const asked = new AbortController();
    waiting.asked = asked;
    try {
      const decision = await handler({ ...waiting.request, signal: asked.signal });
      if (!decision || asked.signal.aborted) return;
      const id = createCommandId(runtime.now());
      const { tool_use_id } = waiting.request;
      send({ type: 'user.tool_confirmation', id, session_id: sessionId, tool_use_id, ...decision }, 'client', {
        accepted: () => {},
        rejected: (error) => {
          if (!IS_OVER.includes(error.code)) onError(error);
        },
      });
    } catch (error) {
      onError(error);
    }
  }

  #close(id: string): void {
    const waiting = this.#waiting.get(id);
    this.#waiting.delete(id);
    waiting?.asked?.abort();
  }
}
