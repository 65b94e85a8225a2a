/** What a model's stream is made of, and how it may end; provider-neutral. */
import type { Block, ErrorCode, Usage } from '../../protocol/index.js';

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
