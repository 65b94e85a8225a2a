/** Turns at a time on Redis: leases in one sorted set a user, which ends with the last of them. */
import type { Logger } from '../../ports/logger.js';
import { SEAT_TIMES, type TurnSeat, type TurnSeats } from '../../ports/turn-seats.js';
import { keys } from './keys.js';
import type { RedisConnection } from './redis-connection.js';

export class RedisSeats implements TurnSeats {
  constructor(
    private readonly redis: RedisConnection,
    private readonly logger: Logger | undefined,
  ) {}

  async take(seat: TurnSeat, limit: number): Promise<boolean> {
    return (await this.redis.run('seat-take', [keys.seats(seat)], [seat.seatId, limit, SEAT_TIMES.leaseMs])) === 1;
  }

  async renew(seats: readonly TurnSeat[]): Promise<void> {
    const byKey = new Map<string, string[]>();
    for (const seat of seats) {
      const key = keys.seats(seat);
      const ids = byKey.get(key);
      if (ids) ids.push(seat.seatId);
      else byKey.set(key, [seat.seatId]);
    }
    const renewals = [...byKey].map(([key, ids]) => this.redis.run('seat-renew', [key], [SEAT_TIMES.leaseMs, ...ids]));
    await Promise.all(renewals).catch((error: unknown) => this.#warn('seats could not be renewed', error));
  }

  async release(seat: TurnSeat): Promise<void> {
    await this.redis
      .do((client) => client.zrem(keys.seats(seat), seat.seatId))
      .catch((error: unknown) => this.#warn('a seat could not be freed', error));
  }

  #warn(sentence: string, error: unknown): void {
    this.logger?.warn(sentence, { error });
  }
}
