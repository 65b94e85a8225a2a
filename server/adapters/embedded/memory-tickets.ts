/** Tickets of one node, in its memory: of an older process nobody may use one. */
import { MidstreamError } from '../../../protocol/index.js';
import type { TicketStore } from '../../ports/ticket-store.js';
import type { Identity } from '../../ports/token-verifier.js';

const DEFAULT_MAX_TICKETS = 100_000;
const RETRY_MS = 1_000;

interface KeptTicket {
  readonly identity: Identity;
  readonly expiresAt: number;
}

export class MemoryTickets implements TicketStore {
  readonly #kept = new Map<string, KeptTicket>();

  constructor(
    private readonly now: () => number,
    private readonly maxTickets = DEFAULT_MAX_TICKETS,
  ) {}

  async put(digest: string, identity: Identity, lifeMs: number): Promise<void> {
    const now = this.now();
    this.#dropOldest(now);
    if (this.#kept.size >= this.maxTickets) this.#dropExpired(now);
    if (this.#kept.size >= this.maxTickets)
      throw new MidstreamError('overloaded', 'Too many tickets wait to be used; try again', { retryAfterMs: RETRY_MS });
    this.#kept.set(digest, { identity, expiresAt: now + lifeMs });
  }

  async take(digest: string): Promise<Identity | undefined> {
    const kept = this.#kept.get(digest);
    this.#kept.delete(digest);
    return kept !== undefined && this.now() < kept.expiresAt ? kept.identity : undefined;
  }

  /** Most live equally long, so that the oldest end first. */
  #dropOldest(now: number): void {
    for (const [digest, { expiresAt }] of this.#kept) {
      if (expiresAt > now) return;
      this.#kept.delete(digest);
    }
  }

  #dropExpired(now: number): void {
    for (const [digest, { expiresAt }] of this.#kept) if (expiresAt <= now) this.#kept.delete(digest);
  }
}
