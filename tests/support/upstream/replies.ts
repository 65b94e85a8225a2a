/** What a test can make the fake upstream answer. Plain data, except `hold` and manual replies. */
import type { ManualReply } from './manual-reply.js';

export interface TextBlock {
  readonly type: 'text';
  readonly text: string;
  /** The deltas of `text`: so many, or these; default one per word. */
  readonly chunks?: number | readonly string[];
  /** Sends `text` so many times, one delta each, in place of `chunks`. For load. */
  readonly repeat?: number;
}

export interface ThinkingBlock {
  readonly type: 'thinking';
  readonly thinking: string;
  readonly signature: string;
}

export interface ToolUseBlock {
  readonly type: 'tool_use';
  readonly id: string;
  readonly name: string;
  readonly input: Readonly<Record<string, unknown>>;
  /** How many deltas the input comes in; default 3. */
  readonly chunks?: number;
}

/** Any other block: sent whole in its `content_block_start`. `deltas` follow as they are. */
export interface RawBlock {
  readonly raw: Readonly<Record<string, unknown>>;
  readonly deltas?: readonly Readonly<Record<string, unknown>>[];
}

export type ReplyBlock = TextBlock | ThinkingBlock | ToolUseBlock | RawBlock;

export interface WireUsage {
  readonly input_tokens: number;
  readonly output_tokens: number;
  readonly cache_creation_input_tokens: number;
  readonly cache_read_input_tokens: number;
}

export interface WireError {
  readonly type: string;
  readonly message: string;
  readonly details?: Readonly<Record<string, unknown>>;
}

/** What goes wrong once `afterEvents` events (pings count) were sent. */
export type StreamFault = { readonly afterEvents: number } & (
  | { readonly type: 'hang'; readonly pingEveryMs?: number }
  /** The body ends as if it were whole. */
  | { readonly type: 'cut' }
  /** The socket closes in the middle of the body. */
  | { readonly type: 'drop' }
  /** The socket is reset. */
  | { readonly type: 'reset' }
  | { readonly type: 'error'; readonly error: WireError }
  /** Sends this as an event's data, then goes on. */
  | { readonly type: 'malformed'; readonly data?: string }
);

/** How events become writes to the socket: default each event by itself. */
export type Packing = { readonly eventsPerWrite: number } | { readonly splitSeed: number } | 'one_write';

export interface MessageReply {
  readonly blocks: readonly ReplyBlock[];
  /** Default `tool_use` where there is such a block, else `end_turn`. */
  readonly stop_reason?: string;
  readonly usage?: Partial<WireUsage>;
  readonly pace?: { readonly everyMs: number };
  readonly packing?: Packing;
  readonly fault?: StreamFault;
  /** Waits after so many events until the promise resolves. */
  readonly hold?: { readonly afterEvents: number; readonly until: Promise<unknown> };
  readonly headers?: Readonly<Record<string, string>>;
}

export interface StatusReply {
  readonly status: number;
  readonly headers?: Readonly<Record<string, string>>;
  /** A string goes out as it is; an error in Anthropic's envelope. */
  readonly body?: string | WireError;
}

export interface SilentReply {
  readonly hang: 'before_headers';
}

export type Reply = MessageReply | StatusReply | SilentReply | ManualReply;

export const textReply = (text: string): MessageReply => ({ blocks: [{ type: 'text', text }] });
