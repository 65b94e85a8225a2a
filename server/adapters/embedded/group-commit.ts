/** The one way to write: what is asked for in a moment is written in one transaction, synced once, and resolved once. */

import { LogUnavailable } from '../../ports/event-log.js';
import type { Logger } from '../../ports/logger.js';
import { type Database, isConstraint } from './database.js';
import type { DeltaTable } from './delta-table.js';
import type { WriteAheadLog } from './write-ahead-log.js';

/**
 * What a part of a group asks of it. `deltas` holds nothing but deltas: no SQL of its own, no sync. `relaxed` is
 * written but not synced. `durable` is synced before its group resolves, and doesn't wait for the interval.
 */
export type Weight = 'deltas' | 'relaxed' | 'durable';

export interface GroupPart {
  /** Writes, inside the group's transaction. Returns about how many bytes. */
  write(): number;
  /** The group failed. What it had written is undone, or, where the sync failed, can't be relied on. */
  abandon(): void;
}

export class Group {
  readonly parts: GroupPart[] = [];
  needsTransaction = false;
  needsSync = false;
  isSettled = false;
  resolve!: () => void;
  reject!: (error: Error) => void;
  readonly promise = new Promise<void>((resolve, reject) => {
    this.resolve = resolve;
    this.reject = reject;
  });
}

export interface GroupCommitDeps {
  readonly database: Database;
  readonly deltas: DeltaTable;
  readonly wal: WriteAheadLog;
  readonly fsync: 'group' | 'off';
  /** How long after a flush deltas wait for company, in milliseconds. */
  readonly flushIntervalMs: number;
  readonly logger: Logger | undefined;
  /** Runs last in the transactions of groups that hold more than deltas: deletes what is due. */
  readonly tidy: () => void;
  /** The disk failed to sync; nothing is written from here on. */
  readonly onBroken: () => void;
}

export class GroupCommit {
  readonly #deps: GroupCommitDeps;
  #open: Group | undefined;
  #inFlight: Group | undefined;
  #immediate: NodeJS.Immediate | undefined;
  #timer: NodeJS.Timeout | undefined;
  #lastFlushAt = Number.NEGATIVE_INFINITY;
  #isFolding = false;
  #isClosed = false;
  #broken: LogUnavailable | undefined;
  #onQuiet: (() => void) | undefined;

  constructor(deps: GroupCommitDeps) {
    this.#deps = deps;
  }

  /** Why nothing can be written any more, where that is so. */
  get refusal(): LogUnavailable | undefined {
    return this.#isClosed ? new LogUnavailable('closed', 'The store is closed.') : this.#broken;
  }

  /** Throws the refusal, where there is one. */
  requireWritable(): void {
    const { refusal } = this;
    if (refusal) throw refusal;
  }

  get isBroken(): boolean {
    return this.#broken !== undefined;
  }

  /** Puts a part into the group that is being gathered; it is settled by the group's promise. */
  join(part: GroupPart, weight: Weight): Group {
    this.#open ??= new Group();
    this.#open.parts.push(part);
    if (weight !== 'deltas') this.#open.needsTransaction = true;
    if (weight === 'durable') this.#open.needsSync = true;
    this.#schedule();
    return this.#open;
  }

  /** Runs `write` in the group's transaction. Where it breaks a rule of a table, it alone is undone and rejects. */
  async run<T>(write: () => T, weight: 'relaxed' | 'durable' = 'durable'): Promise<T> {
    this.requireWritable();
    let outcome: { value: T } | { error: unknown } | undefined;
    const part: GroupPart = {
      write: () => {
        try {
          outcome = { value: this.#deps.database.savepoint(write) };
        } catch (error) {
          if (!isConstraint(error)) throw error;
          outcome = { error };
        }
        return 0;
      },
      abandon: () => {},
    };
    await this.join(part, weight).promise;
    if (outcome === undefined) throw new Error('A group settled without its part.');
    if ('error' in outcome) throw outcome.error;
    return outcome.value;
  }

  /** Resolves when all that was asked for until now is written, or has failed. */
  async settled(): Promise<void> {
    await (this.#open ?? this.#inFlight)?.promise.catch(() => {});
  }

  /** Flushes what is pending, and takes nothing more. */
  async close(): Promise<void> {
    this.#isClosed = true;
    if (this.#open === undefined && this.#inFlight === undefined && !this.#isFolding) return;
    await new Promise<void>((resolve) => {
      this.#onQuiet = resolve;
      this.#schedule();
    });
  }

  #schedule(): void {
    const group = this.#open;
    if (group === undefined || this.#inFlight || this.#isFolding || this.#immediate) return;
    const isUrgent = group.needsSync || this.#isClosed;
    const waitMs = isUrgent ? 0 : this.#lastFlushAt + this.#deps.flushIntervalMs - performance.now();
    // A timer waits for a whole millisecond; under load the next append comes sooner, and finds that it is time.
    if (this.#timer && waitMs > 0) return;
    clearTimeout(this.#timer);
    this.#timer = undefined;
    if (waitMs <= 0) this.#immediate = setImmediate(this.#flush);
    else this.#timer = setTimeout(this.#flush, waitMs);
  }

  readonly #flush = (): void => {
    this.#immediate = undefined;
    this.#timer = undefined;
    const group = this.#open;
    if (group === undefined) return;
    this.#open = undefined;
    this.#inFlight = group;
    this.#lastFlushAt = performance.now();
    try {
      this.#write(group);
    } catch (cause) {
      this.#deps.deltas.discard();
      this.#deps.logger?.error('The store refused to write.', { reason: String(cause) });
      this.#fail(group, new LogUnavailable('store_failed', `The store refused to write: ${String(cause)}`, { cause }));
      this.#next();
      return;
    }
    if (group.needsSync && this.#deps.fsync === 'group') this.#deps.wal.sync((error) => this.#synced(group, error));
    else this.#synced(group, null);
  };

  #write(group: Group): void {
    const { database, deltas, wal, tidy } = this.#deps;
    let bytes = 0;
    const writeParts = (): void => {
      for (const part of group.parts) bytes += part.write();
      bytes += deltas.writeRow();
      if (group.needsTransaction) tidy();
    };
    // Deltas alone are one insert, which is a transaction by itself.
    if (group.needsTransaction) database.transaction(writeParts);
    else writeParts();
    deltas.committed();
    wal.grew(group.needsTransaction ? group.parts.length : 0, bytes);
  }

  #synced(group: Group, error: Error | null): void {
    if (error) this.#break(error);
    if (this.#broken) {
      this.#fail(group, this.#broken);
    } else {
      group.isSettled = true;
      group.resolve();
    }
    this.#next();
  }

  #next(): void {
    this.#inFlight = undefined;
    if (this.#broken && this.#open) {
      this.#fail(this.#open, this.#broken);
      this.#open = undefined;
    }
    if (this.#deps.wal.isLong && !this.#broken) {
      this.#isFolding = true;
      this.#deps.wal.fold((error) => {
        this.#isFolding = false;
        if (error) this.#break(error);
        this.#next();
      });
    } else if (this.#open) this.#schedule();
    else this.#onQuiet?.();
  }

  #fail(group: Group, error: LogUnavailable): void {
    group.isSettled = true;
    for (const part of group.parts) part.abandon();
    group.reject(error);
  }

  /** After a failed sync the kernel may have dropped what it could not write, and later syncs succeed without it. */
  #break(cause: Error): void {
    const message = `The disk failed to sync (${cause.message}). Nothing can be written until the server is started again.`;
    this.#broken = new LogUnavailable('store_failed', message, { cause });
    this.#deps.logger?.error(message);
    try {
      this.#deps.onBroken();
    } catch (error) {
      this.#deps.logger?.error('The failed sync could not be noted in the store.', { reason: String(error) });
    }
  }
}
