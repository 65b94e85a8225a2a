/** Three servers that are killed, stopped and drained under load: for their clients they are one that never was away. */
import { setTimeout as delay } from 'node:timers/promises';
import { createRandom, type Random } from '../core/support/random.js';
import type { LoggedEvent } from '../support/command-book.js';
import { type CrowdSession, NodeCrowd } from '../support/node-crowd.js';
import { NodeFarm } from '../support/node-farm.js';
import { createModel } from '../support/node-model.js';
import { DEEDS, type Deed, type Disturbance, Saboteur } from '../support/node-saboteur.js';
import { boundSpending } from '../support/spending-bounds.js';
import type { RecordedRequest, Reply } from '../support/upstream/index.js';

const IS_LONG = process.env['MIDSTREAM_TEST_LONG'] === '1';
const SEED = Number(process.env['MIDSTREAM_TEST_SEED'] ?? 4_001);
const RUNS = IS_LONG ? 5 : 1;
const NODES = 3;
const SESSIONS = 8;
const CLIENTS_EACH = 3;
const FAULTS = 0.04;
/** Holds of a dead node lapse 10 s after its last heartbeat, and the next sweep of any other settles them. */
const HOLDS_MS = 20_000;

/** What lasts longest comes first; each is there once. */
const shortPlan = (random: Random): readonly Deed[][] =>
  random.chance(0.5) ? [['kill'], ['stop'], ['drain']] : [['stop'], ['kill'], ['drain']];

/** Now and then two at a time: the third node is then alone. */
const longPlan = (random: Random): readonly Deed[][] => [
  ...shortPlan(random),
  ...Array.from({ length: 12 }, () => Array.from({ length: random.chance(0.3) ? 2 : 1 }, () => random.pick(DEEDS))),
];

let farm: NodeFarm | undefined;
afterEach(async () => {
  await farm?.dispose();
  farm = undefined;
});

describe('servers that go down one after the other', () => {
  it.each(Array.from({ length: RUNS }, (_, n) => SEED + n))(
    '[NODE-1] [NODE-2] [NODE-3] [LOG-1] [CMD-2] [TURN-1] [BUD-2] [BUD-4] are one to all their clients (seed %i)',
    async (seed) => {
      const random = createRandom(seed);
      farm = await NodeFarm.start({ nodes: NODES, users: SESSIONS });
      const model = createModel(random);
      model.faults = FAULTS;
      farm.upstream.script((request) => model.answer(request));
      farm.tools.handle(() => delay(random.int(600), 'found'));
      const saboteur = new Saboteur(farm, createRandom(seed + 1));
      const mood = { drops: 0.1, acts: 'all' as const };
      const crowd = await NodeCrowd.create(farm, { sessions: SESSIONS, clientsEach: CLIENTS_EACH, seed, mood });

      const logs = await crowd.work(async () => {
        for (const deeds of (IS_LONG ? longPlan : shortPlan)(random)) {
          // The moment is what is tried here.
          await delay(200 + random.int(500));
          await Promise.all(deeds.map((deed) => saboteur.strike(deed)));
        }
        await delay(500);
        model.faults = 0;
        model.paceMs = 1;
      });

      const happened = { disturbances: saboteur.done, faults: 'some' as const };
      for (const [session, log] of logs) expect(crowd.violationsOf(session, log, happened)).toEqual([]);
      for (const [session, log] of logs)
        for (const node of farm.nodes.keys()) expect(await crowd.readLog(session, node)).toEqual(log);
      expect(farm.upstream.violations).toEqual([]);
      expect(callsMadeTwice(farm)).toEqual([]);
      const counts = await checkSpending(farm, logs, saboteur.done, model.replies);
      tell(seed, crowd, logs, saboteur.done, counts);
      expect(recoveriesIn([...logs.values()].flat())).toBeGreaterThan(0);
    },
    IS_LONG ? 300_000 : 90_000,
  );
});

/** A tool that is not idempotent runs at most once (NODE-2). */
function callsMadeTwice({ tools }: NodeFarm): readonly string[] {
  const ids = tools.calls.filter(({ name }) => name === 'send_mail').map(({ body }) => body.tool_use_id);
  return ids.filter((id, n) => ids.indexOf(id) !== n);
}

/** Holds nothing any more, and has counted what was used (BUD-2, BUD-4), on whichever node it is asked for. */
async function checkSpending(
  served: NodeFarm,
  logs: ReadonlyMap<CrowdSession, readonly LoggedEvent[]>,
  disturbances: readonly Disturbance[],
  replies: ReadonlyMap<number, Reply>,
): Promise<SpendingCounts> {
  const counts = { used: 0, exact: 0, bounded: 0, slack: 0 };
  for (const [{ user }, log] of logs) {
    const { used } = await served.settledDay(user, HOLDS_MS);
    const requests = served.upstream.requests.filter((request) => userOf(request) === user);
    const bounds = boundSpending({ log, requests, replies, disturbances, nodeOf: (request) => served.nodeOf(request) });
    expect(bounds.violations).toEqual([]);
    if (used < bounds.least || used > bounds.most) {
      const { body } = await served.get(0, user, '/v1/usage?group_by=session');
      const { least, most, parts } = bounds;
      throw new Error(
        `[BUD-2] ${used} are charged, ${least} to ${most} are due: ${JSON.stringify([body.spend, parts])}`,
      );
    }
    counts.used += used;
    counts.exact += bounds.exact;
    counts.bounded += bounds.bounded;
    counts.slack += bounds.most - bounds.least;
  }
  return counts;
}

interface SpendingCounts {
  readonly used: number;
  readonly exact: number;
  readonly bounded: number;
  readonly slack: number;
}

/** Each client's name stands in what it says. */
const userOf = ({ body }: RecordedRequest): number =>
  Number(/\bu(\d+)c\d+-/.exec(JSON.stringify(body['messages']))?.[1] ?? -1);

const recoveriesIn = (events: readonly LoggedEvent[]): number =>
  events.filter(
    ({ type, recovery }) => type === 'step.superseded' || (type === 'turn.resumed' && recovery !== undefined),
  ).length;

function tell(
  seed: number,
  crowd: NodeCrowd,
  logs: ReadonlyMap<CrowdSession, readonly LoggedEvent[]>,
  disturbances: readonly Disturbance[],
  spending: SpendingCounts,
): void {
  const events = [...logs.values()].flat();
  const ends = events.filter(({ type }) => type === 'turn.ended').map((event) => String(event['stop_reason']));
  const stops = Object.fromEntries([...new Set(ends)].map((stop) => [stop, ends.filter((it) => it === stop).length]));
  const booked = crowd.sessions.flatMap(({ book }) => book.commands);
  const told = {
    deeds: disturbances.map(({ deed, node }) => `${deed} ${node}`).join(', '),
    turns: stops,
    recoveries: recoveriesIn(events),
    commands: booked.length,
    sentAgain: booked.filter(({ sends }) => sends > 1).length,
    connections: crowd.clients.reduce((sum, { connections }) => sum + connections, 0),
    ...spending,
  };
  console.info(`seed ${seed}: ${JSON.stringify(told)}`);
}
