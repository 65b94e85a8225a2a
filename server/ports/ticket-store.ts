/** One-time tickets: what a browser opens a socket or an event stream with, where it can't send a header. */
import type { Identity } from './token-verifier.js';

export interface TicketStore {
  /**
   * Keeps what a ticket stands for, under a digest of it: whoever reads the store can't use one. On every node when it
   * resolves. Rejects where the store can't be reached, and with `overloaded` where it is full.
   */
  put(digest: string, identity: Identity, lifeMs: number): Promise<void>;
  /**
   * Takes a ticket: of any number of calls on any number of nodes exactly one gets it, and only within its life, by the
   * store's clock. Undefined where there is none. Rejects where the store can't be reached.
   */
  take(digest: string): Promise<Identity | undefined>;
}
