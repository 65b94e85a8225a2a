/** The Redis adapters: what several nodes share. */
export { RedisAudit } from './redis-audit.js';
export { RedisCalls } from './redis-calls.js';
export { RedisConnection, type RedisConnectionOptions, RedisUnavailable } from './redis-connection.js';
export { RedisDirectory } from './redis-directory.js';
export { RedisInbox } from './redis-inbox.js';
export { RedisLedger, type RedisLedgerDeps } from './redis-ledger.js';
export { RedisRates } from './redis-rates.js';
export { RedisSeats } from './redis-seats.js';
export { RedisTickets } from './redis-tickets.js';
export { refuseRedisUrl } from './redis-url.js';
export { createRedisStore, type RedisStore, type RedisStoreOptions } from './redis-store.js';
export { takeSweepTurn } from './sweep-turn.js';
