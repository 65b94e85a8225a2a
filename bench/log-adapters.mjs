/**
 * What an appended delta costs: the embedded store and the one on Redis, each alone, without sockets or a model.
 * By hand: node scripts/build.mjs && node bench/log-adapters.mjs [redis://host:port]; it empties nothing and removes
 * the sessions that it made.
 */
import { mkdtempSync, readFileSync, rmSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { openEmbeddedStore } from '../dist/server/adapters/embedded/index.js';
import { createRedisStore, RedisConnection } from '../dist/server/adapters/redis/index.js';
import { toDeltaRecord } from '../dist/server/core/log-record.js';

const url = process.argv[2] ?? 'redis://127.0.0.1:6379';
const DELTAS = 200_000;
const TEXT = 'The quick brown ';
const TICKS_PER_SECOND = 100;

/** Sessions that append at once, and deltas in each append. */
const SHAPES = [
  { sessions: 10, deltas: 1 },
  { sessions: 10, deltas: 8 },
  { sessions: 100, deltas: 1 },
  { sessions: 100, deltas: 8 },
  { sessions: 1_000, deltas: 1 },
];

async function openRedis() {
  const redis = await RedisConnection.open({ url });
  const pid = Number(/process_id:(\d+)/.exec(await redis.client.info('server'))?.[1]);
  const store = createRedisStore({ redis });
  return {
    ...store,
    /** CPU seconds of Redis, where it runs on this machine. */
    serverCpu: () => readCpu(pid),
    memoryOf: (id) => redis.client.call('MEMORY', 'USAGE', `midstream:{${id}}:deltas`),
    async close() {
      await store.close();
      await redis.close();
    },
  };
}

async function openEmbedded() {
  const dataDir = mkdtempSync(join(tmpdir(), 'midstream-bench-'));
  const store = await openEmbeddedStore({ dataDir, fsync: 'group' });
  return {
    ...store,
    serverCpu: () => 0,
    async close() {
      await store.close();
      rmSync(dataDir, { recursive: true, force: true });
    },
  };
}

function readCpu(pid) {
  try {
    const fields = readFileSync(`/proc/${pid}/stat`, 'utf8').split(') ')[1].split(' ');
    return (Number(fields[11]) + Number(fields[12])) / TICKS_PER_SECOND;
  } catch {
    return Number.NaN;
  }
}

/** Each session appends again as soon as its last append is in the log, as an actor that waits for its model does not. */
async function run(store, { sessions, deltas }) {
  const writers = [];
  for (let n = 0; n < sessions; n++) {
    const id = `sesn_bench_${process.pid}_${n}`;
    const at = Date.now();
    const row = { id, userId: 'bench', orgId: 'bench', status: 'idle', unfinished: false, createdAt: at };
    await store.sessions.create({ ...row, updatedAt: at, json: '{}' });
    const { token } = await store.leases.claim(id);
    writers.push({ sessionId: id, token, seq: 0 });
  }
  const rounds = Math.ceil(DELTAS / sessions / deltas);
  const latencies = [];
  const cpuBefore = process.cpuUsage();
  const serverBefore = store.serverCpu();
  const startedAt = performance.now();
  await Promise.all(
    writers.map(async (writer) => {
      const { sessionId, token } = writer;
      for (let round = 0; round < rounds; round++) {
        const records = [];
        for (let n = 0; n < deltas; n++) records.push(toDeltaRecord(++writer.seq, 'turn_1', 'sevt_1', 'text', 0, TEXT));
        const askedAt = performance.now();
        await store.log.append({ sessionId, token, records });
        latencies.push(performance.now() - askedAt);
        if (round % 100 === 99) store.log.trimDeltas(sessionId, writer.seq);
      }
    }),
  );
  const seconds = (performance.now() - startedAt) / 1_000;
  const { user, system } = process.cpuUsage(cpuBefore);
  const serverCpu = store.serverCpu() - serverBefore;
  for (const { sessionId } of writers) await store.sessions.remove(sessionId);
  latencies.sort((a, b) => a - b);
  const total = rounds * sessions * deltas;
  const per100k = 100_000 / total;
  return {
    sessions,
    'deltas an append': deltas,
    'deltas/s': Math.round(total / seconds),
    'CPU s per 100k, node': round2(((user + system) / 1e6) * per100k),
    'CPU s per 100k, Redis': round2(serverCpu * per100k),
    'append p50 ms': round2(latencies[Math.floor(latencies.length / 2)]),
    'append p99 ms': round2(latencies[Math.floor(latencies.length * 0.99)]),
  };
}

const round2 = (number) => Math.round(number * 100) / 100;

for (const [name, open] of [
  ['embedded', openEmbedded],
  ['Redis', openRedis],
]) {
  const store = await open();
  await run(store, SHAPES[1]);
  const rows = [];
  for (const shape of SHAPES) rows.push(await run(store, shape));
  console.log(name);
  console.table(rows);
  await store.close();
}
