/** What is measured of sessions that one connection prompts and others watch, on one server or on two nodes. */
import { setTimeout as sleep } from 'node:timers/promises';
import { cancelAll } from './measure.mjs';
import { nowUs } from './statistics.mjs';

const PER_SECOND = 50;
/** A thousand turns that begin at once take seconds until the last of them streams. */
const BEGIN_MS_EACH = 10;
const PER_WRITE = 8;
/** Tokens beyond the window, so that all streams still run at its end. */
const MARGIN_MS = 500;
const PER = 100_000;
const MEMORY_TOKENS = 48;
const MEMORY_TURNS_AT_ONCE = 20;
const WARM_SESSIONS = 20;

/** What takes part: the node that is prompted, the one that is watched, and Redis; one server is both nodes. */
export async function startContender(servers, kind, label) {
  if (kind === 'nodes') {
    const { nodes, redis } = await servers.startNodes(2, label);
    const [owner, watcher] = nodes;
    return { kind, owner, watcher, redis, parts: { owner, watcher, redis } };
  }
  const server = await servers.start(kind, label);
  return { kind, owner: server, watcher: server, parts: { owner: server } };
}

async function readCpu({ parts }) {
  const entries = Object.entries(parts).map(async ([name, part]) => [name, await part.cpuUs()]);
  return Object.fromEntries(await Promise.all(entries));
}

/** CPU seconds per 100,000 deltas of each part, and of all servers together. */
function toCpu(before, after, deltas) {
  const cpu = {};
  for (const name of Object.keys(after)) cpu[name] = ((after[name] - before[name]) / 1e6 / deltas) * PER;
  return { ...cpu, servers: cpu.owner + (cpu.watcher ?? 0) };
}

const openWatched = ({ owner, watcher }, driver, { sessions, watchers }) =>
  driver.ask({
    what: 'open',
    dialect: owner.kind,
    port: owner.port,
    count: sessions,
    depth: 'session',
    watch: { port: watcher.port, count: watchers },
  });

/** A window in the middle of steady streams, when all of them stream. */
export async function measureWatchedPaced(contender, { driver, options }, shape) {
  const { sessions, perSecond = PER_SECOND } = shape;
  const { settleMs, watchedMs } = options;
  const tokens = Math.ceil((perSecond * (sessions * BEGIN_MS_EACH + settleMs + watchedMs + MARGIN_MS)) / 1_000);
  await openWatched(contender, driver, shape);
  await driver.ask({ what: 'start', prompt: { tokens, perSecond } });
  await driver.ask({ what: 'streaming' });
  await sleep(settleMs);
  const startedUs = nowUs();
  const [cpuBefore, before] = await Promise.all([readCpu(contender), driver.ask({ what: 'count' })]);
  await sleep(watchedMs);
  const [cpuAfter, after] = await Promise.all([readCpu(contender), driver.ask({ what: 'count' })]);
  const tookUs = nowUs() - startedUs;
  await driver.ask({ what: 'finish' });
  await driver.ask({ what: 'close' });
  const deltas = (after.tokens - before.tokens) / shape.watchers;
  const { p50Ms, p99Ms } = after;
  return { cpu: toCpu(cpuBefore, cpuAfter, deltas), deltasPerSecond: deltas / (tookUs / 1e6), p50Ms, p99Ms };
}

/** As fast as it goes, from the first prompt to the end of the last turn at the last watcher. */
export async function measureWatchedFlat(contender, { driver, options }, shape) {
  const { sessions, watchers } = shape;
  const tokens = Math.ceil(options.watchedDeltas / sessions / PER_WRITE) * PER_WRITE;
  await openWatched(contender, driver, shape);
  const before = await readCpu(contender);
  const startedUs = nowUs();
  await driver.ask({ what: 'start', prompt: { tokens, perWrite: PER_WRITE } });
  const skipped = await driver.ask({ what: 'finish' });
  const tookUs = nowUs() - startedUs;
  const after = await readCpu(contender);
  await driver.ask({ what: 'close' });
  const deltas = tokens * sessions;
  return {
    cpu: toCpu(before, after, deltas),
    deltasPerSecond: deltas / (tookUs / 1e6),
    skippedShare: skipped / (deltas * watchers),
  };
}

/** Under the paced load, by a watcher: from the command sent to its reply, and to the end of the upstream's connection. */
export async function measureWatchedCancel(contender, { driver, upstream, options }, shape) {
  await openWatched(contender, driver, shape);
  return cancelAll({ driver, upstream, options }, PER_SECOND);
}

/** Bytes for each session that is attached on the node that doesn't write it, after one turn. */
export async function measureWatchedMemory(contender, { driver, options }) {
  const { owner, watcher, redis } = contender;
  const takeTurns = async () => {
    await driver.ask({
      what: 'start',
      prompt: { tokens: MEMORY_TOKENS, perWrite: PER_WRITE },
      atOnce: MEMORY_TURNS_AT_ONCE,
    });
    await driver.ask({ what: 'finish' });
  };
  const look = async () => ({ owner: await owner.rss(), watcher: await watcher.rss(), redis: await redis.memory() });
  await openWatched(contender, driver, { sessions: WARM_SESSIONS, watchers: 1 });
  await takeTurns();
  await driver.ask({ what: 'close' });
  const count = options.turnSessions;
  const before = await look();
  await openWatched(contender, driver, { sessions: count, watchers: 1 });
  await takeTurns();
  const after = await look();
  const callsBefore = await redis.calls();
  const cpuBefore = await readCpu(contender);
  await sleep(options.restMs);
  const cpuAfter = await readCpu(contender);
  const callsAfter = await redis.calls();
  await driver.ask({ what: 'close' });
  const perSecond = 1_000 / options.restMs;
  const bytes = Object.fromEntries(Object.keys(after).map((name) => [name, (after[name] - before[name]) / count]));
  const share = Object.entries(cpuAfter).map(([name, us]) => [name, ((us - cpuBefore[name]) / 1e6) * perSecond]);
  const calls = Object.entries(callsAfter)
    .map(([name, n]) => [name, (n - (callsBefore[name] ?? 0)) * perSecond])
    .filter(([name, n]) => n >= 0.5 && name !== 'info');
  return { sessions: count, bytes, restingCpu: Object.fromEntries(share), restingCalls: Object.fromEntries(calls) };
}
