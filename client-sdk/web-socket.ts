/** Where the socket comes from: the caller's class, the platform's, or the package `ws` in a Node that has none. */
import { PATHS } from '../protocol/paths.js';

/** The part of a WebSocket that the client uses; browsers, Node ≥ 22 and `ws` all have it. */
export interface WebSocketLike {
  send(data: string): void;
  close(code?: number, reason?: string): void;
  /** `ws` only: ends the connection without a handshake. */
  terminate?(): void;
  onopen: ((event: never) => void) | null;
  onmessage: ((event: never) => void) | null;
  onerror: ((event: never) => void) | null;
  onclose: ((event: never) => void) | null;
}

export type WebSocketConstructor = new (url: string, protocols: string[]) => WebSocketLike;

/** By a name that no bundler follows: in a browser the package is neither there nor needed. */
const OPTIONAL_PACKAGE = { name: 'ws' };

export async function findWebSocket(given: WebSocketConstructor | undefined): Promise<WebSocketConstructor> {
  if (given) return given;
  if (typeof globalThis.WebSocket === 'function') return globalThis.WebSocket;
  try {
    const loaded = (await import(OPTIONAL_PACKAGE.name)) as { WebSocket: WebSocketConstructor };
    return loaded.WebSocket;
  } catch {
    throw new Error('This Node has no WebSocket. Install `ws`, or pass the option `webSocket`.');
  }
}

/** `http(s)://host[/prefix]` or `ws(s)://…` → the address of the socket; without `url`, the page's own origin. */
export function toSocketUrl(url: string | undefined): string {
  const base = url ?? globalThis.location?.origin;
  if (!base) throw new TypeError('createClient needs a `url`, for example http://127.0.0.1:8080');
  const target = new URL(base);
  target.protocol = target.protocol.replace(/^http/, 'ws');
  const path = target.pathname.replace(/\/+$/, '');
  target.pathname = path.endsWith(PATHS.ws) ? path : path + PATHS.ws;
  target.hash = '';
  return target.href;
}
