/** Opens embedded stores in directories of their own, and clears both away. */
import { mkdtempSync, rmSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import {
  type EmbeddedStore,
  type EmbeddedStoreOptions,
  openEmbeddedStore,
} from '../../server/adapters/embedded/index.js';
import type { StoreHarness } from './store-harness.js';

export class StoreDirectory {
  readonly dataDir = mkdtempSync(join(tmpdir(), 'midstream-store-'));
  readonly #open: EmbeddedStore[] = [];

  async open(options: Partial<EmbeddedStoreOptions> = {}): Promise<EmbeddedStore> {
    const store = await openEmbeddedStore({ dataDir: this.dataDir, fsync: 'group', ...options });
    this.#open.push(store);
    return store;
  }

  async dispose(): Promise<void> {
    for (const store of this.#open) await store.close();
    rmSync(this.dataDir, { recursive: true, force: true });
  }
}

export function createEmbeddedHarness(): StoreHarness {
  let directory: StoreDirectory | undefined;
  const open = (now: (() => number) | undefined) => {
    directory ??= new StoreDirectory();
    return directory.open(now && { now });
  };
  return {
    openFresh: open,
    reopen: open,
    dispose: async () => directory?.dispose(),
  };
}
