/** Starts the suites that take longest first, also where no earlier run has told Jest how long: one that starts last is waited for alone. */
import { existsSync } from 'node:fs';
import { fileURLToPath } from 'node:url';
import Sequencer from '@jest/test-sequencer';

/** By the time that they take on two cores, longest first; what is not named follows in Jest's own order. */
const SLOW = [
  'e2e/many-nodes',
  'transports/redis-stalled',
  'e2e/floods',
  'session/room.fuzz',
  'chaos/nodes',
  'e2e/shared-budget',
  'browser/page',
  'scripts/build',
  'e2e/operations',
  'e2e/two-nodes',
  'scripts/prepare',
  'chaos/kill',
  'adapters/redis-changes',
  'e2e/over-two-nodes',
  'e2e/upstream-faults',
  'contract/redis-ledger',
  'adapters/redis-inbox',
  'chaos/flood',
  'e2e/resume',
  'transports/session-room',
];

const paths = SLOW.map((name) => fileURLToPath(new URL(`${name}.test.ts`, import.meta.url)));
for (const path of paths)
  if (!existsSync(path)) throw new Error(`tests/slow-first.mjs names ${path}, which is not there`);

const rankOf = ({ path }) => {
  const rank = paths.indexOf(path);
  return rank === -1 ? SLOW.length : rank;
};

export default class SlowFirst extends Sequencer {
  async sort(tests) {
    return [...(await super.sort(tests))].sort((one, other) => rankOf(one) - rankOf(other));
  }
}
