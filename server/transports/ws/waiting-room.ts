/** Bounds what may wait for its authentication: sockets of one client, and sockets in all (AUTH-1). */
import { BOUNDS, MidstreamError } from '../../../protocol/index.js';
import { toClientKey } from '../client-address.js';

/** Gives the place back; calling it again does nothing. */
export type Leave = () => void;

export class WaitingRoom {
  #count = 0;
  readonly #byClient = new Map<string, number>();

  get count(): number {
    return this.#count;
  }

  /** Throws where there is no place. */
  enter(address: string): Leave {
    if (this.#count >= BOUNDS.unauthenticatedSockets)
      throw new MidstreamError('overloaded', 'Too many connections wait for their authentication; try again', RETRY);
    const client = toClientKey(address);
    const own = this.#byClient.get(client) ?? 0;
    if (own >= BOUNDS.unauthenticatedPerClient)
      throw new MidstreamError(
        'rate_limited',
        'Too many connections from your address wait for their authentication; authenticate them, or try again',
        RETRY,
      );
    this.#count += 1;
    this.#byClient.set(client, own + 1);
    let isGone = false;
    return () => {
      if (isGone) return;
      isGone = true;
      this.#count -= 1;
      const left = (this.#byClient.get(client) ?? 1) - 1;
      if (left === 0) this.#byClient.delete(client);
      else this.#byClient.set(client, left);
    };
  }
}

const RETRY = { retryAfterMs: BOUNDS.authenticateMs };
