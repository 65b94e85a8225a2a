/** The stop button: at any moment of a turn, from any connection and wire, seen from the model's side of the connection. */
import {
  type ManualReply,
  manualReply,
  type RecordedRequest,
  type Reply,
  startUpstream,
  textReply,
  type Upstream,
} from '../support/upstream/index.js';
import { createRandom, type Random } from '../core/support/random.js';
import { PRIVATE, within } from '../support/blackbox-server.js';
import { type Service, startService } from '../support/service.js';
import { callHttp } from '../support/blackbox-http.js';
import { startToolServer, type ToolServer } from '../support/blackbox-tools.js';
import type { WsRecorder } from '../support/ws-recorder.js';
import { Watchers } from '../support/ws-watchers.js';

const SEED = Number(process.env['MIDSTREAM_TEST_SEED'] ?? 20_261_121);
const ROUNDS = process.env['MIDSTREAM_TEST_LONG'] === '1' ? 60 : 8;
/** The server closes its connection before it answers; this is what two processes on a busy machine may differ by. */
const CLOSED_WITHIN_MS = 1_000;

let upstream: Upstream;
let tools: ToolServer;
let server: Service;
const watchers = new Watchers(() => server.wsUrl);
/** What is answered to the request whose last `case-…` is this. */
const replies = new Map<string, (request: RecordedRequest) => Reply>();
const requestsOf = (name: string) => upstream.requests.filter((request) => caseOf(request) === name);
const caseOf = ({ body }: RecordedRequest): string =>
  JSON.stringify(body['messages'])
    .match(/case-[\w-]+/g)
    ?.at(-1) ?? '';

beforeAll(async () => {
  [upstream, tools] = await Promise.all([startUpstream(), startToolServer()]);
  server = await startService({
    upstream,
    config: {
      tools: [tools.toolConfig('search_filings'), tools.toolConfig('send_mail')],
      roles: { admin: { tools: { allow: ['*'], ask: ['send_*'] }, models: ['*'], approve: ['*'] } },
    },
  });
  upstream.script((request) => replies.get(caseOf(request))?.(request) ?? textReply('Fine.'));
});

afterEach(async () => {
  await watchers.release();
  expect(upstream.violations).toEqual([]);
});

afterAll(async () => {
  await server.dispose();
  await Promise.all([upstream.close(), tools.close()]);
});

interface Scene {
  readonly client: WsRecorder;
  readonly sessionId: string;
  /** The id of the prompt's command. */
  readonly name: string;
  readonly random: Random;
}

/** Brings the turn that is named to a moment; the prompt is sent already. */
type Moment = (scene: Scene, turnId: string, manual: ManualReply) => Promise<void>;

const words = (random: Random): string[] => Array.from({ length: 1 + random.int(20) }, (_, n) => `word${n} `);

const MOMENTS: Record<string, Moment> = {
  'at once': async () => undefined,
  'before the headers': async (_scene, _turnId, manual) => {
    await manual.waitForRequest();
  },
  'before the first token': async ({ client }, turnId, manual) => {
    await manual.start();
    await client.event('span.model_request_start', { turnId });
  },
  'in the first block, still empty': async (_scene, _turnId, manual) => {
    await manual.start();
    manual.openText();
  },
  'mid-token': async ({ client, random }, turnId, manual) => {
    await manual.start();
    manual.openText();
    const said = words(random);
    for (const word of said) manual.text(word);
    // Perhaps before all of them came.
    if (random.chance(0.7)) await client.event('event_delta', { turnId });
  },
  'in thinking': async ({ client, random }, turnId, manual) => {
    await manual.start();
    manual.send({
      type: 'content_block_start',
      index: 0,
      content_block: { type: 'thinking', thinking: '', signature: '' },
    });
    for (const thinking of words(random))
      manual.send({ type: 'content_block_delta', index: 0, delta: { type: 'thinking_delta', thinking } });
    await client.event('event_delta', { turnId });
  },
  'in a tool_use, behind text': async ({ client }, turnId, manual) => {
    await manual.start();
    manual.openText();
    manual.text('I look. ');
    manual.closeBlock();
    const block = { type: 'tool_use', id: `toolu_${turnId.slice(5)}`, name: 'search_filings', input: {} };
    manual.send({ type: 'content_block_start', index: 1, content_block: block });
    const delta = { type: 'input_json_delta', partial_json: '{"query": "ha' };
    manual.send({ type: 'content_block_delta', index: 1, delta });
    await client.waitFor(
      (f) => f.type === 'event_delta' && f.turn_id === turnId && f.delta.type === 'input_json_delta',
      'the input of the call',
    );
  },
  'behind a complete tool_use': async ({ client }, turnId, manual) => {
    await manual.start();
    manual.toolUse(`toolu_${turnId.slice(5)}`, 'search_filings', { query: 'x' });
    manual.openText(1);
    manual.text('And more', 1);
    await client.event('agent.tool_use', { turnId });
  },
  'while tools run': async (_scene, turnId, manual) => {
    await manual.start();
    manual.toolUse(`toolu_a_${turnId.slice(5)}`, 'search_filings', { query: 'a' }, 0);
    manual.toolUse(`toolu_b_${turnId.slice(5)}`, 'search_filings', { query: 'b' }, 1);
    manual.finish('tool_use');
    await tools.waitForCall((c) => c.body.turn_id === turnId);
  },
  'while one of two tools has answered': async ({ client }, turnId, manual) => {
    await manual.start();
    manual.toolUse(`toolu_a_${turnId.slice(5)}`, 'search_filings', { query: 'a' }, 0);
    manual.toolUse(`toolu_b_${turnId.slice(5)}`, 'search_filings', { query: 'b' }, 1);
    manual.finish('tool_use');
    (await tools.waitForCall((c) => c.body.turn_id === turnId && c.body.input['query'] === 'a')).answer('found');
    await client.event('agent.tool_result', { turnId });
  },
  'while an approver is waited for': async ({ client }, turnId, manual) => {
    await manual.start();
    manual.toolUse(`toolu_${turnId.slice(5)}`, 'send_mail', { to: 'ada' });
    manual.finish('tool_use');
    await client.event('turn.waiting', { turnId });
  },
};

function interruptBy(scene: Scene, sent: { turnId: string; messageId: string }): Record<string, unknown> {
  const { random, name } = scene;
  return random.pick([
    {},
    { turn_id: sent.turnId },
    { message_id: sent.messageId },
    { command_id: name },
    { turn_id: sent.turnId, reason: 'enough' },
  ]);
}

async function cancelAt(moment: Moment, scene: Scene, other: WsRecorder): Promise<number> {
  const { client, sessionId, name, random } = scene;
  const manual = manualReply();
  replies.set(name, () => manual);
  const { result } = await client.prompt(sessionId, `${name} ${PRIVATE}`, { id: name });
  const turnId = result.turn_id as string;
  await moment(scene, turnId, manual);
  const target = interruptBy(scene, { turnId, messageId: result.message_id });
  const interrupt = { type: 'user.interrupt' as const, session_id: sessionId, ...target };
  const reply = await random.pick([client, other]).accepted(interrupt);
  const acceptedAt = performance.now();
  expect(reply.result).toMatchObject({ turn_id: turnId, outcome: 'cancelled' });

  const lags = await Promise.all(
    requestsOf(name).map(async (request) => {
      const closing = await within(request.closed, CLOSED_WITHIN_MS, 'the upstream saw no close');
      return closing.at - acceptedAt;
    }),
  );
  const ended = await client.event('turn.ended', { turnId });
  expect(ended).toMatchObject({ stop_reason: 'cancelled', partial: true });
  checkWhatStayed(scene, turnId, reply.applied_at_seq ?? 0);
  const runs = tools.calls.filter((call) => call.body.turn_id === turnId);
  await within(Promise.all(runs.map((call) => call.closed)), CLOSED_WITHIN_MS, 'a tool was not aborted');
  await watchers.turn(client, sessionId, `case-after-${name} ${PRIVATE}`);
  return Math.max(0, ...lags);
}

function checkWhatStayed({ client, sessionId }: Scene, turnId: string, appliedAt: number): void {
  const events = client.events(sessionId).filter((event) => event.turn_id === turnId);
  const late = events.filter(
    (e) => e.seq > appliedAt && ['event_delta', 'event_start', 'tool.started'].includes(e.type),
  );
  expect(late).toEqual([]);
  const said = events.flatMap((e) =>
    e.type === 'event_delta' && e.delta.type === 'content_delta' ? [e.delta.content.text] : [],
  );
  const kept = events.flatMap((e) =>
    e.type === 'agent.message' ? e.content.map((block) => String(block['text'])) : [],
  );
  expect(kept.join('')).toBe(said.join(''));
  const uses = events.flatMap((e) => (e.type === 'agent.tool_use' ? [e.id] : []));
  const results = events.flatMap((e) => (e.type === 'agent.tool_result' ? [e.tool_use_id] : []));
  expect(results.sort()).toEqual(uses.sort());
}

describe('an interrupt', () => {
  let count = 0;

  it.each(Object.entries(MOMENTS))(
    '[CAN-1] [CAN-2] [CAN-3] %s: the model’s connection is closed, what was produced stays, the session goes on',
    async (name, moment) => {
      const seed = SEED + Object.keys(MOMENTS).indexOf(name);
      const random = createRandom(seed);
      const [client, other] = await watchers.connectMany(2);
      const sessionId = await client.openSession();
      const lags: number[] = [];
      for (let round = 0; round < ROUNDS; round += 1) {
        count += 1;
        const scene = { client, sessionId, name: `case-${count}`, random };
        try {
          lags.push(await cancelAt(moment, scene, other));
        } catch (error) {
          throw new Error(`${name}, round ${round}, seed ${seed}: ${(error as Error).message}`, { cause: error });
        }
      }
      // On a quiet machine below 5 ms; never seconds.
      expect(lags.sort((a, b) => a - b)[Math.floor(lags.length / 2)]).toBeLessThan(100);
    },
  );

  it('[CAN-2] at random moments of a stream that doesn’t stop by itself', async () => {
    const random = createRandom(SEED);
    const client = await watchers.connect();
    const sessionId = await client.openSession();
    const chunks = Array.from({ length: 2_000 }, (_, n) => `w${n} `);
    for (let round = 0; round < ROUNDS * 2; round += 1) {
      const name = `case-stream-${round}`;
      replies.set(name, () => ({
        blocks: [{ type: 'text', text: chunks.join(''), chunks }],
        packing: { eventsPerWrite: 1 + random.int(4) },
        pace: { everyMs: 1 },
      }));
      const { result } = await client.prompt(sessionId, `${name} ${PRIVATE}`);
      const turnId = result.turn_id as string;
      const wanted = random.int(60);
      let seen = 0;
      await client.waitFor(
        (f) => f.type === 'event_delta' && f.turn_id === turnId && seen++ >= wanted,
        `${wanted} deltas`,
      );
      const reply = await client.accepted({ type: 'user.interrupt', session_id: sessionId, turn_id: turnId });
      const [request] = requestsOf(name);
      expect((await within(request?.closed ?? Promise.reject(), CLOSED_WITHIN_MS, `seed ${SEED}: no close`)).by).toBe(
        'client',
      );
      await client.event('turn.ended', { turnId });
      checkWhatStayed({ client, sessionId, name, random }, turnId, reply.applied_at_seq ?? 0);
    }
  });

  it('[CAN-1] over REST, and of a turn that waits to be tried again', async () => {
    replies.set('case-529', () => ({ status: 529, body: { type: 'overloaded_error', message: 'busy' } }));
    const client = await watchers.connect();
    const sessionId = await client.openSession();
    const { result } = await client.prompt(sessionId, `case-529 ${PRIVATE}`);
    await client.event('session.error', { sessionId });
    const { status, body } = await callHttp(server.url, 'POST', `/v1/sessions/${sessionId}/events`, {
      events: [{ type: 'user.interrupt', turn_id: result.turn_id }],
    });
    expect([status, body.data[0].outcome]).toEqual([200, 'cancelled']);
    expect(await client.event('turn.ended', { turnId: result.turn_id })).toMatchObject({ stop_reason: 'cancelled' });
    expect(requestsOf('case-529')).toHaveLength(1);
  });

  it('[CAN-1] of a queued turn takes it from the queue; with its scope, all of them', async () => {
    const manual = manualReply();
    replies.set('case-running', () => manual);
    const client = await watchers.connect();
    const sessionId = await client.openSession();
    const running = await client.prompt(sessionId, `case-running ${PRIVATE}`);
    const queued = [];
    for (const name of ['one', 'two', 'three']) queued.push(await client.prompt(sessionId, `case-${name}`));
    const [one, two, three] = queued.map((reply) => reply.result.turn_id as string);
    const interrupt = { type: 'user.interrupt' as const, session_id: sessionId };
    expect((await client.accepted({ ...interrupt, turn_id: two })).result.outcome).toBe('cancelled');
    expect(await client.event('turn.ended', { turnId: two as string })).toMatchObject({ stop_reason: 'cancelled' });
    await client.accepted({ ...interrupt, scope: 'turn_and_queue' });
    for (const turnId of [running.result.turn_id, one, three])
      expect(await client.event('turn.ended', { turnId })).toMatchObject({ stop_reason: 'cancelled' });
    expect(requestsOf('case-one').length + requestsOf('case-two').length + requestsOf('case-three').length).toBe(0);
    await watchers.turn(client, sessionId, 'case-next');
    expect(JSON.stringify(upstream.requests.at(-1)?.body['messages'])).not.toMatch(/case-(one|two|three)/);
  });

  it('[CAN-4] of what has ended is accepted, says so, and appends nothing', async () => {
    const client = await watchers.connect();
    const sessionId = await client.openSession();
    const ended = await watchers.turn(client, sessionId, `case-done ${PRIVATE}`);
    await client.event('session.status_idle', { sessionId });
    const head = client.lastSeq(sessionId);
    for (const target of [{}, { turn_id: ended.turn_id }]) {
      const reply = await client.accepted({ type: 'user.interrupt', session_id: sessionId, ...target });
      expect(reply).toMatchObject({
        applied_at_seq: ended.seq,
        result: { outcome: 'already_ended', turn_id: ended.turn_id },
      });
    }
    await watchers.turn(client, sessionId, 'case-next');
    expect(client.events(sessionId).find((event) => event.seq === head + 1)?.type).toBe('user.message');
  });

  it('[CAN-1] [CAN-4] from many at once cancels once', async () => {
    for (let round = 0; round < 10; round += 1) {
      const manual = manualReply();
      replies.set(`case-many-${round}`, () => manual);
      const [ada, ben, eve] = await watchers.connectMany(3);
      const sessionId = await ada.openSession();
      const { result } = await ada.prompt(sessionId, `case-many-${round} ${PRIVATE}`);
      await manual.start();
      const interrupt = { type: 'user.interrupt' as const, session_id: sessionId, turn_id: result.turn_id };
      const outcomes = await Promise.all(
        [ada, ben, eve].map(async (c) => (await c.accepted(interrupt)).result.outcome),
      );
      expect(outcomes.sort()).toEqual(['already_ended', 'already_ended', 'cancelled']);
      await ada.event('turn.ended', { turnId: result.turn_id });
      await watchers.release();
    }
  });

  it('[CAN-5] tells the model which call had begun and which had not', async () => {
    const manual = manualReply();
    replies.set('case-begun', () => manual);
    const client = await watchers.connect();
    const sessionId = await client.openSession();
    const { result } = await client.prompt(sessionId, `case-begun ${PRIVATE}`);
    await manual.start();
    manual.toolUse('toolu_begun', 'search_filings', { query: 'x' }, 0);
    manual.toolUse('toolu_not', 'send_mail', { to: 'ada' }, 1);
    manual.finish('tool_use');
    const call = await tools.waitForCall((c) => c.body.turn_id === result.turn_id);
    await client.accepted({ type: 'user.interrupt', session_id: sessionId });
    expect(await call.closed).toBe('aborted');
    await watchers.turn(client, sessionId, 'case-later');
    const results = JSON.stringify(upstream.requests.at(-1)?.body['messages']);
    expect(results).toMatch(/toolu_begun[^}]*}?[^}]*Cancelled while running/);
    expect(results).toMatch(/toolu_not[^}]*}?[^}]*Not run/);
    const outcomes = client.events(sessionId).flatMap((e) => (e.type === 'agent.tool_result' ? [e.outcome] : []));
    expect(outcomes).toEqual(['cancelled', 'cancelled']);
  });
});
