/** kill -9 at any moment: what was acknowledged is there, every turn ends once, and clients go on without a hole. */
import { setTimeout as after } from 'node:timers/promises';
import { type RecordedRequest, type Reply, startUpstream, type Upstream } from '../support/upstream/index.js';
import { createRandom, type Random } from '../core/support/random.js';
import { type BlackboxServer, PRIVATE, startBlackbox } from '../support/blackbox-server.js';
import { callHttp } from '../support/blackbox-http.js';
import { startToolServer, type ToolServer } from '../support/blackbox-tools.js';
import { ChaosUser } from '../support/ws-chaos.js';

const IS_LONG = process.env['MIDSTREAM_TEST_LONG'] === '1';
const SEED = Number(process.env['MIDSTREAM_TEST_SEED'] ?? 1_009);
const RUNS = IS_LONG ? 12 : 1;
const KILLS = IS_LONG ? 8 : 4;
const USERS = 5;

let upstream: Upstream;
let tools: ToolServer;
let server: BlackboxServer;

beforeAll(async () => {
  [upstream, tools] = await Promise.all([startUpstream(), startToolServer()]);
  const random = createRandom(SEED);
  tools.handle(() => after(random.int(60), 'found'));
});

afterAll(async () => {
  await Promise.all([upstream.close(), tools.close()]);
});

let calls = 0;
function replyTo(request: RecordedRequest, random: Random): Reply {
  const messages = request.body['messages'] as { role: string; content: { type: string; text?: string }[] }[];
  const last = messages.at(-1);
  const text = { type: 'text' as const, text: `${PRIVATE} `.repeat(5 + random.int(40)) };
  const pace = { everyMs: random.int(3) };
  const wanted = last?.content.map((block) => block.text ?? '').join(' ') ?? '';
  const call = (name: string) => ({ type: 'tool_use' as const, id: `toolu_${++calls}`, name, input: { n: calls } });
  if (wanted.endsWith('search')) return { blocks: [text, call('search_filings')], pace };
  if (wanted.endsWith('edit')) return { blocks: [call('edit_document'), text], pace };
  if (wanted.endsWith('both')) return { blocks: [text, call('search_filings'), call('edit_document')], pace };
  return { blocks: [text], pace };
}

describe('a server that is killed', () => {
  it.each(Array.from({ length: RUNS }, (_, n) => SEED + n))(
    '[NODE-2] [TURN-1] [CMD-2] [LOG-4] loses nothing that it acknowledged (seed %i)',
    async (seed) => {
      const random = createRandom(seed);
      upstream.script((request) => replyTo(request, random));
      server = await startBlackbox({
        upstream,
        config: { tools: [tools.toolConfig('search_filings', { idempotent: random.chance(0.5) })] },
      });
      const users = Array.from({ length: USERS }, (_, n) => new ChaosUser(`u${n}`, createRandom(seed * 31 + n)));
      await Promise.all(users.map((user) => user.begin(server.wsUrl)));
      for (let kill = 0; kill < KILLS; kill += 1) {
        await Promise.all(users.map((user) => user.work(server.wsUrl)));
        // A wait for time alone, for once: the moment of the kill is what is tried here.
        await after(20 + random.int(400));
        await server.kill();
        await Promise.all(users.map((user) => user.lost()));
        await server.start();
      }
      await Promise.all(users.map((user) => user.settle(server.wsUrl)));
      for (const user of users) await check(user);
      expect(upstream.violations).toEqual([]);
      await server.dispose();
    },
    IS_LONG ? 120_000 : 40_000,
  );
});

async function check(user: ChaosUser): Promise<void> {
  expect(user.violations).toEqual([]);
  const log = await readLog(user.sessionId);
  // What clients were shown is what the log holds, and completed events were shown without exception.
  const shown = [...user.seen.values()].filter((e) => e.type !== 'event_delta' && e.type !== 'event_start');
  const bySeq = new Map(log.map((event) => [event['seq'], event]));
  for (const { prev_seq: _, ...event } of shown) expect(bySeq.get(event.seq)).toEqual(event);
  expect(shown.map((event) => event.seq).sort((a, b) => a - b)).toEqual(log.map((event) => event['seq']));

  // Steers that missed their turn became turns of their own.
  const turns = new Set(
    log.filter((e) => e['type'] === 'user.message' || e['type'] === 'turn.queued').map((e) => e['turn_id']),
  );
  const ends = log.filter((e) => e['type'] === 'turn.ended').map((e) => e['turn_id']);
  expect(ends.length).toBe(new Set(ends).size);
  expect(new Set(ends)).toEqual(turns);
  for (const { command, accepted } of user.promises)
    expect(bySeq.get(accepted.applied_at_seq ?? 0)).toMatchObject({ type: 'user.message', command_id: command.id });
  const commands = log.filter((e) => e['type'] === 'user.message').map((e) => e['command_id']);
  expect(commands.length).toBe(new Set(commands).size);
  const said = log
    .filter((e) => e['type'] === 'agent.message' && !discarded(log).has(String(e['id'])))
    .map((e) => (e['content'] as { text?: string }[]).map((block) => block.text ?? '').join(''));
  expect(user.transcript.text).toBe(said.join(''));
}

const discarded = (log: readonly Record<string, unknown>[]): Set<string> =>
  new Set(log.flatMap((e) => (e['type'] === 'step.superseded' ? (e['discard_event_ids'] as string[]) : [])));

async function readLog(sessionId: string): Promise<readonly Record<string, unknown>[]> {
  const events: Record<string, unknown>[] = [];
  for (let page = ''; ; ) {
    const { body } = await callHttp(server.url, 'GET', `/v1/sessions/${sessionId}/events?limit=1000${page}`);
    events.push(...body.data);
    if (body.next_page === null) return events;
    page = `&page=${encodeURIComponent(body.next_page)}`;
  }
}
