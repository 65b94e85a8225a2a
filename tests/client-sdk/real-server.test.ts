/** The client against the whole server: the answer is whole, and every watcher sees the same, whatever happens to connections. */
import { createClient, type MidstreamClient, type Session } from '../../client-sdk/index.js';
import { startTestServer, type TestServer } from '../../server/testing.js';
import { createRandom } from './support/random.js';
import { toView } from './support/view.js';

const WORDS = Array.from({ length: 120 }, (_, at) => `word${at}`).join(' ');
const say = (text: string, tokens_per_second?: number) => ({
  type: 'text' as const,
  text,
  ...(tokens_per_second && { tokens_per_second }),
});
const script = {
  turns: [
    {
      match: { text: 'tools' },
      steps: [
        {
          blocks: [
            { type: 'thinking', thinking: 'Both at once.' },
            say('I look and ask.', 400),
            { type: 'tool_use', name: 'look', input: { at: 'sea' } },
            { type: 'tool_use', name: 'ask_user', input: { question: 'which?' } },
          ],
        },
        { blocks: [say(WORDS, 400)] },
      ],
    },
    {
      match: { text: 'one call' },
      steps: [{ blocks: [{ type: 'tool_use', name: 'look', input: {} }] }, { blocks: [say('Seen.')] }],
    },
    { match: { text: 'slow' }, steps: [{ blocks: [say(WORDS, 40)] }] },
  ],
  fallback: { steps: [{ blocks: [say(WORDS, 400)] }] },
};

let server: TestServer;
const clients: MidstreamClient[] = [];
beforeAll(async () => {
  server = await startTestServer({ script });
});
afterEach(() => {
  for (const client of clients.splice(0)) client.close();
});
afterAll(() => server.stop());

function connect(): MidstreamClient {
  const client = createClient({ url: server.url, backoff: { baseMs: 4, maxMs: 16 }, onError: () => {} });
  clients.push(client);
  return client;
}

const settled = (session: Session, isSettled: () => boolean): Promise<void> =>
  new Promise((resolve) => {
    if (isSettled()) return resolve();
    const stop = session.subscribe(() => {
      if (!isSettled()) return;
      stop();
      resolve();
    });
  });
const idle = (session: Session): Promise<void> => settled(session, () => session.transcript.status === 'idle');

const seed = Number(process.env['FUZZ_SEED'] ?? Math.floor(Math.random() * 1e6));

it.each(Array.from({ length: 6 }, (_, at) => seed + at))(
  '[LOG-4] gets the whole answer once, whenever the connection drops, seed %i',
  async (own) => {
    const random = createRandom(own);
    const client = connect();
    const session = await client.createSession();
    session.subscribe(() => {
      if (random.chance(0.08)) client.drop();
    });
    const turn = session.prompt('go');
    let streamed = '';
    for await (const piece of turn.textStream()) streamed += piece;
    await expect(turn.text).resolves.toBe(WORDS);
    expect(streamed).toBe(WORDS);
    await expect(turn.ended).resolves.toMatchObject({ stop_reason: 'end_turn', partial: false });
  },
);

it('[LOG-4] shows a watcher who comes in the middle the same as one who saw it all', async () => {
  const first = await connect().createSession();
  const views: Session[] = [];
  let seen = 0;
  first.subscribe(() => {
    seen += 1;
    if (seen % 12 === 0 && views.length < 12) views.push(connect().session(first.id));
  });
  first.tool({ name: 'look', description: 'd', input_schema: { type: 'object' } }, async () => {
    await settled(first, () => views.length >= 2);
    return 'a ship';
  });
  const second = first.tool({ name: 'ask_user', description: 'd', input_schema: { type: 'object' } }, () => 'both');
  await second.registered;
  const turn = first.prompt('tools');
  await turn.ended;
  await idle(first);
  const whole = toView(first.transcript);
  expect(views.length).toBeGreaterThan(3);
  for (const view of views) {
    await settled(view, () => view.transcript.seq >= first.transcript.seq);
    expect(toView(view.transcript)).toEqual(whole);
  }
  await expect(turn.text).resolves.toBe(`I look and ask.\n\n${WORDS}`);
});

it('[CAN-1] cancels in the same tick as the prompt', async () => {
  const session = await connect().createSession();
  const turn = session.prompt('slow');
  await expect(turn.cancel()).resolves.toMatchObject({ outcome: 'cancelled' });
  await expect(turn.ended).resolves.toMatchObject({ stop_reason: 'cancelled', partial: true });
  await expect(turn.cancel()).resolves.toMatchObject({ outcome: 'already_ended' });
});

it('[TURN-2] queues, cancels one in the queue, and runs the other', async () => {
  const session = await connect().createSession();
  const running = session.prompt('slow');
  const dropped = session.prompt('never');
  const next = session.prompt('next');
  await expect(next.accepted).resolves.toMatchObject({ position: 2 });
  await dropped.cancel();
  await expect(dropped.ended).resolves.toMatchObject({ stop_reason: 'cancelled' });
  await running.cancel();
  await expect(next.text).resolves.toBe(WORDS);
});

it('[TURN-2] follows a steering prompt to the end of what it became', async () => {
  const session = await connect().createSession();
  const running = session.prompt('slow');
  await running.accepted;
  const steering = session.prompt('and this', { on_busy: 'steer' });
  await steering.accepted;
  await running.cancel();
  await expect(running.ended).resolves.toMatchObject({ stop_reason: 'cancelled' });
  await expect(steering.ended).resolves.toMatchObject({ stop_reason: 'end_turn' });
  await expect(steering.text).resolves.toContain('word119');
});

it('[TOOL-7] answers a tool call on the next connection when the first one broke while it ran', async () => {
  const client = connect();
  const session = await client.createSession();
  const look = { name: 'look', description: 'd', input_schema: { type: 'object' as const } };
  const tool = session.tool(look, async () => {
    const resumed = new Promise<void>((resolve) => session.onAttached(() => resolve()));
    client.drop();
    await resumed;
    return 'a ship';
  });
  await tool.registered;
  const turn = session.prompt('one call');
  await expect(turn.ended).resolves.toMatchObject({ stop_reason: 'end_turn' });
  const call = session.transcript.items.find(({ kind }) => kind === 'tool');
  expect(call).toMatchObject({
    status: 'done',
    result: { outcome: 'ok', content: [{ type: 'text', text: 'a ship' }] },
  });
});

it('[AUTH-3] rejects with the server’s words where there is no such session', async () => {
  await expect(connect().attach('sesn_none')).rejects.toMatchObject({ code: 'session_not_found' });
});
