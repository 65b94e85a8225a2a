/** The contracts of the audit log and the call memory on Redis, and what the audit does while Redis is away. */
import { mkdtempSync, rmSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { RedisAudit, RedisCalls, RedisConnection } from '../../server/adapters/redis/index.js';
import { openEmbeddedStore } from '../../server/adapters/embedded/index.js';
import type { AuditRecord } from '../../server/ports/audit-log.js';
import { describeOnRedis } from '../support/on-redis.js';
import { flushRedis, type RedisServer, startRedis } from '../support/redis-server.js';
import type { Store, StoreHarness } from '../support/store-harness.js';
import { describeAuditLog } from './audit-log.contract.js';
import { describeCallMemory } from './call-memory.contract.js';

describeOnRedis((name, redis) => {
  /** Sessions stay in an embedded store. */
  function createHarness(): StoreHarness {
    const dataDir = mkdtempSync(join(tmpdir(), 'midstream-redis-audit-'));
    let opened: Store | undefined;
    const open = async (now?: () => number): Promise<Store> => {
      const connection = await RedisConnection.open({ url: redis().url, ...(now && { now }) });
      if (!opened) await flushRedis(connection);
      const embedded = await openEmbeddedStore({ dataDir, fsync: 'off' });
      const audit = new RedisAudit(connection, undefined);
      let closing: Promise<void> | undefined;
      const close = async (): Promise<void> => {
        await audit.close();
        await connection.close();
        await embedded.close();
      };
      opened = {
        ...embedded,
        audit,
        calls: new RedisCalls(connection, 0),
        close: () => {
          closing ??= close();
          return closing;
        },
      };
      return opened;
    };
    return {
      openFresh: open,
      reopen: open,
      async dispose() {
        await opened?.close();
        rmSync(dataDir, { recursive: true, force: true });
      },
    };
  }

  describeAuditLog(name, createHarness);
  describeCallMemory(name, createHarness);
});

describe('the audit, while Redis is away', () => {
  let server: RedisServer;
  let connection: RedisConnection;
  beforeEach(async () => {
    server = await startRedis({ durable: true });
    connection = await RedisConnection.open({ url: server.url });
  });
  afterEach(async () => {
    await connection.close();
    await server.dispose();
  });

  const aRecord = (n: number, orgId?: string): AuditRecord => ({
    at: new Date(Date.UTC(2026, 0, 1, 0, n)).toISOString(),
    kind: 'denial',
    ...(orgId !== undefined && { org_id: orgId }),
    outcome: 'denied',
    rule: `${n}`,
  });
  const rules = async (audit: RedisAudit): Promise<(string | undefined)[]> =>
    (await audit.read({ limit: 100 })).records.map(({ rule }) => rule);

  it('keeps what it was given, in order, and writes it when Redis is back', async () => {
    const audit = new RedisAudit(connection, undefined);
    expect(await audit.record(aRecord(1, 'acme'))).toBe(true);
    await server.kill();
    const away = [aRecord(2, 'acme'), aRecord(3), aRecord(4, 'other'), aRecord(5, 'acme')];
    for (const record of away) expect(await audit.record(record)).toBe(false);
    const late = new Promise<boolean>((resolve) => {
      connection.client.once('ready', () => resolve(audit.record(aRecord(6, 'acme'))));
    });
    await server.start();
    await late;
    let found: (string | undefined)[] = [];
    for (const until = Date.now() + 10_000; found.length < 6 && Date.now() < until; ) found = await rules(audit);
    expect(found).toEqual(['6', '5', '4', '3', '2', '1']);
    await audit.close();
  });
});
