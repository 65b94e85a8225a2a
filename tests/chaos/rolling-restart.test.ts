/** All servers restarted one after the other under load, as a deployment does: nobody's turn is the worse for it. */
import { setTimeout as delay } from 'node:timers/promises';
import { createRandom } from '../core/support/random.js';
import { NodeCrowd } from '../support/node-crowd.js';
import { NodeFarm } from '../support/node-farm.js';
import { createModel } from '../support/node-model.js';
import { Saboteur } from '../support/node-saboteur.js';

const SEED = Number(process.env['MIDSTREAM_TEST_SEED'] ?? 5_003);
/** On demand, for it takes some 20 s; `many-nodes.test.ts` always tries one server's end. */
const itLong = process.env['MIDSTREAM_TEST_LONG'] === '1' ? it : it.skip;
const ROUNDS = 3;
const NODES = 3;
const SESSIONS = 6;

let farm: NodeFarm | undefined;
afterEach(async () => {
  await farm?.dispose();
  farm = undefined;
});

itLong(
  `[NODE-1] [NODE-2] [LOG-1] [TURN-1] a rolling restart ends no turn early and loses nothing (seed ${SEED})`,
  async () => {
    const served = await NodeFarm.start({ nodes: NODES, users: SESSIONS });
    farm = served;
    const model = createModel(createRandom(SEED));
    served.upstream.script((request) => model.answer(request));
    served.tools.handle(() => delay(20, 'found'));
    const saboteur = new Saboteur(served, createRandom(SEED + 1));
    const mood = { drops: 0, acts: 'prompts' as const };
    const crowd = await NodeCrowd.create(served, { sessions: SESSIONS, clientsEach: 2, seed: SEED, mood });

    const logs = await crowd.work(async () => {
      for (let n = 0; n < ROUNDS * NODES; n += 1) {
        await served.answering(n % NODES);
        await saboteur.strike('drain', n % NODES);
      }
    });

    const happened = { disturbances: saboteur.done, faults: 'none' as const };
    for (const [session, log] of logs) expect(crowd.violationsOf(session, log, happened)).toEqual([]);
    const events = [...logs.values()].flat();
    const stops = events.filter(({ type }) => type === 'turn.ended').map((event) => event['stop_reason']);
    expect(new Set(stops)).toEqual(new Set(['end_turn']));
    expect(served.upstream.violations).toEqual([]);
    const moved = events.filter(({ type }) => type === 'step.superseded').length;
    console.info(
      `seed ${SEED}: ${stops.length} turns, ${moved} went on elsewhere, refused: ${crowd.refusals().join()}`,
    );
    expect(moved).toBeGreaterThan(0);
  },
  ROUNDS * 60_000,
);
