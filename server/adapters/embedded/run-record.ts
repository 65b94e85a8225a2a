/** Remembers how the last run of the server ended, and from that whether the log's tail can be trusted (LOG-7). */
import { isSameBoot } from './boot-identity.js';
import type { Database } from './database.js';

export interface BegunRun {
  readonly epoch: string;
  /** Whether logs had another one before. */
  readonly isEpochNew: boolean;
}

/** `running` is what a killed run leaves behind. `unproven`: the disk failed to sync, whatever came later. */
type RunState = 'running' | 'closed' | 'unproven';

/**
 * Begins a run and returns its epoch. After a mere kill the page cache is whole, and so is the tail. After a reboot
 * without a clean end, or a failed sync, what was shown to clients may be gone: the epoch counts up.
 */
export function beginRun(database: Database, bootIdentity: string): BegunRun {
  const select = database.prepare<[string]>('SELECT value FROM meta WHERE key = ?');
  const state = select.first('run_state')?.[0];
  const boot = select.first('boot')?.[0];
  const lastEpoch = Number(select.first('epoch')?.[0] ?? 0);
  const isWhole = state === 'closed' || (state === 'running' && boot !== undefined && isSameBoot(boot, bootIdentity));
  const epoch = isWhole ? lastEpoch : lastEpoch + 1;
  database.transaction(() => {
    const put = database.prepare('INSERT OR REPLACE INTO meta (key, value) VALUES (?, ?)');
    put.run('epoch', String(epoch));
    put.run('boot', bootIdentity);
    put.run('run_state', 'running' satisfies RunState);
  });
  return { epoch: `e${epoch}`, isEpochNew: !isWhole && lastEpoch > 0 };
}

export function markRun(database: Database, state: Exclude<RunState, 'running'>): void {
  database.prepare("UPDATE meta SET value = ? WHERE key = 'run_state'").run(state);
}
