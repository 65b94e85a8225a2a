/** A model: takes a Messages-API request, streams what it makes. */
import type { Message, ToolChoice } from '../../protocol/index.js';
import type { ModelEnd, ModelEvent } from '../core/model-stream.js';

export type { ModelEnd, ModelEvent, ModelFailure } from '../core/model-stream.js';

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
  /**
   * About how many tokens `request` would send; nothing is spent. Rejects where the provider does not tell, also when
   * `signal` aborts. Left out where the provider can't be asked.
   */
  countTokens?(request: ModelRequest, signal: AbortSignal): Promise<number>;
  /** Whether the model can be reached, as far as is known without spending; for `/ready`. */
  status(): { readonly ok: boolean; readonly detail: string };
}
