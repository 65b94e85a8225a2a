/** The contracts of limits, tickets and the directory on Redis: one server, and a Cluster of three. */
import {
  RedisConnection,
  RedisDirectory,
  RedisRates,
  RedisSeats,
  RedisTickets,
} from '../../server/adapters/redis/index.js';
import { describeOnRedis } from '../support/on-redis.js';
import { flushRedis } from '../support/redis-server.js';
import { describeDirectoryStore } from './directory-store.contract.js';
import { describeRateLimiter } from './rate-limiter.contract.js';
import { describeTicketStore } from './ticket-store.contract.js';
import { describeTurnSeats } from './turn-seats.contract.js';

describeOnRedis((name, redis) => {
  /** By the clock of Redis where nothing moves it. */
  function createHarness<T>(create: (connection: RedisConnection) => T) {
    const opened: RedisConnection[] = [];
    let now: number | undefined;
    const connect = async (): Promise<T> => {
      const connection = await RedisConnection.open({
        url: redis().url,
        ...(now !== undefined && { now: () => now as number }),
      });
      opened.push(connection);
      return create(connection);
    };
    return {
      connect,
      async openFresh(): Promise<T> {
        now = Date.UTC(2026, 0, 1);
        const first = await connect();
        await flushRedis(opened[0] as RedisConnection);
        return first;
      },
      async open(): Promise<T> {
        const first = await connect();
        await flushRedis(opened[0] as RedisConnection);
        return first;
      },
      openSecondNode: connect,
      reopen: connect,
      async advance(ms: number): Promise<void> {
        now = (now ?? 0) + ms;
      },
      pass: (ms: number): Promise<void> => new Promise((resolve) => void setTimeout(resolve, ms + 2)),
      async dispose(): Promise<void> {
        await Promise.all(opened.splice(0).map((connection) => connection.close()));
      },
    };
  }

  describeRateLimiter(name, () => createHarness((connection) => new RedisRates(connection, undefined)));
  describeTurnSeats(name, () => createHarness((connection) => new RedisSeats(connection, undefined)));
  describeTicketStore(name, () => createHarness((connection) => new RedisTickets(connection)));
  describeDirectoryStore(name, () => createHarness((connection) => new RedisDirectory(connection, undefined)));
});
