/** From the rounds of relay, one node and two nodes to tables and figures. */
import { median } from './statistics.mjs';

const AIM = { ratio: 2.5, p50Ms: 3 };

const seconds = (value) => `${value.toFixed(2)} s`;
const times = (value) => `${value.toFixed(2)} ×`;
const ms = (value) => `${value.toFixed(value < 10 ? 2 : 1)} ms`;
const kib = (value) => `${(value / 1_024).toFixed(1)} KiB`;
const thousands = (value) => `${(value / 1_000).toFixed(1)}k`;
const percent = (value) => `${(value * 100).toFixed(0)} %`;
const PER = 100_000;

/** Streams: CPU of each part, their ratio to the relay within a round, and what the way to a client takes beyond it. */
function toStreamFigures({ part, pace, sessions, watchers, rounds }) {
  const of = (pick) => median(rounds.map(pick));
  const cores = (name) => of(({ nodes }) => (nodes.cpu[name] * nodes.deltasPerSecond) / PER);
  const figures = {
    part,
    pace,
    sessions,
    watchers,
    relay: of(({ relay }) => relay.cpu.servers),
    one_node: of(({ midstream }) => midstream.cpu.servers),
    one_node_ratio: of(({ relay, midstream }) => midstream.cpu.servers / relay.cpu.servers),
    owner: of(({ nodes }) => nodes.cpu.owner),
    watcher: of(({ nodes }) => nodes.cpu.watcher),
    redis: of(({ nodes }) => nodes.cpu.redis),
    nodes_ratio: of(({ relay, nodes }) => nodes.cpu.servers / relay.cpu.servers),
    relay_deltas_per_second: of(({ relay }) => relay.deltasPerSecond),
    one_node_deltas_per_second: of(({ midstream }) => midstream.deltasPerSecond),
    nodes_deltas_per_second: of(({ nodes }) => nodes.deltasPerSecond),
    cores: { owner: cores('owner'), watcher: cores('watcher'), redis: cores('redis') },
  };
  if (pace === 'flat') return { ...figures, skipped_share: of(({ nodes }) => nodes.skippedShare) };
  return {
    ...figures,
    relay_p50_ms: of(({ relay }) => relay.p50Ms),
    one_node_p50_beyond_ms: of(({ relay, midstream }) => midstream.p50Ms - relay.p50Ms),
    p50_beyond_ms: of(({ relay, nodes }) => nodes.p50Ms - relay.p50Ms),
    p99_beyond_ms: of(({ relay, nodes }) => nodes.p99Ms - relay.p99Ms),
  };
}

function toCancelFigures({ part, pace, sessions, watchers, rounds }) {
  const spread = (kind, what) => ({
    p50_ms: median(rounds.map((round) => round[kind][what].p50Ms)),
    p99_ms: median(rounds.map((round) => round[kind][what].p99Ms)),
  });
  const figures = { part, pace, sessions, watchers };
  for (const kind of ['relay', 'midstream', 'nodes'])
    figures[kind] = { reply: spread(kind, 'reply'), closed: spread(kind, 'closed') };
  return figures;
}

function toTable(head, rows) {
  const widths = head.map((_, column) => Math.max(...[head, ...rows].map((row) => row[column].length)));
  const line = (row) => `| ${row.map((cell, i) => cell.padEnd(widths[i])).join(' | ')} |`;
  return [line(head), `|${widths.map((width) => '-'.repeat(width + 2)).join('|')}|`, ...rows.map(line)].join('\n');
}

const STREAM_HEAD = [
  'sessions × watchers',
  'relay',
  'one node',
  'two nodes: owner + watcher + Redis',
  'both nodes',
  'deltas/s: relay, one, two',
  'latency beyond the relay: one node p50, two nodes p50, p99',
  'cores of owner, watcher, Redis',
];

function toStreamRow(row) {
  const rates = [row.relay_deltas_per_second, row.one_node_deltas_per_second, row.nodes_deltas_per_second];
  const latency =
    row.pace === 'flat'
      ? `${percent(row.skipped_share)} skipped`
      : [row.one_node_p50_beyond_ms, row.p50_beyond_ms, row.p99_beyond_ms].map(ms).join(', ');
  return [
    `${row.pace}, ${row.sessions} × ${row.watchers}`,
    seconds(row.relay),
    `${seconds(row.one_node)}, ${times(row.one_node_ratio)}`,
    [row.owner, row.watcher, row.redis].map(seconds).join(' + '),
    times(row.nodes_ratio),
    rates.map(thousands).join(', '),
    latency,
    Object.values(row.cores)
      .map((share) => share.toFixed(2))
      .join(', '),
  ];
}

const toCancelRows = (row) =>
  ['relay', 'midstream', 'nodes'].map((kind) => {
    const { reply, closed } = row[kind];
    return [kind, ms(reply.p50_ms), ms(reply.p99_ms), ms(closed.p50_ms), ms(closed.p99_ms)];
  });

/** Returns the tables as text, and the figures. */
export function toNodesTable(rows, memory) {
  const streams = rows.filter(({ pace }) => pace !== 'cancel').map(toStreamFigures);
  const cancels = rows.filter(({ pace }) => pace === 'cancel').map(toCancelFigures);
  const parts = [];
  if (streams.length > 0)
    parts.push(
      'CPU seconds per 100,000 deltas:',
      toTable(STREAM_HEAD, streams.map(toStreamRow)),
      `aims, paced, one watcher on the other node: both nodes ≤ ${AIM.ratio} × the relay; p50 ≤ ${AIM.p50Ms} ms beyond it`,
    );
  for (const row of cancels)
    parts.push(toTable(['cancel by a watcher', 'reply p50', 'p99', 'upstream closed p50', 'p99'], toCancelRows(row)));
  if (memory !== undefined) {
    const { sessions, bytes, restingCpu, restingCalls } = memory;
    const rates = Object.entries(restingCalls).map(([name, rate]) => `${name} ${rate.toFixed(1)}`);
    parts.push(
      `memory of each of ${sessions} watched sessions after a turn: owner ${kib(bytes.owner)}, watcher ${kib(bytes.watcher)}, Redis ${kib(bytes.redis)}`,
      `while they rest: cores ${Object.entries(restingCpu)
        .map(([name, share]) => `${name} ${share.toFixed(3)}`)
        .join(', ')}; commands a second ${rates.join(', ')}`,
    );
  }
  return { table: parts.join('\n\n'), figures: { streams, cancels, memory } };
}
