/** From the rounds of both servers to one row a figure: the relay, Midstream, what lies between them, and the aim. */
import { median } from './statistics.mjs';

const ms = (value) => `${value.toFixed(value < 10 ? 2 : 1)} ms`;
const seconds = (value) => `${value.toFixed(2)} s`;
const kib = (value) => `${(value / 1_024).toFixed(1)} KiB`;
const thousands = (value) => `${Math.round(value / 1_000)}k`;

const ratio = { name: 'ratio', of: (relay, midstream) => midstream / relay, show: (value) => `${value.toFixed(2)} ×` };
const beyond = { name: 'beyond', of: (relay, midstream) => midstream - relay, show: (value) => `+ ${ms(value)}` };
const alone = (show) => ({ name: 'alone', of: (_, midstream) => midstream, show });
/** What the disk takes is no part of what the server takes; the slowest of many is set against the disk's slowest. */
const beyondSync = (share) => ({
  name: 'beyond_fsync',
  of: (_, midstream, round) => midstream - round.sync[share],
  show: (value) => `fsync + ${ms(value)}`,
});

const FIGURES = [
  {
    part: 'paced',
    key: 'paced_cpu',
    title: 'CPU / 100k deltas, paced',
    pick: (r) => r.cpu,
    show: seconds,
    compare: ratio,
    aim: 2,
  },
  {
    part: 'busy',
    key: 'busy_cpu',
    title: 'CPU / 100k deltas, busy',
    pick: (r) => r.cpu,
    show: seconds,
    compare: ratio,
    aim: 2,
  },
  {
    part: 'flat',
    key: 'flat_cpu',
    title: 'CPU / 100k deltas, flat out',
    pick: (r) => r.cpu,
    show: seconds,
    compare: ratio,
    aim: 1,
  },
  {
    part: 'flat',
    key: 'flat_rate',
    title: 'deltas a second, flat out',
    pick: (r) => r.deltasPerSecond,
    show: thousands,
    compare: ratio,
  },
  {
    part: 'paced',
    key: 'latency_p50',
    title: 'delta latency p50, paced',
    pick: (r) => r.p50Ms,
    show: ms,
    compare: beyond,
    aim: 1,
  },
  {
    part: 'paced',
    key: 'latency_p99',
    title: 'delta latency p99, paced',
    pick: (r) => r.p99Ms,
    show: ms,
    compare: beyond,
    aim: 10,
  },
  {
    part: 'busy',
    key: 'busy_latency_p50',
    title: 'delta latency p50, busy',
    pick: (r) => r.p50Ms,
    show: ms,
    compare: beyond,
  },
  {
    part: 'busy',
    key: 'busy_latency_p99',
    title: 'delta latency p99, busy',
    pick: (r) => r.p99Ms,
    show: ms,
    compare: beyond,
  },
  { part: 'first', key: 'first_p50', title: 'first token p50', pick: (r) => r.p50Ms, show: ms, compare: beyond },
  { part: 'first', key: 'first_p99', title: 'first token p99', pick: (r) => r.p99Ms, show: ms, compare: beyond },
  {
    part: 'gates',
    key: 'gates_p50',
    title: 'first token p50, no gate → all, on Redis',
    pick: (r) => r.p50Ms,
    show: ms,
    compare: beyond,
    aim: 1,
  },
  {
    part: 'gates',
    key: 'gates_p99',
    title: 'first token p99, no gate → all, on Redis',
    pick: (r) => r.p99Ms,
    show: ms,
    compare: beyond,
  },
  {
    part: 'cancel',
    key: 'cancel_reply_p50',
    title: 'cancel → reply p50',
    pick: (r) => r.reply.p50Ms,
    show: ms,
    compare: beyondSync('p50Ms'),
  },
  {
    part: 'cancel',
    key: 'cancel_reply_p99',
    title: 'cancel → reply p99',
    pick: (r) => r.reply.p99Ms,
    show: ms,
    compare: beyondSync('p99Ms'),
    aim: 5,
  },
  {
    part: 'cancel',
    key: 'cancel_closed_p50',
    title: 'cancel → upstream closed p50',
    pick: (r) => r.closed.p50Ms,
    show: ms,
    compare: beyond,
  },
  {
    part: 'cancel',
    key: 'cancel_closed_p99',
    title: 'cancel → upstream closed p99',
    pick: (r) => r.closed.p99Ms,
    show: ms,
    compare: beyond,
  },
  {
    part: 'idle',
    key: 'idle_bytes',
    title: 'memory / idle connection',
    pick: (r) => r.bytes,
    show: kib,
    compare: alone(kib),
    aim: 25 * 1_024,
  },
  {
    part: 'turns',
    key: 'turn_bytes',
    title: 'memory / session after a turn',
    pick: (r) => r.bytes,
    show: kib,
    compare: alone(kib),
  },
];

/** `results`: part → the rounds of what is measured, and of what it is measured against. */
export function toRows(results) {
  return FIGURES.filter(({ part }) => results[part] !== undefined).map((figure) => {
    const { base, measured } = results[figure.part];
    const { key, title, pick, compare, aim } = figure;
    // By round, for both of one round met the same machine.
    const compared = measured.map((round, i) => compare.of(pick(base[i]), pick(round), round));
    const value = median(compared);
    return {
      key,
      title,
      base: median(base.map(pick)),
      midstream: median(measured.map(pick)),
      compared_by: compare.name,
      value,
      ...(aim !== undefined && { aim, reached: value <= aim }),
    };
  });
}

export function toTable(rows, sync) {
  const cells = rows.map((row) => {
    const figure = FIGURES.find(({ key }) => key === row.key);
    const { show, compare } = figure;
    const aim = row.aim === undefined ? '' : `≤ ${compare.show(row.aim)} ${row.reached ? 'reached' : 'MISSED'}`;
    return [row.title, show(row.base), show(row.midstream), compare.show(row.value), aim];
  });
  const head = ['', 'bare relay', 'Midstream', 'compared', 'aim'];
  const widths = head.map((_, column) => Math.max(...[head, ...cells].map((row) => row[column].length)));
  const line = (row) => `| ${row.map((cell, i) => cell.padEnd(widths[i])).join(' | ')} |`;
  const rule = `|${widths.map((width) => '-'.repeat(width + 2)).join('|')}|`;
  return `${[line(head), rule, ...cells.map(line)].join('\n')}\n\nfsync of this disk: p50 ${ms(sync.p50Ms)}, p99 ${ms(sync.p99Ms)}`;
}
