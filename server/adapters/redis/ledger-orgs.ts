/** Which organisations may have holds, so that any node can sweep those of a dead one. */
import { keys } from './keys.js';
import type { RedisConnection } from './redis-connection.js';

/** How often a node says again that it holds something for an organisation. */
const ANNOUNCE_MS = 3_600_000;
/** Longer than any hold lives without another one. */
const FORGOTTEN_MS = 86_400_000;

export class LedgerOrgs {
  readonly #redis: RedisConnection;
  /** When each was announced; of the clock that never goes back. */
  readonly #announced = new Map<string, number>();

  constructor(redis: RedisConnection) {
    this.#redis = redis;
  }

  /** Resolves when every node can know of the organisation. */
  async announce(orgId: string): Promise<void> {
    const at = this.#announced.get(orgId);
    if (at !== undefined && performance.now() - at < ANNOUNCE_MS) return;
    const startedAt = performance.now();
    await this.#redis.run('orgs-announce', [keys.ledgerOrgs], [orgId]);
    this.#announced.set(orgId, startedAt);
  }

  /** Redis may have lost them. */
  forget(): void {
    this.#announced.clear();
  }

  /** Drops those that nobody announced for long, after they were told here once more. */
  async all(): Promise<readonly string[]> {
    const reply = await this.#redis.run('orgs-read', [keys.ledgerOrgs], [FORGOTTEN_MS]);
    const [kept, dropped] = reply as [readonly string[], readonly string[]];
    for (const orgId of dropped) this.#announced.delete(orgId);
    return [...kept, ...dropped];
  }
}
