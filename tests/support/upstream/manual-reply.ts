/** A reply that a test sends step by step, so that it can act between two events. */
import type { ServerResponse } from 'node:http';
import type { Closing, RecordedRequest } from './recorded-request.js';
import { toBytes, toMessageStart, type WireEvent } from './wire-events.js';

export class ManualReply {
  #arrived: (request: RecordedRequest) => void = () => {};
  readonly #request = new Promise<RecordedRequest>((resolve) => {
    this.#arrived = resolve;
  });
  #response: ServerResponse | undefined;

  /** Resolves when the request has come. */
  waitForRequest(): Promise<RecordedRequest> {
    return this.#request;
  }

  /** Resolves when the connection of this reply is closed, by whomever. */
  get closed(): Promise<Closing> {
    return this.#request.then((request) => request.closed);
  }

  /** Called by the server. */
  take(request: RecordedRequest, response: ServerResponse): void {
    this.#response = response;
    this.#arrived(request);
  }

  /** Sends the headers and `message_start`. */
  async start(): Promise<void> {
    const { body } = await this.waitForRequest();
    const usage = { input_tokens: 10, output_tokens: 1, cache_creation_input_tokens: 0, cache_read_input_tokens: 0 };
    this.send(toMessageStart('msg_manual', String(body['model']), usage));
  }

  send(event: WireEvent): void {
    this.sendRaw(toBytes(event));
  }

  sendRaw(bytes: Buffer | string): void {
    this.#live().write(bytes);
  }

  /** A text block's beginning at `index`. */
  openText(index = 0): void {
    this.send({ type: 'content_block_start', index, content_block: { type: 'text', text: '' } });
  }

  text(text: string, index = 0): void {
    this.send({ type: 'content_block_delta', index, delta: { type: 'text_delta', text } });
  }

  closeBlock(index = 0): void {
    this.send({ type: 'content_block_stop', index });
  }

  /** A whole `tool_use` block. */
  toolUse(id: string, name: string, input: Readonly<Record<string, unknown>>, index = 0): void {
    this.send({ type: 'content_block_start', index, content_block: { type: 'tool_use', id, name, input: {} } });
    const delta = { type: 'input_json_delta', partial_json: JSON.stringify(input) };
    this.send({ type: 'content_block_delta', index, delta });
    this.closeBlock(index);
  }

  /** `message_delta`, `message_stop`, and the end of the body. */
  finish(stopReason = 'end_turn', outputTokens = 10): void {
    const delta = { stop_reason: stopReason, stop_sequence: null };
    this.send({ type: 'message_delta', delta, usage: { output_tokens: outputTokens } });
    this.send({ type: 'message_stop' });
    this.end();
  }

  /** Any other response: status, headers, and the beginning of a body. */
  respond(status: number, headers: Readonly<Record<string, string>>, body: string): void {
    this.#response?.writeHead(status, headers).write(body);
  }

  end(): void {
    this.#live().end();
  }

  reset(): void {
    this.#live().socket?.resetAndDestroy();
  }

  #live(): ServerResponse {
    const response = this.#response;
    if (response === undefined) throw new Error('the request has not come: await waitForRequest() first');
    if (!response.headersSent) {
      response.writeHead(200, { 'content-type': 'text/event-stream; charset=utf-8', 'cache-control': 'no-cache' });
    }
    return response;
  }
}

export const manualReply = (): ManualReply => new ManualReply();
