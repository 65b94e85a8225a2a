/** The stop button pressed on one node while another streams: judged at the moment when the answer arrives. */
import { type BlackboxServer, PRIVATE, within } from '../support/blackbox-server.js';
import { startToolServer, type ToolServer } from '../support/blackbox-tools.js';
import { type Nodes, startNodes } from '../support/service.js';
import {
  type ManualReply,
  manualReply,
  type RecordedRequest,
  startUpstream,
  textReply,
  type Upstream,
} from '../support/upstream/index.js';
import type { Accepted, CommandInput, WsRecorder } from '../support/ws-recorder.js';
import { Watchers } from '../support/ws-watchers.js';

const ROUNDS = process.env['MIDSTREAM_TEST_LONG'] === '1' ? 60 : 6;

let upstream: Upstream;
let tools: ToolServer;
let service: Nodes;
const [onA, onB] = [0, 1].map((at) => new Watchers(() => (service.nodes[at] as BlackboxServer).wsUrl)) as [
  Watchers,
  Watchers,
];

beforeAll(async () => {
  [upstream, tools] = await Promise.all([startUpstream(), startToolServer()]);
  const roles = { admin: { tools: { allow: ['*'] }, models: ['*'], approve: ['*'] } };
  service = await startNodes(2, { upstream, config: { tools: [tools.toolConfig('search_filings')], roles } });
});
afterEach(async () => {
  await onA.release();
  await onB.release();
  expect(upstream.violations).toEqual([]);
});
afterAll(async () => {
  await service.dispose();
  await Promise.all([upstream.close(), tools.close()]);
});

interface Scene {
  readonly a: WsRecorder;
  readonly b: WsRecorder;
  readonly sessionId: string;
}

/** The session's actor is on the first node; both watch. */
async function open(): Promise<Scene> {
  const [a, b] = await Promise.all([onA.connect(), onB.connect()]);
  const sessionId = await a.openSession();
  await b.attach(sessionId);
  return { a, b, sessionId };
}

/** Replies that are sent by hand, each to the next request. */
function byHand<N extends number>(count: N): readonly ManualReply[] & { readonly length: N } {
  const replies = Array.from({ length: count }, () => manualReply());
  upstream.script([...replies, textReply('Fine.')]);
  return replies as never;
}

/**
 * What reached this process before the answer did is told a few turns of its loop later: a response that is being written
 * learns of its connection's end when what it wrote comes back.
 */
const TURNS = 10;

async function expectClosed(request: RecordedRequest | undefined): Promise<void> {
  for (let turn = 0; turn < TURNS && !request?.closing; turn += 1)
    await new Promise<void>((resolve) => void setImmediate(resolve));
  expect(request?.closing).toMatchObject({ by: 'client' });
}

/** Sends from the second node. When the answer is there, the model's side has seen its connection closed already. */
async function stopFromB({ b, sessionId }: Scene, reply: ManualReply, command: CommandInput): Promise<Accepted> {
  const request = await reply.waitForRequest();
  const accepted = await b.accepted({ ...command, session_id: sessionId } as CommandInput);
  await expectClosed(request);
  return accepted;
}

/** [CAN-2] on every node: nothing of the turn was said, and no tool of it begun, after the command took effect. */
async function expectSilence({ a, b }: Scene, turnId: string, appliedAt: number): Promise<void> {
  for (const client of [a, b]) {
    expect(await client.event('turn.ended', { turnId })).toMatchObject({ stop_reason: 'cancelled' });
    const late = client
      .events()
      .filter(({ seq, turn_id }) => turn_id === turnId && seq > appliedAt)
      .map(({ type }) => type);
    expect(late).not.toContain('event_delta');
    expect(late).not.toContain('event_start');
    expect(late).not.toContain('tool.started');
  }
}

type Moment = (reply: ManualReply, scene: Scene, turnId: string) => Promise<unknown>;
const WORDS = Array.from({ length: 30 }, (_, n) => `word${n} `);

const MOMENTS: Record<string, Moment> = {
  'before the headers': (reply) => reply.waitForRequest(),
  'mid-token': async (reply, { b }, turnId) => {
    await reply.start();
    reply.openText();
    for (const word of WORDS) reply.text(word);
    // Perhaps before all of them came.
    await b.event('event_delta', { turnId });
  },
  'behind a complete tool_use': async (reply, { a }, turnId) => {
    await reply.start();
    reply.toolUse(`toolu_${turnId.slice(5)}`, 'search_filings', { query: 'x' });
    reply.openText(1);
    reply.text('And more', 1);
    await a.event('agent.tool_use', { turnId });
  },
};

describe('an interrupt sent to a node that does not run the turn', () => {
  it.each(Object.entries(MOMENTS))('[CAN-1] [CAN-2] %s: the model’s connection is closed first', async (_, moment) => {
    const scene = await open();
    for (let round = 0; round < ROUNDS; round += 1) {
      const [reply] = byHand(1);
      const { result } = await scene.a.prompt(scene.sessionId, `Say it, ${PRIVATE}.`);
      await moment(reply as ManualReply, scene, result.turn_id);
      const stopped = await stopFromB(scene, reply as ManualReply, { type: 'user.interrupt' } as CommandInput);
      expect(stopped.result).toMatchObject({ turn_id: result.turn_id, outcome: 'cancelled' });
      await expectSilence(scene, result.turn_id, stopped.applied_at_seq as number);
    }
  });

  it('[CAN-2] while the model speaks on by itself', async () => {
    const scene = await open();
    const chunks = Array.from({ length: 2_000 }, (_, n) => `w${n} `);
    for (let round = 0; round < ROUNDS; round += 1) {
      const block = { type: 'text' as const, text: chunks.join(''), chunks };
      upstream.script([{ blocks: [block], packing: { eventsPerWrite: 1 + (round % 4) }, pace: { everyMs: 1 } }]);
      const { result } = await scene.a.prompt(scene.sessionId, `Say much, ${PRIVATE}.`);
      const enough = 1 + ((round * 17) % 60);
      let seen = 0;
      await scene.b.waitFor(
        (f) => f.type === 'event_delta' && f.turn_id === result.turn_id && ++seen >= enough,
        `${enough} deltas`,
      );
      const interrupt = { type: 'user.interrupt' as const, session_id: scene.sessionId, turn_id: result.turn_id };
      const stopped = await scene.b.accepted(interrupt);
      await expectClosed(upstream.requests.at(-1));
      await expectSilence(scene, result.turn_id, stopped.applied_at_seq as number);
    }
  });

  it('[CAN-2] [CAN-5] while a tool runs: it is aborted, and none begins', async () => {
    const scene = await open();
    const [reply] = byHand(1);
    const { result } = await scene.a.prompt(scene.sessionId, `Look it up, ${PRIVATE}.`);
    await (reply as ManualReply).start();
    reply?.toolUse('toolu_elsewhere', 'search_filings', { query: 'x' });
    reply?.finish('tool_use');
    const call = await tools.waitForCall((one) => one.body.turn_id === result.turn_id);
    const stopped = await scene.b.accepted({ type: 'user.interrupt', session_id: scene.sessionId });
    expect(await within(call.closed, 1_000, 'the tool was not aborted')).toBe('aborted');
    await expectSilence(scene, result.turn_id, stopped.applied_at_seq as number);
  });

  it('[CAN-1] by the id of a message whose reply its sender has not read', async () => {
    for (let round = 0; round < ROUNDS; round += 1) {
      const scene = await open();
      const [reply] = byHand(1);
      scene.a.pause();
      const command_id = scene.a.send({ type: 'user.message', session_id: scene.sessionId, content: 'Say it.' });
      const { turn_id } = await scene.b.event('turn.started', { sessionId: scene.sessionId });
      const stopped = await stopFromB(scene, reply as ManualReply, { type: 'user.interrupt', command_id } as never);
      expect(stopped.result).toMatchObject({ turn_id, outcome: 'cancelled' });
      scene.a.resume();
      expect(await scene.a.replyTo(command_id)).toMatchObject({ type: 'command.accepted', result: { turn_id } });
      await expectSilence(scene, turn_id as string, stopped.applied_at_seq as number);
    }
  });

  it('[CAN-1] by the id of a message that is sent at the same moment: not found before it is there, cancelled then', async () => {
    upstream.script(() => ({ hang: 'before_headers' }));
    for (let round = 0; round < ROUNDS; round += 1) {
      const scene = await open();
      const { sessionId, a, b } = scene;
      const before = upstream.requests.length;
      const command_id = a.send({ type: 'user.message', session_id: sessionId, content: 'Say it.' });
      let reply = await b.request({ type: 'user.interrupt', session_id: sessionId, command_id });
      while (reply.type === 'command.rejected') {
        expect(reply.error.code).toBe('turn_not_found');
        reply = await b.request({ type: 'user.interrupt', session_id: sessionId, command_id });
      }
      for (const request of upstream.requests.slice(before)) await expectClosed(request);
      const message = await a.replyTo(command_id);
      expect(message).toMatchObject({ type: 'command.accepted' });
      const turnId = (message as Accepted).result.turn_id as string;
      expect(reply.result).toMatchObject({ turn_id: turnId, outcome: 'cancelled' });
      await expectSilence(scene, turnId, reply.applied_at_seq as number);
    }
  });
});

describe('a steer that does not wait, sent to a node that does not run the turn', () => {
  it('[CAN-2] has the model’s connection closed before it is accepted, and the turn goes on with it', async () => {
    const scene = await open();
    for (let round = 0; round < ROUNDS; round += 1) {
      const [first, second] = byHand(2);
      const { result } = await scene.a.prompt(scene.sessionId, `Say it, ${PRIVATE}.`);
      const turnId = result.turn_id as string;
      await (first as ManualReply).start();
      first?.openText();
      for (const word of WORDS) first?.text(word);
      const { event_id } = await scene.b.event('event_delta', { turnId });
      const steer = { type: 'user.steer', content: `Shorter ${round}.`, apply: 'now' } as CommandInput;
      const steered = await stopFromB(scene, first as ManualReply, steer);
      expect(steered.result).toMatchObject({ turn_id: turnId, outcome: 'joined' });
      await (second as ManualReply).start();
      second?.openText();
      second?.text('Short.');
      second?.closeBlock();
      second?.finish();
      for (const client of [scene.a, scene.b]) {
        expect(await client.event('turn.ended', { turnId })).toMatchObject({ stop_reason: 'end_turn' });
        const late = client
          .events()
          .filter((e) => e.type === 'event_delta' && e.event_id === event_id && e.seq > (steered.applied_at_seq ?? 0));
        expect(late).toEqual([]);
      }
      expect(JSON.stringify(upstream.requests.at(-1)?.body['messages'])).toContain(`Shorter ${round}.`);
    }
  });
});
