/** How long clients on another node wait for their next token when the node that runs their turns dies or is stopped. */
import { setTimeout as sleep } from 'node:timers/promises';
import { median, nowUs, toSpread } from './statistics.mjs';

const SESSIONS = 20;
const PER_SECOND = 50;
const DRAIN_AIM_MS = 500;
/** What others may take beyond the life of a lease. */
const KILL_AIM_MS = 2_000;
const DEFAULT_LEASE_MS = 10_000;

const RUNS = {
  kill: [
    { title: 'kill -9, lease 10 s', signal: 'SIGKILL', env: {}, aimMs: DEFAULT_LEASE_MS + KILL_AIM_MS },
    {
      title: 'kill -9, lease 2 s',
      signal: 'SIGKILL',
      env: { MIDSTREAM_LEASE_MS: '2000' },
      aimMs: 2_000 + KILL_AIM_MS,
    },
  ],
  drain: [{ title: 'SIGTERM, drain 0', signal: 'SIGTERM', env: { MIDSTREAM_DRAIN_MS: '0' }, aimMs: DRAIN_AIM_MS }],
};

/** From the signal to the first token of the request that another node made, as each watcher there saw it. */
async function measureOnce({ driver, options }, servers, { signal, env }, label) {
  const { nodes } = await servers.startNodes(2, label, env);
  const [owner, watcher] = nodes;
  const watch = { port: watcher.port, count: 1 };
  await driver.ask({ what: 'open', dialect: owner.kind, port: owner.port, count: SESSIONS, depth: 'session', watch });
  await driver.ask({ what: 'start', prompt: { tokens: 1e6, perSecond: PER_SECOND } });
  await sleep(options.settleMs);
  await driver.ask({ what: 'awaitResumed' });
  const resumed = driver.ask({ what: 'resumed' });
  const startedUs = nowUs();
  const gone = owner.child.kill(signal);
  const resumedUs = await resumed;
  await gone;
  await driver.ask({ what: 'close' });
  await servers.stop();
  const spread = toSpread(resumedUs.map((atUs) => atUs - startedUs));
  return { ...spread, maxMs: Math.max(...resumedUs.map((atUs) => atUs - startedUs)) / 1e3 };
}

export async function runFailover(bench, servers) {
  const { options, say } = bench;
  const rows = [];
  for (const part of options.parts) {
    for (const run of RUNS[part]) {
      const rounds = [];
      for (let round = 1; round <= options.failovers; round++) {
        say(`${run.title}, ${round} of ${options.failovers}`);
        rounds.push(await measureOnce(bench, servers, run, `${part}-${run.aimMs}-${round}`));
      }
      const { title, aimMs } = run;
      const p50Ms = median(rounds.map((round) => round.p50Ms));
      const worstMs = Math.max(...rounds.map(({ maxMs }) => maxMs));
      rows.push({
        title,
        sessions: SESSIONS,
        p50_ms: p50Ms,
        worst_ms: worstMs,
        aim_ms: aimMs,
        reached: worstMs <= aimMs,
      });
    }
  }
  const lines = rows.map(
    ({ title, p50_ms, worst_ms, aim_ms, reached }) =>
      `| ${title} | ${p50_ms.toFixed(0)} ms | ${worst_ms.toFixed(0)} ms | ≤ ${aim_ms} ms ${reached ? 'reached' : 'MISSED'} |`,
  );
  const table = ['| signal → next token on the other node | p50 | worst | aim |', '|---|---|---|---|', ...lines].join(
    '\n',
  );
  return { table, figures: { figures: rows } };
}
