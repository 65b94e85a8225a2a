/** A model: takes a Messages-API request, streams what it makes. */
import type { Block, ErrorCode, Message, ToolChoice, Usage } from '../../protocol/index.js';

export interface ModelTool {
  readonly name: string;
  readonly description: string;
  readonly input_schema: Readonly<Record<string, unknown>>;
}

export interface ModelRequest {
  readonly model: string;
  readonly maxTokens: number;
  readonly system: string | undefined;
  /** Stable for a turn, in a stable order, so that the provider's prompt cache holds. */
  readonly tools: readonly ModelTool[];
  readonly toolChoice: ToolChoice | undefined;
  /** Valid for the Messages API (TURN-3). */
  readonly messages: readonly Message[];
  /** For logs and for a scripted model; not sent upstream. */
  readonly sessionId: string;
  readonly turnId: string;
  readonly step: number;
  readonly attempt: number;
}

/** The stream's events, flat. `index` is the block's index in the reply. Unknown events are left out. */
export type ModelEvent =
  | { readonly type: 'message_start'; readonly usage: Usage }
  | { readonly type: 'block_start'; readonly index: number; readonly block: Block }
  | { readonly type: 'text'; readonly index: number; readonly text: string }
  | { readonly type: 'thinking'; readonly index: number; readonly text: string }
  | { readonly type: 'signature'; readonly index: number; readonly signature: string }
  | { readonly type: 'input_json'; readonly index: number; readonly json: string }
  /** A citation for the text block at `index`. */
  | { readonly type: 'citation'; readonly index: number; readonly citation: Readonly<Record<string, unknown>> }
  | { readonly type: 'block_stop'; readonly index: number }
  /** Cumulative usage: a field that is absent keeps its earlier value. May come more than once. */
  | { readonly type: 'message_delta'; readonly stopReason: string | null; readonly usage: Partial<Usage> };

export interface ModelFailure {
  readonly code: ErrorCode;
  /** For the developer who reads it; the provider's own words where it said some. Never a key. */
  readonly message: string;
  /** Whether the same request may succeed if it is sent again, nothing having been delivered. */
  readonly retryable: boolean;
  /** The provider's `retry-after`. */
  readonly retryAfterMs?: number;
}

export type ModelEnd =
  /** `message_stop` came. Nothing less is success. */
  | { readonly type: 'complete' }
  | { readonly type: 'aborted' }
  | { readonly type: 'failed'; readonly failure: ModelFailure };

export interface Model {
  /**
   * Sends the request once: no retries. Hands over events in batches, as they come off the wire; never after the promise
   * resolved, nor after `signal` aborted. Resolves, never rejects, when the upstream connection is closed or its body
   * was read to the end; after an abort that is at once (CAN-2).
   */
  stream(
    request: ModelRequest,
    onEvents: (events: readonly ModelEvent[]) => void,
    signal: AbortSignal,
  ): Promise<ModelEnd>;
  /** Whether the model can be reached, as far as is known without spending; for `/ready`. */
  status(): { readonly ok: boolean; readonly detail: string };
}
