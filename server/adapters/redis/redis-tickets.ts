/** One-time tickets on Redis: whichever node takes one first has it. */
import type { TicketStore } from '../../ports/ticket-store.js';
import type { Identity } from '../../ports/token-verifier.js';
import { keys } from './keys.js';
import type { RedisConnection } from './redis-connection.js';

export class RedisTickets implements TicketStore {
  constructor(private readonly redis: RedisConnection) {}

  async put(digest: string, identity: Identity, lifeMs: number): Promise<void> {
    await this.redis.do((client) => client.set(keys.ticket(digest), JSON.stringify(identity), 'PX', lifeMs));
  }

  async take(digest: string): Promise<Identity | undefined> {
    const json = await this.redis.do((client) => client.getdel(keys.ticket(digest)));
    return json === null ? undefined : toIdentity(JSON.parse(json) as Partial<Identity>);
  }
}

/** JSON has no undefined. */
const toIdentity = (kept: Partial<Identity>): Identity => ({ expiresAt: undefined, ...kept }) as Identity;
