/** The parts of the bench, each measuring one server: what is done, and which numbers come of it. */
import { setTimeout as sleep } from 'node:timers/promises';
import { measureSync } from './disk.mjs';
import { nowUs, toSpread } from './statistics.mjs';

const FLAT_PER_WRITE = 8;
const PACED_PER_SECOND = 50;
const BUSY_PER_SECOND = 150;
/** Tokens beyond the window, so that all streams still run at its end. */
const MARGIN_MS = 500;
const PER = 100_000;
const TURN_TOKENS = 48;
const TURNS_AT_ONCE = 20;
const WARM_SESSIONS = 20;

const toCpuSeconds = (cpuUs, tokens) => (cpuUs / 1e6 / tokens) * PER;

async function openSessions(server, driver, count) {
  const { kind: dialect, port, token } = server;
  await driver.ask({ what: 'open', dialect, port, token, count, depth: 'session' });
}

/** As fast as it goes, from the first prompt to the last end of a turn. */
export async function measureFlat(server, { driver, options }, deltas = options.flatDeltas) {
  const { sessions } = options;
  const tokens = Math.ceil(deltas / sessions / FLAT_PER_WRITE) * FLAT_PER_WRITE;
  await openSessions(server, driver, sessions);
  const before = await server.cpuUs();
  const startedUs = nowUs();
  await driver.ask({ what: 'start', prompt: { tokens, perWrite: FLAT_PER_WRITE } });
  await driver.ask({ what: 'finish' });
  const tookUs = nowUs() - startedUs;
  const cpuUs = (await server.cpuUs()) - before;
  await driver.ask({ what: 'close' });
  const total = tokens * sessions;
  return { cpu: toCpuSeconds(cpuUs, total), deltasPerSecond: total / (tookUs / 1e6) };
}

/** A window in the middle of steady streams: CPU, and the way of each token from the upstream's write to the client. */
async function measureSteady(server, { driver, options }, perSecond, windowMs) {
  const { sessions, settleMs } = options;
  const tokens = Math.ceil((perSecond * (settleMs + windowMs + MARGIN_MS)) / 1_000);
  await openSessions(server, driver, sessions);
  await driver.ask({ what: 'start', prompt: { tokens, perSecond } });
  await sleep(settleMs);
  const [cpuBefore, before] = await Promise.all([server.cpuUs(), driver.ask({ what: 'count' })]);
  await sleep(windowMs);
  const [cpuAfter, after] = await Promise.all([server.cpuUs(), driver.ask({ what: 'count' })]);
  await driver.ask({ what: 'finish' });
  await driver.ask({ what: 'close' });
  const { p50Ms, p99Ms } = after;
  return { cpu: toCpuSeconds(cpuAfter - cpuBefore, after.tokens - before.tokens), p50Ms, p99Ms };
}

export const measurePaced = (server, bench) => measureSteady(server, bench, PACED_PER_SECOND, bench.options.pacedMs);
export const measureBusy = (server, bench) => measureSteady(server, bench, BUSY_PER_SECOND, bench.options.busyMs);

/** On an idle server, from the command sent to the first token. */
export async function measureFirst(server, { driver, options }) {
  await openSessions(server, driver, 20);
  const spread = await driver.ask({ what: 'firstTokens', times: options.firstTokens });
  await driver.ask({ what: 'close' });
  return spread;
}

/** Prompts every open session, and cancels what streams then. */
export async function cancelAll({ driver, upstream, options }, perSecond) {
  await upstream.ask('cuts');
  await driver.ask({ what: 'start', prompt: { tokens: 1e6, perSecond } });
  await sleep(options.settleMs);
  const { repliedUs, asked } = await driver.ask({ what: 'cancel' });
  const cuts = new Map(await upstream.ask('cuts'));
  await driver.ask({ what: 'close' });
  const missing = asked.filter(([name]) => !cuts.has(name)).length;
  if (missing > 0) throw new Error(`${missing} upstream requests outlived their cancel`);
  const closedUs = asked.map(([name, askedUs]) => cuts.get(name) - askedUs);
  return { reply: toSpread(repliedUs), closed: toSpread(closedUs) };
}

/** Under the paced load: from the command sent to its reply, and to the end of the connection that the upstream sees. */
export async function measureCancel(server, { driver, upstream, dir, options }) {
  // The disk of this very moment: a shared one is another a minute later.
  const sync = await measureSync(dir);
  await openSessions(server, driver, options.sessions);
  return { ...(await cancelAll({ driver, upstream, options }, PACED_PER_SECOND)), sync };
}

/** What the server grew by while the drivers did `work`, in bytes for each of `count`. The server must be fresh. */
async function measureGrowth(server, { drivers }, count, work) {
  const everyDriver = (question) => Promise.all(drivers.map((driver) => driver.ask(question)));
  const open = (depth, total) => {
    const share = Math.ceil(total / drivers.length);
    return everyDriver({ what: 'open', dialect: server.kind, port: server.port, count: share, depth });
  };
  const takeTurns = async () => {
    const prompt = { tokens: TURN_TOKENS, perWrite: FLAT_PER_WRITE };
    await everyDriver({ what: 'start', prompt, atOnce: TURNS_AT_ONCE });
    await everyDriver({ what: 'finish' });
  };
  // What is loaded at first use is nobody's share.
  await open('session', WARM_SESSIONS);
  await takeTurns();
  await everyDriver({ what: 'close' });
  const before = await server.rss();
  await work({ open, takeTurns });
  const grownBytes = (await server.rss()) - before;
  await everyDriver({ what: 'close' });
  return { bytes: grownBytes / count };
}

/** Connections that do nothing. */
export const measureIdle = (server, bench) =>
  measureGrowth(server, bench, bench.options.idleConnections, ({ open }) =>
    open('connection', bench.options.idleConnections),
  );

/** Attached sessions, each after one turn. */
export const measureTurns = (server, bench) =>
  measureGrowth(server, bench, bench.options.turnSessions, async ({ open, takeTurns }) => {
    await open('session', bench.options.turnSessions);
    await takeTurns();
  });
