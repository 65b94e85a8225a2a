/** A request that came, and how its connection ended. */
import type { IncomingHttpHeaders, ServerResponse } from 'node:http';

export interface Closing {
  /** `finished`: the whole response went out. */
  readonly by: 'client' | 'server' | 'finished';
  /** `performance.now()` of this process. */
  readonly at: number;
}

export class RecordedRequest {
  readonly at = performance.now();
  readonly closed: Promise<Closing>;
  closing: Closing | undefined;
  /** Set before a fault closes the connection. */
  closedByServer = false;

  constructor(
    readonly number: number,
    readonly path: string,
    readonly headers: IncomingHttpHeaders,
    readonly body: Readonly<Record<string, unknown>>,
    readonly problems: readonly string[],
    response: ServerResponse,
  ) {
    const { socket } = response;
    this.closed = new Promise((resolve) => {
      const close = (): void => {
        if (this.closing !== undefined) return;
        const by = response.writableFinished ? 'finished' : this.closedByServer ? 'server' : 'client';
        this.closing = { by, at: performance.now() };
        // The socket may carry many more requests.
        socket?.off('end', close);
        resolve(this.closing);
      };
      response.once('finish', close);
      response.once('close', close);
      socket?.once('end', close);
    });
  }
}
