/** What the ledger on Redis costs: a script's round trip, pairs of reserve and settle a second, and bytes per user. */
import { spawn } from 'node:child_process';
import { mkdtempSync, rmSync } from 'node:fs';
import { createServer } from 'node:net';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { RedisConnection, RedisLedger } from '../dist/server/adapters/redis/index.js';
import { nowUs, toSpread } from './statistics.mjs';

const SPREAD_CALLS = 5_000;
const WARM_UP_CALLS = 1_000;
const IN_FLIGHT = 64;
const PAIRS = 20_000;
const LIMITS = ['user', 'org'].flatMap((scope) =>
  ['day', 'month'].flatMap((window) => ['tokens', 'usd'].map((unit) => ({ scope, window, unit, limit: 9e15 }))),
);
const USAGE = { input_tokens: 900, output_tokens: 300, cache_creation_input_tokens: 0, cache_read_input_tokens: 0 };
const SETTLEMENT = { usage: USAGE, estimated: false, costNanoUsd: 7_200_000 };

const requestOf = (n) => ({
  userId: `user_${n % 500}`,
  orgId: 'acme',
  sessionId: `sesn_${n % 500}`,
  turnId: 'turn_4fQm9wZ2rT7yU1iO3pA5sD',
  step: 1,
  attempt: 1,
  model: 'claude-sonnet-5-5',
  tags: ['support'],
  amounts: { tokens: 5_000, nanoUsd: 60_000_000 },
  limits: LIMITS,
});

async function reserve(ledger, n) {
  const reservation = await ledger.reserve(requestOf(n));
  if (!reservation.granted) throw new Error(reservation.error.message);
  return reservation.hold;
}

/** One call after the other: what a turn waits for before its request. */
async function measureSpread(ledger) {
  const [reserved, settled] = [[], []];
  for (let n = -WARM_UP_CALLS; n < SPREAD_CALLS; n++) {
    const startedAt = nowUs();
    const hold = await reserve(ledger, n + WARM_UP_CALLS);
    const heldAt = nowUs();
    await ledger.settle(hold, SETTLEMENT);
    if (n < 0) continue;
    reserved.push(heldAt - startedAt);
    settled.push(nowUs() - heldAt);
  }
  return { reserve: toSpread(reserved), settle: toSpread(settled) };
}

async function measureRate(ledger) {
  let next = 0;
  const startedAt = nowUs();
  const work = async () => {
    while (next < PAIRS) await ledger.settle(await reserve(ledger, next++), SETTLEMENT);
  };
  await Promise.all(Array.from({ length: IN_FLIGHT }, work));
  return Math.round(PAIRS / ((nowUs() - startedAt) / 1e6));
}

/** By `MEMORY USAGE` of every key of one kind. */
async function measureMemory(client) {
  const kinds = new Map();
  const keys = await client.keys('midstream:{acme}:*');
  for (const key of keys) {
    const kind = key
      .split(':')
      .slice(2)
      .join(':')
      .replace(/user_\d+|[0-9a-f-]{36}/g, '…');
    const known = kinds.get(kind) ?? { keys: 0, bytes: 0 };
    kinds.set(kind, { keys: known.keys + 1, bytes: known.bytes + (await client.memory('USAGE', key)) });
  }
  return [...kinds].map(([kind, { keys: count, bytes }]) => ({
    kind,
    keys: count,
    bytesEach: Math.round(bytes / count),
  }));
}

const dir = mkdtempSync(join(tmpdir(), 'midstream-bench-redis-'));
const port = await new Promise((resolve) => {
  const probe = createServer().listen(0, '127.0.0.1', () => {
    const { port: free } = probe.address();
    probe.close(() => resolve(free));
  });
});
const server = spawn('redis-server', ['--port', `${port}`, '--bind', '127.0.0.1', '--dir', dir, '--save', ''], {
  stdio: ['ignore', 'pipe', 'inherit'],
});
try {
  await new Promise((resolve, reject) => {
    server.once('error', () => reject(new Error('redis-server is missing; run: apt-get install -y redis-server')));
    server.stdout.on('data', (bytes) => `${bytes}`.includes('Ready to accept') && resolve());
  });
  const redis = await RedisConnection.open({ url: `redis://127.0.0.1:${port}` });
  const ledger = new RedisLedger({ redis, logger: undefined });
  const spread = await measureSpread(ledger);
  const pairsPerSecond = await measureRate(ledger);
  await reserve(ledger, 0);
  const memory = await measureMemory(redis.client);
  console.log(JSON.stringify({ ...spread, inFlight: IN_FLIGHT, pairsPerSecond, memory }, null, 2));
  await ledger.close();
  await redis.close();
} finally {
  server.kill();
  rmSync(dir, { recursive: true, force: true });
}
