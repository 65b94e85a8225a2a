/** A WebSocket client that keeps every frame, checks each by its schema, and waits for what a test names. */
import type { IncomingMessage } from 'node:http';
import { WebSocket } from 'ws';
import { SUBPROTOCOL, serverFrameSchema } from '../../../protocol/index.js';

export type Frame = Record<string, unknown> & { readonly type: string };

export interface ConnectOptions {
  readonly headers?: Record<string, string>;
  readonly protocols?: string[];
}

export class FrameClient {
  readonly frames: Frame[] = [];
  readonly closed: Promise<{ code: number; reason: string }>;
  private readonly waiting = new Set<() => void>();

  private constructor(readonly socket: WebSocket) {
    socket.on('message', (data) => {
      const frame = JSON.parse(String(data)) as Frame;
      // Logged events of a fake room may be of any shape; what the transport itself says may not.
      if (!('seq' in frame)) serverFrameSchema.parse(frame);
      this.frames.push(frame);
      this.wake();
    });
    this.closed = new Promise((resolve) => {
      socket.on('close', (code, reason) => {
        resolve({ code, reason: String(reason) });
        this.wake();
      });
    });
  }

  /** Rejects with the HTTP answer where the upgrade is refused. */
  static connect(url: string, options: ConnectOptions = {}): Promise<FrameClient> {
    const socket = new WebSocket(url, options.protocols ?? [SUBPROTOCOL], { headers: options.headers ?? {} });
    const client = new FrameClient(socket);
    return new Promise((resolve, reject) => {
      socket.on('open', () => resolve(client));
      socket.on('unexpected-response', (_req, res) => {
        readRefusal(res).then(reject, reject);
      });
      socket.on('error', reject);
    });
  }

  send(frame: unknown): void {
    this.socket.send(typeof frame === 'string' ? frame : JSON.stringify(frame));
  }

  /** The first frame, from the beginning, that fits; waits for it. */
  async frame(fits: (frame: Frame) => boolean, what = 'a frame'): Promise<Frame> {
    for (let at = 0; ; ) {
      for (; at < this.frames.length; at += 1) {
        const frame = this.frames[at] as Frame;
        if (fits(frame)) return frame;
      }
      if (this.socket.readyState === WebSocket.CLOSED)
        throw new Error(`closed before ${what} came; got ${JSON.stringify(this.frames).slice(0, 1_000)}`);
      await new Promise<void>((resolve) => this.waiting.add(resolve));
    }
  }

  ofType(type: string): Promise<Frame> {
    return this.frame((f) => f.type === type, type);
  }

  reply(id: string): Promise<Frame> {
    return this.frame((f) => f.type.startsWith('command.') && f['id'] === id, `the reply to ${id}`);
  }

  close(): void {
    this.socket.close();
  }

  private wake(): void {
    for (const resolve of this.waiting) resolve();
    this.waiting.clear();
  }
}

export class Refusal extends Error {
  constructor(
    readonly status: number,
    readonly headers: IncomingMessage['headers'],
    readonly body: string,
  ) {
    super(`refused with ${status}: ${body}`);
  }
}

async function readRefusal(res: IncomingMessage): Promise<Refusal> {
  let body = '';
  for await (const chunk of res) body += String(chunk);
  return new Refusal(res.statusCode ?? 0, res.headers, body);
}

export const refusalOf = (connecting: Promise<unknown>): Promise<Refusal> =>
  connecting.then(
    () => {
      throw new Error('the upgrade was not refused');
    },
    (error: unknown) => {
      if (error instanceof Refusal) return error;
      throw error;
    },
  );
