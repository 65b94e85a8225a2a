/** How nodes of one server talk. Left out where there is one node. Everything that is sent is JSON. */

/** The message may not have reached the node: the store between them is away. */
export class InboxUnavailable extends Error {
  override readonly name = 'InboxUnavailable';
}

export interface Inbox {
  /** This node's; another one at each start. */
  readonly nodeId: string;
  /** How often a node says that it is there, in milliseconds. */
  readonly renewMs: number;
  /**
   * Asks another node; what is asked of one node is served once, and in the order of the calls, also where messages get
   * lost on the way. Rejects with `InboxUnavailable` where it is not known whether it was served, or with the signal's
   * reason when that is aborted first: a node that is gone never answers.
   */
  ask(nodeId: string, request: unknown, signal: AbortSignal): Promise<unknown>;
  /** Answers what other nodes ask, from now on. The handler must not reject; requests don't wait for each other. */
  serve(handler: (request: unknown, from: string) => Promise<unknown>): void;
  /** Tells all other nodes; some may not hear it. */
  shout(message: unknown): void;
  hear(listener: (message: unknown, from: string) => void): void;
  /** Whether a node renewed its announcement in time. Rejects where the store can't tell. */
  isAlive(nodeId: string): Promise<boolean>;
}
