/** Where the bound of a prompt would decide the answer, the provider's count does; on a whole server. */
import { startTestServer, type TestServer } from '../../server/testing.js';
import { manualReply, type Reply, startUpstream, textReply, type Upstream } from '../support/upstream/index.js';

// biome-ignore lint/suspicious/noExplicitAny: answers of several shapes.
type Json = Record<string, any>;

let upstream: Upstream;
let server: TestServer;
beforeEach(async () => {
  upstream = await startUpstream();
});
afterEach(async () => {
  await server.stop();
  await upstream.close();
});

const start = async (budget: Json): Promise<void> => {
  server = await startTestServer({
    env: { ANTHROPIC_API_KEY: 'sk-test', ANTHROPIC_BASE_URL: upstream.baseURL },
    tools: [
      { name: 'look', description: 'Looks', input_schema: { type: 'object' }, run: async () => 'y'.repeat(2_000) },
    ],
    config: {
      agents: { default: { max_tokens: 400, tools: ['*'] } },
      roles: { admin: { tools: { allow: ['*'] }, models: ['*'], budget } },
    },
  });
};
const chat = async (message: string, over: Json = {}): Promise<{ status: number; body: Json }> => {
  const res = await fetch(`${server.url}/v1/chat`, {
    method: 'POST',
    headers: { 'content-type': 'application/json' },
    body: JSON.stringify({ message, stream: false, ...over }),
  });
  return { status: res.status, body: (await res.json()) as Json };
};
const post = async (path: string, body: Json): Promise<{ status: number; body: Json }> => {
  const headers = { 'content-type': 'application/json' };
  const res = await fetch(server.url + path, { method: 'POST', headers, body: JSON.stringify(body) });
  return { status: res.status, body: (await res.json()) as Json };
};
const windowOf = async (): Promise<Json> =>
  ((await (await fetch(`${server.url}/v1/usage`)).json()) as { windows: Json[] }).windows[0] as Json;
const paths = (): string[] => upstream.requests.map(({ path }) => path);
const COUNT = '/v1/messages/count_tokens';
const SEND = '/v1/messages';
/** Its bound is above 6,000 tokens. */
const LONG = 'word '.repeat(1_200);
const IMAGE = { type: 'image', source: { type: 'base64', media_type: 'image/png', data: 'iVBORw0KGgo=' } };
const PDF = { type: 'document', source: { type: 'base64', media_type: 'application/pdf', data: 'JVBERi0xLjQ=' } };
const told = (input: number): Reply => ({ ...textReply('Fine.'), usage: { input_tokens: input, output_tokens: 5 } });

it('[BUD-1] admits what fits by the count though not by the bound, and holds no more than that', async () => {
  await start({ day: { tokens: 2_000 } });
  upstream.scriptCounts(() => 1_200);
  const reply = manualReply();
  upstream.script([reply]);
  const answer = chat(LONG);
  await reply.waitForRequest();
  expect(paths()).toEqual([COUNT, SEND]);
  const { max_tokens: _, stream: __, ...sent } = upstream.requests[1]?.body ?? {};
  expect(upstream.requests[0]?.body).toEqual(sent);
  // The count with its margin, and max_tokens.
  expect(await windowOf()).toMatchObject({ used: 0, held: 1_310 + 400 });
  await reply.start();
  reply.openText();
  reply.closeBlock();
  reply.finish('end_turn', 5);
  expect((await answer).status).toBe(200);
  expect(await windowOf()).toMatchObject({ used: 15, held: 0 });
  expect(upstream.violations).toEqual([]);
});

it.each([
  ['the whole budget', 'budget_too_small', 0],
  ['what is left of it', 'budget_exhausted', 900],
])('[BUD-3] refuses what does not fit %s by the count either', async (_name, code, used) => {
  await start({ day: { tokens: 2_000 } });
  upstream.script(() => told(used));
  if (used > 0) expect((await chat('hi')).status).toBe(200);
  const before = upstream.requests.length;
  upstream.scriptCounts(() => (used > 0 ? 800 : 1_800));
  const { status, body } = await chat(LONG);
  expect([status, body['error'].code]).toEqual([429, code]);
  expect(paths().slice(before)).toEqual([COUNT]);
});

it('[BUD-3] asks for no count that would change nothing', async () => {
  await start({ day: { tokens: 8_000 } });
  // The bound fits.
  expect((await chat(LONG)).status).toBe(200);
  // max_tokens alone does not.
  expect((await chat('hi', { max_tokens: 8_100 })).body['error'].code).toBe('budget_too_small');
  expect(paths()).toEqual([SEND]);
  await server.stop();
  await start({ day: { tokens: 0 } });
  expect((await chat('hi')).body['error'].code).toBe('budget_exhausted');
  expect(paths()).toEqual([SEND]);
});

it('[BUD-1] asks for no count where nobody has a budget', async () => {
  await start({});
  expect((await chat(LONG)).status).toBe(200);
  const { body } = await post('/v1/sessions', {});
  const events = [{ type: 'user.message', content: [IMAGE] }];
  await post(`/v1/sessions/${body['id']}/events`, { events });
  await upstream.waitForRequest(2);
  expect(paths()).toEqual([SEND, SEND]);
});

it.each([
  ['an image', IMAGE, 5_000],
  ['a PDF', PDF, 1_000_000],
])(
  '[BUD-1] counts a message with %s, and holds the most that it may cost where the count fails',
  async (_n, block, most) => {
    await start({ day: { tokens: most + 5_000 } });
    const sendOne = async (): Promise<Json> => {
      const { body } = await post('/v1/sessions', {});
      const content = [{ type: 'text', text: 'What is this?' }, block];
      const { status } = await post(`/v1/sessions/${body['id']}/events`, {
        events: [{ type: 'user.message', content }],
      });
      expect(status).toBe(200);
      return windowOf();
    };
    const [first, second] = [manualReply(), manualReply()];
    upstream.script([first, second]);
    upstream.scriptCounts(() => 300);
    expect(await sendOne()).toMatchObject({ held: 365 + 400 });
    await first.start();
    first.openText();
    first.closeBlock();
    first.finish();
    upstream.scriptCounts(() => ({ status: 529, body: { type: 'overloaded_error', message: 'later' } }));
    const { held } = await sendOne();
    expect(held).toBeGreaterThan(most + 400);
    expect(held).toBeLessThan(most + 2_000);
    await second.waitForRequest();
    expect(paths()).toEqual([COUNT, SEND, COUNT, SEND]);
  },
);

it('[BUD-1] a count that fails leaves the bound, and nothing is sent on credit', async () => {
  await start({ day: { tokens: 2_000 } });
  upstream.scriptCounts(() => ({ status: 500, body: { type: 'api_error', message: 'no' } }));
  expect((await chat(LONG)).body['error'].code).toBe('budget_too_small');
  expect(paths()).toEqual([COUNT]);
});

it('[BUD-3] counts a later step as it will be sent, results and all', async () => {
  await start({ day: { tokens: 2_500 } });
  const use = { type: 'tool_use', id: 'toolu_1', name: 'look', input: {} } as const;
  upstream.script([{ blocks: [use], usage: { input_tokens: 100, output_tokens: 20 } }, told(700)]);
  upstream.scriptCounts(() => 700);
  expect((await chat('Look.')).body).toMatchObject({ response: 'Fine.' });
  expect(paths()).toEqual([SEND, COUNT, SEND]);
  const { max_tokens: _, stream: __, ...sent } = upstream.requests[2]?.body ?? {};
  expect(upstream.requests[1]?.body).toEqual(sent);
  expect(JSON.stringify(sent)).toContain('yyyy');
  expect(upstream.violations).toEqual([]);
});

it('[BUD-3] ends a turn whose next step does not fit by the count either', async () => {
  await start({ day: { tokens: 2_500 } });
  const use = { type: 'tool_use', id: 'toolu_1', name: 'look', input: {} } as const;
  upstream.script([{ blocks: [use], usage: { input_tokens: 100, output_tokens: 20 } }]);
  upstream.scriptCounts(() => 2_300);
  expect((await chat('Look.')).body).toMatchObject({ stop_reason: 'budget_exhausted' });
  expect(paths()).toEqual([SEND, COUNT]);
});
