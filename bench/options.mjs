/** What is asked for on the command line: which parts are measured, and how long. */
import { parseArgs } from 'node:util';

/** What can be measured, and the parts of each. */
const SUITES = {
  relay: ['flat', 'paced', 'busy', 'first', 'gates', 'cancel', 'idle', 'turns'],
  nodes: ['watchers', 'growth', 'cancel', 'memory'],
  failover: ['kill', 'drain'],
};

const FULL = {
  rounds: 3,
  warmUpDeltas: 300_000,
  flatDeltas: 300_000,
  settleMs: 1_500,
  pacedMs: 6_000,
  busyMs: 4_000,
  firstTokens: 120,
  idleConnections: 10_000,
  turnSessions: 2_000,
  watchedMs: 4_000,
  watchedDeltas: 160_000,
  restMs: 5_000,
  failovers: 5,
};

const QUICK = {
  rounds: 1,
  warmUpDeltas: 200_000,
  flatDeltas: 200_000,
  settleMs: 1_000,
  pacedMs: 3_000,
  busyMs: 2_500,
  firstTokens: 40,
  idleConnections: 2_000,
  turnSessions: 500,
  watchedMs: 2_500,
  watchedDeltas: 80_000,
  restMs: 3_000,
  failovers: 1,
};

const partsOf = (suite) => SUITES[suite].join(',');

export const USAGE = `usage: npm run bench -- [relay|nodes|failover] [--quick] [--only part,part] [--rounds n] [--sessions n] [--server path] [--out file]
  relay       beside a bare relay, the default; parts: ${partsOf('relay')}
  nodes       two nodes on one Redis; parts: ${partsOf('nodes')}
  failover    how long a client on another node waits; parts: ${partsOf('failover')}
  --quick     one short round of everything
  --only      some of the parts, comma-separated
  --rounds    how often each part is repeated, relay and Midstream in turns (default 3)
  --sessions  sessions at once in the streaming parts (default 100)
  --server    the built server to measure (default dist/server/main.js)
  --cpu-prof  folder for a CPU profile of each server
  --out       also write the JSON to this file`;

/** Throws with a sentence where an option can't be used. */
export function parseOptions(argv) {
  const { values, positionals } = parseArgs({
    args: argv,
    allowPositionals: true,
    options: {
      quick: { type: 'boolean', default: false },
      only: { type: 'string' },
      rounds: { type: 'string' },
      sessions: { type: 'string', default: '100' },
      server: { type: 'string' },
      'cpu-prof': { type: 'string' },
      out: { type: 'string' },
      help: { type: 'boolean', default: false },
    },
  });
  const sizes = values.quick ? QUICK : FULL;
  const [suite = 'relay', extra] = positionals;
  if (!Object.hasOwn(SUITES, suite) || extra !== undefined)
    throw new Error(`"${positionals.join(' ')}" can't be measured; one of ${Object.keys(SUITES).join(', ')} can`);
  const known = SUITES[suite];
  const parts = values.only?.split(',') ?? known;
  const unknown = parts.find((part) => !known.includes(part));
  if (unknown !== undefined) throw new Error(`there is no part "${unknown}"; the parts are ${known.join(', ')}`);
  return {
    ...sizes,
    suite,
    rounds: values.rounds === undefined ? sizes.rounds : toCount(values.rounds, '--rounds'),
    sessions: toCount(values.sessions, '--sessions'),
    parts: known.filter((part) => parts.includes(part)),
    serverPath: values.server,
    profileDir: values['cpu-prof'],
    outPath: values.out,
    wantsHelp: values.help,
  };
}

function toCount(text, option) {
  const count = Number(text);
  if (!Number.isInteger(count) || count < 1) throw new Error(`${option} must be a whole number from 1`);
  return count;
}
