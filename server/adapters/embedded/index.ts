/** The embedded adapters: durable on one machine, with nothing to install. */
export { EmbeddedRates } from './embedded-rates.js';
export { EmbeddedSeats } from './embedded-seats.js';
export { type EmbeddedStore, type EmbeddedStoreOptions, openEmbeddedStore } from './embedded-store.js';
export { EmbeddedStoreError } from './store-error.js';
export type { SyncFile } from './write-ahead-log.js';
