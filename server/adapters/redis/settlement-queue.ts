/** What could not be settled because Redis was away: kept in memory, and written when it is back. */
import type { Hold, Settlement } from '../../ports/ledger.js';
import type { Logger } from '../../ports/logger.js';
import { RedisUnavailable } from './redis-connection.js';

export interface Settled {
  readonly hold: Hold;
  readonly settlement: Settlement;
}

export interface SettlementQueueDeps {
  /** Settles once, however often it is asked. */
  readonly write: (settled: Settled) => Promise<unknown>;
  readonly logger: Logger | undefined;
}

const RETRY_MS = 500;
const WRITTEN_AT_ONCE = 64;
/** Beyond this many the operational log has them; about 100 MB. */
const MAX_WAITING = 100_000;

export class SettlementQueue {
  readonly #deps: SettlementQueueDeps;
  readonly #waiting = new Map<string, Settled>();
  #timer: NodeJS.Timeout | undefined;
  #flushing: Promise<void> | undefined;
  #isClosed = false;

  constructor(deps: SettlementQueueDeps) {
    this.#deps = deps;
  }

  get size(): number {
    return this.#waiting.size;
  }

  add(settled: Settled): void {
    const { id } = settled.hold;
    if (this.#waiting.has(id)) return;
    if (this.#isClosed) this.#drop('a settlement was not written', settled);
    else if (this.#waiting.size >= MAX_WAITING)
      this.#drop('too many settlements wait; one is only in this line', settled);
    else this.#waiting.set(id, settled);
    this.#schedule();
  }

  /** Writes what waits, as far as Redis takes it. Never rejects. */
  flush(): Promise<void> {
    this.#flushing ??= this.#writeAll().finally(() => {
      this.#flushing = undefined;
      this.#schedule();
    });
    return this.#flushing;
  }

  /** Tries once more; what is left then is in the operational log. */
  async close(): Promise<void> {
    await this.flush();
    this.#isClosed = true;
    clearTimeout(this.#timer);
    for (const settled of this.#waiting.values()) this.#drop('a settlement was not written', settled);
    this.#waiting.clear();
  }

  #schedule(): void {
    if (this.#waiting.size === 0 || this.#isClosed) return;
    this.#timer ??= setTimeout(() => {
      this.#timer = undefined;
      void this.flush();
    }, RETRY_MS).unref();
  }

  async #writeAll(): Promise<void> {
    while (this.#waiting.size > 0) {
      const some = [...this.#waiting.values()].slice(0, WRITTEN_AT_ONCE);
      const written = await Promise.all(some.map((settled) => this.#write(settled)));
      if (written.includes(false)) return;
    }
  }

  /** False where Redis is away. */
  async #write(settled: Settled): Promise<boolean> {
    try {
      await this.#deps.write(settled);
    } catch (error) {
      if (error instanceof RedisUnavailable) return false;
      this.#drop('a settlement was refused', settled, error);
    }
    this.#waiting.delete(settled.hold.id);
    return true;
  }

  #drop(message: string, { hold, settlement }: Settled, error?: unknown): void {
    const { id, orgId, userId, sessionId, model } = hold;
    this.#deps.logger?.error(message, { hold: id, orgId, userId, sessionId, model, ...settlement, error });
  }
}
