/** How long the disk of the data directory takes to sync: what every accepted command waits for, whoever accepts it. */
import { closeSync, fdatasync, openSync, rmSync, writeSync } from 'node:fs';
import { join } from 'node:path';
import { promisify } from 'node:util';
import { nowUs, toSpread } from './statistics.mjs';

const SYNCS = 200;
const PAGE = Buffer.alloc(4_096, 1);
const sync = promisify(fdatasync);

/** Syncs one appended page at a time, on the thread pool, as the server does. */
export async function measureSync(dir) {
  const path = join(dir, 'sync-probe');
  const fd = openSync(path, 'w');
  const tookUs = [];
  try {
    for (let i = 0; i < SYNCS; i++) {
      writeSync(fd, PAGE);
      const startedUs = nowUs();
      await sync(fd);
      tookUs.push(nowUs() - startedUs);
    }
  } finally {
    closeSync(fd);
    rmSync(path);
  }
  return toSpread(tookUs);
}
