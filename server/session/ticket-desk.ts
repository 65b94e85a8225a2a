/** Makes one-time tickets and takes them back: each opens one socket or one event stream, as who asked for it. */
import { createHash } from 'node:crypto';
import { BOUNDS, MidstreamError } from '../../protocol/index.js';
import type { Clock } from '../ports/clock.js';
import type { Logger } from '../ports/logger.js';
import type { TicketStore } from '../ports/ticket-store.js';
import type { Identity } from '../ports/token-verifier.js';
import type { Directory } from './directory.js';
import type { TicketApi } from './session-api.js';

export interface TicketDeskDeps {
  readonly store: TicketStore;
  readonly directory: Directory;
  /** 32 random bytes, base64url. */
  readonly newTicket: () => string;
  readonly clock: Clock;
  readonly logger: Logger;
}

const TICKET = /^[A-Za-z0-9_-]{43}$/;

/** Of one user, in the time that a ticket lives. */
interface Window {
  readonly endsAt: number;
  issued: number;
}

export class TicketDesk implements TicketApi {
  readonly #deps: TicketDeskDeps;
  /** By user; the first to end first. */
  readonly #windows = new Map<string, Window>();

  constructor(deps: TicketDeskDeps) {
    this.#deps = deps;
  }

  async issue(identity: Identity): Promise<{ ticket: string; expiresAt: number }> {
    const { store, clock, newTicket } = this.#deps;
    const now = clock.now();
    this.#count(identity, now);
    const expiresAt = Math.min(now + BOUNDS.ticketLifeMs, identity.expiresAt ?? Number.POSITIVE_INFINITY);
    if (expiresAt <= now) throw new MidstreamError('token_expired');
    const ticket = newTicket();
    await this.#ask(() => store.put(toDigest(ticket), identity, expiresAt - now));
    return { ticket, expiresAt };
  }

  async redeem(ticket: string): Promise<Identity> {
    const { store, directory, clock } = this.#deps;
    const identity = TICKET.test(ticket) ? await this.#ask(() => store.take(toDigest(ticket))) : undefined;
    if (identity === undefined)
      throw new MidstreamError('unauthenticated', 'The ticket is not valid: it was used already, or its time is over');
    if (identity.expiresAt !== undefined && identity.expiresAt <= clock.now())
      throw new MidstreamError('token_expired');
    if (!directory.isCurrent) throw new MidstreamError('store_unavailable');
    if (directory.isRevoked(identity)) throw new MidstreamError('unauthenticated', 'The credential was revoked');
    // Its roles are as old as itself: what was seen since, here or elsewhere, stands (TOOL-1).
    await directory.load(identity.principal);
    directory.knows(identity.principal);
    return identity;
  }

  async #ask<T>(ask: () => Promise<T>): Promise<T> {
    try {
      return await ask();
    } catch (cause) {
      if (cause instanceof MidstreamError) throw cause;
      this.#deps.logger.error('the store of tickets did not answer', { error: cause });
      throw Object.assign(new MidstreamError('store_unavailable'), { cause });
    }
  }

  #count({ principal: { user_id, org_id } }: Identity, now: number): void {
    for (const [key, { endsAt }] of this.#windows) {
      if (endsAt > now) break;
      this.#windows.delete(key);
    }
    const key = `${org_id}\n${user_id}`;
    let window = this.#windows.get(key);
    if (window === undefined) {
      window = { endsAt: now + BOUNDS.ticketLifeMs, issued: 0 };
      this.#windows.set(key, window);
    }
    if (window.issued >= BOUNDS.ticketsPerUser) {
      const message = `You asked for ${BOUNDS.ticketsPerUser} tickets within ${BOUNDS.ticketLifeMs / 1_000} s, the most one user may have`;
      throw new MidstreamError('rate_limited', message, { retryAfterMs: window.endsAt - now });
    }
    window.issued += 1;
  }
}

/** Who reads the store can't use a ticket. */
const toDigest = (ticket: string): string => createHash('sha256').update(ticket).digest('hex');
