/** `npm run bench`: Midstream beside a bare relay, in one run, on one machine, with the same work. */
import { execFileSync } from 'node:child_process';
import { mkdtempSync, rmSync, writeFileSync } from 'node:fs';
import { cpus, loadavg, platform, tmpdir } from 'node:os';
import { join } from 'node:path';
import { fileURLToPath } from 'node:url';
import { measureSync } from './disk.mjs';
import { runFailover } from './failover.mjs';
import {
  measureBusy,
  measureCancel,
  measureFirst,
  measureFlat,
  measureIdle,
  measurePaced,
  measureTurns,
} from './measure.mjs';
import { runNodes } from './nodes.mjs';
import { parseOptions, USAGE } from './options.mjs';
import { Child, findCores } from './processes.mjs';
import { toRows, toTable } from './report.mjs';
import { Servers } from './servers.mjs';

const STREAMING = {
  flat: measureFlat,
  paced: measurePaced,
  busy: measureBusy,
  first: measureFirst,
  gates: measureFirst,
  cancel: measureCancel,
};
const MEMORY = { idle: measureIdle, turns: measureTurns };
const KINDS = ['relay', 'midstream'];
/** What the gates cost is told by a server that has none. */
const KINDS_OF = { gates: ['midstream', 'gated'] };
/** Files that a process needs beyond its connections. */
const SPARE_FILES = 500;

const kindsOf = (part) => KINDS_OF[part] ?? KINDS;

const say = (sentence) => process.stderr.write(`bench: ${sentence}\n`);
const here = (name) => fileURLToPath(new URL(name, import.meta.url));

/** Node raises its own limit to the hard one. */
const fileLimit = () =>
  Number(execFileSync('sh', ['-c', 'ulimit -Hn'], { encoding: 'utf8' })) || Number.POSITIVE_INFINITY;

async function measureRounds(bench, servers, results) {
  const { options } = bench;
  const parts = options.parts.filter((part) => part in STREAMING);
  if (parts.length === 0) return;
  const started = new Map();
  for (const kind of new Set(parts.flatMap(kindsOf))) started.set(kind, await servers.start(kind, 'rounds'));
  say('warming up');
  for (const server of started.values()) await measureFlat(server, bench, options.warmUpDeltas);
  for (const part of parts) {
    for (let round = 1; round <= options.rounds; round++) {
      say(`${part}, round ${round} of ${options.rounds}`);
      results[part] ??= { base: [], measured: [] };
      const [base, measured] = kindsOf(part).map((kind) => started.get(kind));
      results[part].base.push(await STREAMING[part](base, bench));
      results[part].measured.push(await STREAMING[part](measured, bench));
    }
  }
  await servers.stop();
}

/** Once, each on a server of its own: what one part left in the heap would hide what the next one takes. */
async function measureMemory(bench, servers, results) {
  for (const [part, measure] of Object.entries(MEMORY)) {
    if (!bench.options.parts.includes(part)) continue;
    results[part] = {};
    for (const [role, kind] of Object.entries({ base: 'relay', measured: 'midstream' })) {
      say(`${part}, ${kind}`);
      const server = await servers.start(kind, part);
      results[part][role] = [await measure(server, bench)];
      await servers.stop();
    }
  }
}

async function runRelay(bench, servers) {
  const { options, dir } = bench;
  const results = {};
  const sync = await measureSync(dir);
  await measureRounds(bench, servers, results);
  await measureMemory(bench, servers, results);
  const rows = toRows(results);
  const { rounds, sessions, idleConnections } = options;
  return {
    table: toTable(rows, sync),
    figures: { rounds, sessions, idle_connections: idleConnections, fsync: sync, figures: rows },
  };
}

/** Nodes have all cores, for each of them would have one of its own. */
const SUITES = {
  relay: { run: runRelay, pinsServers: true },
  nodes: { run: runNodes, pinsServers: false },
  failover: { run: runFailover, pinsServers: false },
};

async function run(options) {
  const dir = mkdtempSync(join(tmpdir(), 'midstream-bench-'));
  const suite = SUITES[options.suite];
  const cores = suite.pinsServers ? findCores() : undefined;
  const children = [];
  let servers;
  const start = (name) => {
    const child = new Child(name, [here(`${name}.mjs`)], { cpus: cores?.drivers });
    children.push(child);
    return child;
  };
  try {
    const drivers = [start('driver'), start('driver')];
    const upstream = start('upstream');
    const upstreamPort = await upstream.ask('port');
    const idleConnections = Math.min(options.idleConnections, fileLimit() - SPARE_FILES);
    const bench = { dir, driver: drivers[0], drivers, upstream, options: { ...options, idleConnections }, say };
    servers = new Servers({ ...options, dir, cores, upstreamPort });
    const { table, figures } = await suite.run(bench, servers);
    const [cpu] = cpus();
    const machine = {
      cpu: cpu?.model,
      cores: cpus().length,
      platform: platform(),
      node: process.version,
      server_pinned: cores !== undefined,
      load_average: loadavg().map((load) => Number(load.toFixed(1))),
    };
    return { table, report: { machine, ...figures } };
  } finally {
    await servers?.stop();
    for (const child of children) await child.stop();
    rmSync(dir, { recursive: true, force: true });
  }
}

async function main() {
  const options = parseOptions(process.argv.slice(2));
  if (options.wantsHelp) {
    console.log(USAGE);
    return;
  }
  const { table, report } = await run(options);
  const json = JSON.stringify(report, null, 2);
  if (options.outPath !== undefined) writeFileSync(options.outPath, `${json}\n`);
  console.log(`${table}\n\n${json}`);
}

main().catch((error) => {
  say(error.message);
  process.exitCode = 1;
});
