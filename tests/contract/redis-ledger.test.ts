/** The ledger's contract on one Redis and on a Cluster, and what it promises where Redis goes away. */
import { RedisConnection, RedisLedger } from '../../server/adapters/redis/index.js';
import { describeOnRedis } from '../support/on-redis.js';
import { flushRedis } from '../support/redis-server.js';
import { describeLedger, type LedgerHarness } from './ledger.contract.js';

describeOnRedis((name, redis) => {
  /** A node that dies leaves its holds; the next has a name of its own. */
  function createHarness(): LedgerHarness {
    const opened: { connection: RedisConnection; ledger: RedisLedger }[] = [];
    const open = async (now: () => number, waitMs: number): Promise<RedisLedger> => {
      const connection = await RedisConnection.open({ url: redis().url, now });
      const ledger = new RedisLedger({ redis: connection, logger: undefined, waitMs });
      if (opened.length === 0) await flushRedis(connection);
      opened.push({ connection, ledger });
      return ledger;
    };
    return {
      openFresh: open,
      reopen: open,
      async dispose() {
        for (const { connection, ledger } of opened) {
          await ledger.close();
          await connection.close();
        }
      },
    };
  }

  describeLedger(name, createHarness);
});
