/** Bounds the bytes of bodies that one user may have on their way at once, so that nobody fills the memory of a node. */
import type { Request, RequestHandler } from 'express';
import { type Limits, MidstreamError, type Principal } from '../../../protocol/index.js';

const RETRY_MS = 1_000;

export class BodyMeter {
  readonly #reading = new Map<string, number>();
  readonly #maxBytes: number;

  /** As much as the sockets of one user may send at once. */
  constructor({ frame_bytes_with_images, sockets_per_user }: Limits) {
    this.#maxBytes = frame_bytes_with_images * sockets_per_user;
  }

  /** Throws where it would be too much. Call what it returns when the body is read, or never will be. */
  enter({ org_id, user_id }: Principal, bytes: number): () => void {
    const user = JSON.stringify([org_id, user_id]);
    const before = this.#reading.get(user) ?? 0;
    if (before > 0 && before + bytes > this.#maxBytes) {
      const message = `More than ${this.#maxBytes} bytes of your requests are on their way at once; send them one after the other`;
      throw new MidstreamError('rate_limited', message, { retryAfterMs: RETRY_MS });
    }
    this.#reading.set(user, before + bytes);
    let isLeft = false;
    return () => {
      if (isLeft) return;
      isLeft = true;
      const left = (this.#reading.get(user) ?? bytes) - bytes;
      if (left <= 0) this.#reading.delete(user);
      else this.#reading.set(user, left);
    };
  }
}

/** What a body may come to: as it says, or else as much as is taken. One that says more is refused before it is read. */
export function announcedBytes(req: Request, maxBytes: number): number {
  const length = req.get('Content-Length');
  if (length !== undefined) return Math.min(Number(length) || 0, maxBytes);
  return req.get('Transfer-Encoding') === undefined ? 0 : maxBytes;
}

/** Before a body is read; `principalOf` says whose it is. */
export function meterBody(
  meter: BodyMeter,
  { frame_bytes_with_images }: Limits,
  principalOf: (res: Parameters<RequestHandler>[1]) => Principal,
): RequestHandler {
  return (req, res, next) => {
    const bytes = announcedBytes(req, frame_bytes_with_images);
    if (bytes > 0) {
      const leave = meter.enter(principalOf(res), bytes);
      req.once('end', leave);
      res.once('close', leave);
    }
    next();
  };
}
