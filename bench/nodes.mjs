/**
 * Two nodes on one Redis: sessions are prompted on one of them and watched on the other, beside one node with the
 * embedded store and the bare relay, whose watchers are where the session is.
 */
import { toNodesTable } from './nodes-report.mjs';
import {
  measureWatchedCancel,
  measureWatchedFlat,
  measureWatchedMemory,
  measureWatchedPaced,
  startContender,
} from './watched-measure.mjs';

const KINDS = ['relay', 'midstream', 'nodes'];
const WATCHERS = [1, 3, 10];
const WATCHED_SESSIONS = 40;
/** A thousand turns of 50 tokens a second are more than one core takes. */
const GROWTH = [
  { sessions: 10 },
  { sessions: 40 },
  { sessions: 100 },
  { sessions: 300 },
  { sessions: 1_000, perSecond: 10 },
];
const WARM_SHAPE = { sessions: 100, watchers: 1 };

const RUNS = {
  watchers: WATCHERS.flatMap((watchers) => {
    const shape = { sessions: WATCHED_SESSIONS, watchers };
    return [
      { pace: 'paced', measure: measureWatchedPaced, shape },
      { pace: 'flat', measure: measureWatchedFlat, shape },
    ];
  }),
  growth: GROWTH.map((shape) => ({ pace: 'paced', measure: measureWatchedPaced, shape: { ...shape, watchers: 1 } })),
  cancel: [{ pace: 'cancel', measure: measureWatchedCancel, shape: { sessions: 100, watchers: 1 } }],
};

/** Resolves with a row for each run: its rounds, in each of which all kinds met the same machine. */
async function measureRounds(bench, contenders) {
  const { options, say } = bench;
  const rows = [];
  for (const part of options.parts) {
    for (const { pace, measure, shape } of RUNS[part] ?? []) {
      const rounds = [];
      for (let round = 1; round <= options.rounds; round++) {
        say(`${part}, ${pace}, ${shape.sessions} sessions with ${shape.watchers} watchers, round ${round}`);
        const results = {};
        for (const contender of contenders) results[contender.kind] = await measure(contender, bench, shape);
        rounds.push(results);
      }
      rows.push({ part, pace, ...shape, rounds });
    }
  }
  return rows;
}

export async function runNodes(bench, servers) {
  const { options, say } = bench;
  let rows = [];
  if (options.parts.some((part) => part in RUNS)) {
    const contenders = [];
    for (const kind of KINDS) contenders.push(await startContender(servers, kind, 'rounds'));
    say('warming up');
    for (const contender of contenders) await measureWatchedFlat(contender, bench, WARM_SHAPE);
    rows = await measureRounds(bench, contenders);
    await servers.stop();
  }
  let memory;
  if (options.parts.includes('memory')) {
    say('memory');
    memory = await measureWatchedMemory(await startContender(servers, 'nodes', 'memory'), bench);
    await servers.stop();
  }
  return toNodesTable(rows, memory);
}
