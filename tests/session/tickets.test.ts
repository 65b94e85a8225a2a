/** One-time tickets, from the desk that makes and takes them: on a real store, with a clock that the test moves. */
import { MemoryTickets } from '../../server/adapters/embedded/memory-tickets.js';
import { newTicket } from '../../server/adapters/system/index.js';
import { silentLogger } from '../../server/adapters/winston/index.js';
import { BOUNDS } from '../../protocol/index.js';
import type { TicketStore } from '../../server/ports/ticket-store.js';
import type { Identity } from '../../server/ports/token-verifier.js';
import { createDirectory, type Directory } from '../../server/session/directory.js';
import { TicketDesk } from '../../server/session/ticket-desk.js';
import { FakeClock } from '../support/fake-clock.js';

const identity = (user_id = 'ada', over: Partial<Identity> = {}): Identity => ({
  principal: { user_id, org_id: 'acme', roles: ['admin'] },
  expiresAt: undefined,
  issuedAt: 1,
  credentialId: 'jti-1',
  ...over,
});

describe('a ticket', () => {
  let clock: FakeClock;
  let directory: Directory;
  let digests: string[];
  let desk: TicketDesk;

  const open = (store: TicketStore): TicketDesk =>
    new TicketDesk({ store, directory, newTicket, clock, logger: silentLogger });
  beforeEach(() => {
    clock = new FakeClock();
    directory = createDirectory();
    digests = [];
    const memory = new MemoryTickets(() => clock.now());
    desk = open({
      put: (digest, ...rest) => {
        digests.push(digest);
        return memory.put(digest, ...rest);
      },
      take: (digest) => memory.take(digest),
    });
  });

  it('[AUTH-1] is 32 random bytes, kept as their digest, and opens as who asked, once', async () => {
    const { ticket, expiresAt } = await desk.issue(identity());
    expect(ticket).toMatch(/^[A-Za-z0-9_-]{43}$/);
    expect(digests).toEqual([expect.stringMatching(/^[0-9a-f]{64}$/)]);
    expect(expiresAt).toBe(clock.now() + 30_000);
    expect(await desk.redeem(ticket)).toEqual(identity());
    await expect(desk.redeem(ticket)).rejects.toMatchObject({ code: 'unauthenticated' });
    expect((await desk.issue(identity())).ticket).not.toBe(ticket);
  });

  it('[AUTH-1] opens for one of many at once', async () => {
    const { ticket } = await desk.issue(identity());
    const tries = await Promise.allSettled(Array.from({ length: 20 }, () => desk.redeem(ticket)));
    expect(tries.filter(({ status }) => status === 'fulfilled')).toHaveLength(1);
  });

  it('[AUTH-1] ends after 30 s, or with the token that it came of', async () => {
    const [late, own] = [await desk.issue(identity()), await desk.issue(identity())];
    clock.advance(29_999);
    await desk.redeem(own.ticket);
    clock.advance(1);
    await expect(desk.redeem(late.ticket)).rejects.toMatchObject({ code: 'unauthenticated' });
    const token = identity('ada', { expiresAt: clock.now() + 10_000 });
    const short = await desk.issue(token);
    expect(short.expiresAt).toBe(token.expiresAt);
    clock.advance(10_000);
    await expect(desk.redeem(short.ticket)).rejects.toMatchObject({ code: 'unauthenticated' });
    await expect(desk.issue(token)).rejects.toMatchObject({ code: 'token_expired' });
  });

  it('[AUTH-2] never outlives the token, also where the store’s clock is behind', async () => {
    const ending = identity('ada', { expiresAt: clock.now() });
    const behind = open({ put: async () => {}, take: async () => ending });
    await expect(behind.redeem('A'.repeat(43))).rejects.toMatchObject({ code: 'token_expired' });
  });

  it.each(['', 'A'.repeat(42), 'A'.repeat(44), `${'A'.repeat(42)}=`, `${'A'.repeat(42)}\n`])(
    'asks the store nothing about what is none: %j',
    async (text) => {
      const asked: string[] = [];
      const watched = open({
        put: async () => {},
        take: async (digest) => {
          asked.push(digest);
          return identity();
        },
      });
      await expect(watched.redeem(text)).rejects.toMatchObject({ code: 'unauthenticated' });
      expect(asked).toEqual([]);
    },
  );

  it('is dead when its principal was revoked meanwhile', async () => {
    const { ticket } = await desk.issue(identity());
    directory.isRevoked = () => true;
    await expect(desk.redeem(ticket)).rejects.toMatchObject({ message: 'The credential was revoked' });
  });

  it('[TOOL-1] does not bring back roles that were taken since it was made', async () => {
    directory.saw(identity());
    const { ticket } = await desk.issue(identity());
    directory.saw({ ...identity(), principal: { ...identity().principal, roles: ['reader'] } });
    await desk.redeem(ticket);
    expect(directory.rolesOf({ user_id: 'ada', org_id: 'acme' })).toEqual(['reader']);
  });

  it('is given to one user so many times, and no more until some have ended', async () => {
    for (let n = 0; n < BOUNDS.ticketsPerUser; n++) await desk.issue(identity());
    await expect(desk.issue(identity())).rejects.toMatchObject({ code: 'rate_limited', retryAfterMs: 30_000 });
    await desk.issue(identity('bob'));
    clock.advance(30_000);
    await desk.issue(identity());
  });

  it('is refused with the store’s absence, not the client’s fault', async () => {
    const away = async (): Promise<never> => {
      throw new Error('away');
    };
    const lost = open({ put: away, take: away });
    await expect(lost.issue(identity())).rejects.toMatchObject({ code: 'store_unavailable' });
    await expect(lost.redeem('A'.repeat(43))).rejects.toMatchObject({ code: 'store_unavailable' });
  });
});
