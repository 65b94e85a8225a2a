/**
 * A `fetch` for the SDK over `undici.request`: no web stream stands between the socket and the reader of a response.
 * Its response has what the SDK asks of one, and the node stream of its body.
 */
import type { Readable } from 'node:stream';
import { type Dispatcher, request } from 'undici';

/** Of an error's body; the rest is thrown away. */
const MAX_TEXT_BYTES = 256 * 1_024;

export class NodeResponse {
  constructor(
    readonly url: string,
    readonly status: number,
    readonly headers: Headers,
    readonly body: Readable,
  ) {}

  get ok(): boolean {
    return this.status >= 200 && this.status < 300;
  }

  /** The beginning of the body, decoded. The SDK reads the bodies of errors by it. */
  async text(): Promise<string> {
    const chunks: Buffer[] = [];
    let bytes = 0;
    for await (const chunk of this.body) {
      chunks.push(chunk as Buffer);
      bytes += (chunk as Buffer).length;
      if (bytes > MAX_TEXT_BYTES) break;
    }
    return Buffer.concat(chunks).subarray(0, MAX_TEXT_BYTES).toString('utf8');
  }

  async json(): Promise<unknown> {
    return JSON.parse(await this.text());
  }
}

export function createUndiciFetch(dispatcher: Dispatcher): typeof fetch {
  const undiciFetch = async (input: string | URL | Request, init: RequestInit = {}): Promise<NodeResponse> => {
    const url = String(input);
    const { statusCode, headers, body } = await request(url, {
      dispatcher,
      method: (init.method ?? 'GET') as Dispatcher.HttpMethod,
      headers: Object.fromEntries(new Headers(init.headers)),
      body: (init.body as string | null | undefined) ?? null,
      signal: init.signal ?? null,
    });
    // A body that fails with nobody reading must not end the process.
    body.on('error', () => {});
    return new NodeResponse(url, statusCode, toHeaders(headers), body);
  };
  // The SDK asks for no more of a response than NodeResponse has.
  return undiciFetch as unknown as typeof fetch;
}

function toHeaders(raw: Record<string, string | string[] | undefined>): Headers {
  const headers = new Headers();
  for (const [name, value] of Object.entries(raw)) {
    if (value !== undefined) headers.set(name, Array.isArray(value) ? value.join(', ') : value);
  }
  return headers;
}
