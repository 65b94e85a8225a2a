/** One request and its stream, from the first byte sent to the one end that it comes to. */
import type { Readable } from 'node:stream';
import type { ModelEnd, ModelEvent, ModelFailure } from '../../ports/model.js';
import {
  TRUNCATED,
  toBodyFailure,
  toEventFailure,
  toNotAStreamFailure,
  toRequestFailure,
  toTimeoutFailure,
} from './failures.js';
import { MalformedEvent, parseWireEvent, toModelEvent } from './model-events.js';
import { SseReader } from './sse-reader.js';
import type { NodeResponse } from './undici-fetch.js';
import { Watchdog, type WatchPhase } from './watchdog.js';

/** How long a body may stay open after `message_stop`: the reply is whole, the connection is worth saving. */
const BODY_END_MS = 1_000;

export interface StreamLimits {
  /** From sending to the response's headers, connecting included. */
  readonly headers_timeout_ms: number;
  /** From the headers to the first block. Pings are no content. */
  readonly first_content_timeout_ms: number;
  /** Between two events from then on. Pings are no events. */
  readonly silence_timeout_ms: number;
}

export interface ExchangeParts {
  /** Sends the request; rejects with the SDK's errors. */
  readonly send: (signal: AbortSignal) => Promise<NodeResponse>;
  readonly onEvents: (events: readonly ModelEvent[]) => void;
  /** Called once, when the socket is closed or the body was read. */
  readonly onEnd: (end: ModelEnd) => void;
  readonly limits: StreamLimits;
}

export class Exchange {
  readonly #parts: ExchangeParts;
  readonly #upstream = new AbortController();
  readonly #watchdog = new Watchdog((phase, limitMs) => this.#expired(phase, limitMs));
  readonly #reader = new SseReader((name, data) => this.#read(name, data));
  #body: Readable | undefined;
  #batch: ModelEvent[] = [];
  /** What the stream itself said about its end. */
  #verdict: ModelEnd | undefined;
  #hasContent = false;
  /** Whether a tool's input is open: the API may collect a long value before it sends it. */
  #collectsInput = false;
  /** Whether this chunk held anything but pings. */
  #heard = false;
  #bodyRead = false;
  #ended = false;

  constructor(parts: ExchangeParts) {
    this.#parts = parts;
  }

  start(): void {
    this.#watchdog.expect('headers', this.#parts.limits.headers_timeout_ms);
    this.#parts.send(this.#upstream.signal).then(
      (response) => this.#begin(response),
      (error: unknown) => this.#fail(toRequestFailure(error, Date.now())),
    );
  }

  /** Closes the upstream connection and ends, in this call. */
  abort(): void {
    this.#end({ type: 'aborted' });
  }

  #begin(response: NodeResponse): void {
    const { body, headers, status } = response;
    this.#body = body;
    if (this.#ended) {
      body.destroy();
      return;
    }
    const type = headers.get('content-type');
    if (type === null || !type.startsWith('text/event-stream') || headers.has('content-encoding')) {
      this.#fail(toNotAStreamFailure(status, headers.get('content-encoding') ?? type));
      return;
    }
    this.#watchdog.expect('first_content', this.#parts.limits.first_content_timeout_ms);
    body.on('data', (chunk: Buffer) => this.#take(chunk));
    body.on('end', () => {
      this.#bodyRead = true;
      this.#end(this.#verdict ?? { type: 'failed', failure: TRUNCATED });
    });
    body.on('error', (error) => this.#end(this.#verdict ?? { type: 'failed', failure: toBodyFailure(error) }));
  }

  /** One chunk of the network, one batch of events: what came before a fault is handed over before the fault ends it. */
  #take(chunk: Buffer): void {
    if (this.#ended || this.#verdict !== undefined) return;
    try {
      this.#reader.push(chunk);
    } catch (error) {
      this.#verdict = { type: 'failed', failure: toBodyFailure(error) };
    }
    if (this.#heard) this.#watch();
    if (this.#batch.length > 0) this.#handOver();
    const verdict = this.#verdict as ModelEnd | undefined;
    if (this.#ended || verdict === undefined) return;
    if (verdict.type === 'complete') this.#watchdog.expect('body_end', BODY_END_MS);
    else this.#end(verdict);
  }

  #read(name: string, data: string): void {
    if (this.#verdict !== undefined) return;
    if (name === 'error') {
      this.#verdict = { type: 'failed', failure: toEventFailure(parseErrorEvent(data)) };
      return;
    }
    const wire = parseWireEvent(data);
    if (wire['type'] === 'ping') return;
    this.#heard = true;
    if (wire['type'] === 'message_stop') {
      this.#verdict = { type: 'complete' };
      return;
    }
    if (wire['type'] === 'error') {
      this.#verdict = { type: 'failed', failure: toEventFailure(wire) };
      return;
    }
    const event = toModelEvent(wire);
    if (event === undefined) return;
    if (event.type !== 'message_start') this.#hasContent = true;
    if (event.type === 'block_start') this.#collectsInput = 'input' in event.block;
    else if (event.type === 'block_stop') this.#collectsInput = false;
    this.#batch.push(event);
  }

  #watch(): void {
    this.#heard = false;
    if (!this.#hasContent) return;
    const { first_content_timeout_ms: first, silence_timeout_ms: silence } = this.#parts.limits;
    this.#watchdog.expect('silence', this.#collectsInput ? Math.max(first, silence) : silence);
  }

  #handOver(): void {
    const batch = this.#batch;
    this.#batch = [];
    try {
      this.#parts.onEvents(batch);
    } catch (error) {
      const message = `the consumer of the stream threw: ${error instanceof Error ? error.message : String(error)}`;
      this.#fail({ code: 'internal', message, retryable: false });
    }
  }

  #expired(phase: WatchPhase, limitMs: number): void {
    this.#end(this.#verdict ?? { type: 'failed', failure: toTimeoutFailure(phase, limitMs) });
  }

  #fail(failure: ModelFailure): void {
    this.#end({ type: 'failed', failure });
  }

  #end(end: ModelEnd): void {
    if (this.#ended) return;
    this.#ended = true;
    this.#watchdog.stop();
    // Destroys the socket in this call (CAN-2). A body that was read to its end leaves its connection to the next request.
    if (!this.#bodyRead) {
      this.#upstream.abort();
      this.#body?.destroy();
    }
    this.#parts.onEnd(end);
  }
}

/** A gateway may put plain text into an error event. */
function parseErrorEvent(data: string): Readonly<Record<string, unknown>> {
  try {
    return parseWireEvent(data);
  } catch (error) {
    if (error instanceof MalformedEvent) return { error: { type: 'api_error', message: data } };
    throw error;
  }
}
