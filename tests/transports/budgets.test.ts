/** Budgets as clients meet them, on a whole server: who may not pay gets nothing, and who pays pays what was used. */
import { startTestServer, type TestServer } from '../../server/testing.js';
import { found } from '../support/eventually.js';
import { manualReply, type Reply, startUpstream, textReply, type Upstream } from '../support/upstream/index.js';
import { createRandom } from '../core/support/random.js';
import { WsRecorder } from '../support/ws-recorder.js';

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

interface Given {
  readonly budget?: Json;
  readonly org?: Json;
  readonly agent?: Json;
  readonly dataDir?: string;
  readonly prices?: Json;
}

const start = async ({ budget, org, agent = {}, dataDir, prices = {} }: Given): Promise<void> => {
  server = await startTestServer({
    env: { ANTHROPIC_API_KEY: 'sk-test', ANTHROPIC_BASE_URL: upstream.baseURL },
    ...(dataDir !== undefined && { dataDir }),
    tools: [],
    config: {
      agents: { default: { max_tokens: 400, ...agent } },
      roles: { admin: { tools: { allow: ['*'] }, models: ['*'], inspect: true, ...(budget && { budget }) } },
      ...(org && { org_budget: org }),
      limits: { running_turns: 1_000 },
      prices,
    },
  });
};

async function call(
  method: string,
  path: string,
  body?: unknown,
): Promise<{ status: number; body: Json; res: Response }> {
  const res = await fetch(server.url + path, {
    method,
    headers: { 'content-type': 'application/json' },
    ...(body !== undefined && { body: JSON.stringify(body) }),
  });
  const text = await res.text();
  return { status: res.status, body: text.startsWith('{') ? (JSON.parse(text) as Json) : { text }, res };
}

const chat = (message: string, over: Json = {}) => call('POST', '/v1/chat', { message, stream: false, ...over });
const usage = async (query = ''): Promise<Json> => (await call('GET', `/v1/usage${query}`)).body;
const message = (text: string, over: Json = {}): Json => ({
  type: 'user.message',
  content: [{ type: 'text', text }],
  ...over,
});
const createSession = async (): Promise<string> => (await call('POST', '/v1/sessions', {})).body['id'] as string;
const eventsOf = async (sessionId: string): Promise<Json[]> =>
  (await call('GET', `/v1/sessions/${sessionId}/events?limit=1000`)).body['data'] as Json[];
const told = (input: number, output: number): Reply => ({
  ...textReply('Fine.'),
  usage: { input_tokens: input, output_tokens: output },
});

const eventually = <T>(look: () => Promise<T | undefined>): Promise<T> => found('it', look);
const ended = (sessionId: string, turnId?: string): Promise<Json> =>
  eventually(async () =>
    (await eventsOf(sessionId)).find((e) => e['type'] === 'turn.ended' && (!turnId || e['turn_id'] === turnId)),
  );

describe('[BUD-3] with a budget of nothing', () => {
  it.each<[string, Json]>([
    ['tokens a day', { budget: { day: { tokens: 0 } } }],
    ['dollars a month', { budget: { month: { usd: 0 } } }],
    ['dollars of the organisation', { org: { day: { usd: 0 } } }],
  ])('no route spends: %s', async (_name, given) => {
    await start(given);
    const session = await createSession();
    const before = await eventsOf(session);
    const refused = [
      await chat('hi'),
      await chat('hi', { stream: true }),
      await call('POST', '/chat', { message: 'hi' }),
      await call('POST', `/v1/sessions/${session}/events`, { events: [message('hi')] }),
      await call('POST', `/v1/sessions/${session}/events`, { events: [message('hi', { on_busy: 'interrupt' })] }),
      await call('POST', `/v1/sessions/${session}/events`, {
        events: [message('hi', { on_busy: 'steer' }), message('and')],
      }),
    ];
    for (const { status, body } of refused) {
      expect(status).toBe(429);
      expect(body['error']).toMatchObject({ code: 'budget_exhausted', retryable: false });
      expect(Date.parse(body['error'].details.resets_at)).toBeGreaterThan(Date.now());
    }
    const socket = await WsRecorder.connect(server.wsUrl);
    const reply = await socket.refused({ ...message('hi'), session_id: session } as never);
    expect(reply).toMatchObject({ code: 'budget_exhausted', details: { resets_at: expect.any(String) } });
    await socket.close();
    const steer = { type: 'user.steer', content: 'x', apply: 'now' };
    expect((await call('POST', `/v1/sessions/${session}/events`, { events: [steer] })).status).toBe(409);
    expect(await eventsOf(session)).toEqual(before);
    expect(upstream.requests).toEqual([]);
    expect(await usage()).toMatchObject({ spend: [] });
  });
});

describe('a budget that is spent on the way', () => {
  /** One hold fits, a second no longer does. */
  const given = { budget: { day: { tokens: 2_000 } } };

  it('[BUD-3] ends queued turns with the code', async () => {
    await start(given);
    const first = manualReply();
    upstream.script([first]);
    const session = await createSession();
    await call('POST', `/v1/sessions/${session}/events`, { events: [message('one')] });
    const { body } = await call('POST', `/v1/sessions/${session}/events`, { events: [message('two')] });
    const second = body['data'][0].turn_id as string;
    await first.start();
    first.openText();
    first.text('x');
    first.closeBlock();
    first.finish('end_turn', 1_800);
    expect(await ended(session, second)).toMatchObject({
      stop_reason: 'budget_exhausted',
      error: { code: 'budget_exhausted' },
    });
    expect(upstream.requests).toHaveLength(1);
    const idle = await eventually(async () =>
      (await eventsOf(session)).find((e) => e['type'] === 'session.status_idle'),
    );
    expect(idle['stop_reason']).toEqual({ type: 'budget_reached' });
  });

  it('[BUD-3] ends a turn at the step that a steer asked for', async () => {
    await start(given);
    const first = manualReply();
    upstream.script([first]);
    const session = await createSession();
    await call('POST', `/v1/sessions/${session}/events`, { events: [message('one')] });
    await first.start();
    first.openText();
    first.text('word '.repeat(1_200));
    await eventually(async () => ((await usage())['windows'][0].held > 0 ? true : undefined));
    await eventually(async () => {
      const steer = { type: 'user.steer', content: 'faster', apply: 'now' };
      const stream = await eventsOf(session);
      if (!stream.some((e) => e['type'] === 'span.model_request_start')) return undefined;
      return (await call('POST', `/v1/sessions/${session}/events`, { events: [steer] })).status === 200 || undefined;
    });
    const end = await ended(session);
    expect(end).toMatchObject({ stop_reason: 'budget_exhausted', partial: true });
    expect(upstream.requests).toHaveLength(1);
  });

  it('[BUD-3] refuses what is larger than the whole budget', async () => {
    await start(given);
    const { status, body } = await chat('hi', { max_tokens: 3_000 });
    expect([status, body['error'].code]).toEqual([429, 'budget_too_small']);
  });

  it('[BUD-3] says when to come back where only a hold is in the way', async () => {
    await start({ budget: { day: { tokens: 1_100 } } });
    const first = manualReply();
    upstream.script([first]);
    const session = await createSession();
    await call('POST', `/v1/sessions/${session}/events`, { events: [message('one')] });
    await first.waitForRequest();
    const { status, body, res } = await chat('two');
    expect([status, body['error'].code]).toEqual([429, 'budget_held']);
    expect(body['error'].retry_after_ms).toBeGreaterThan(0);
    expect(Number(res.headers.get('retry-after'))).toBeGreaterThan(0);
  });
});

it('warns once at 80 and once at 95 percent, in the log', async () => {
  await start({ budget: { day: { tokens: 30_000 } } });
  const turns = [
    [25_000, told(100, 24_900)],
    [3_800, told(100, 3_700)],
    [100, told(50, 50)],
  ] as const;
  upstream.script(turns.map(([, reply]) => reply));
  const session = await createSession();
  for (const [max_tokens] of turns) {
    const events = [message('go', { max_tokens })];
    const { body } = await call('POST', `/v1/sessions/${session}/events`, { events });
    await ended(session, body['data'][0].turn_id);
  }
  // Whatever was told of the last turn is in the log before this one.
  await call('POST', `/v1/sessions/${session}/events`, { events: [{ type: 'user.interrupt' }] });
  const warnings = (await eventsOf(session)).filter((e) => e['type'] === 'budget.warning');
  expect(warnings).toMatchObject([
    { scope: 'user', window: 'day', unit: 'tokens', limit: 30_000, used: 25_000, held: 0 },
    { used: 28_800 },
  ]);
  expect(warnings[0]).not.toHaveProperty('turn_id');
});

it('knows no price of some models, and refuses them where dollars count', async () => {
  await start({ budget: { month: { usd: 5 } } });
  for (const model of ['claude-fable-5', 'claude-mythos-5', 'who-knows']) {
    const { status, body } = await chat('hi', { model });
    expect(status).toBe(400);
    expect(body['error'].message).toContain(`The price of ${model} is not known`);
  }
  expect(upstream.requests).toEqual([]);
  expect((await chat('hi')).status).toBe(200);
});

it('says on every wire what to do about a model without a price, also of a turn that had to wait', async () => {
  await start({ budget: { month: { usd: 5 } } });
  const error = {
    code: 'invalid_request',
    message: expect.stringMatching(/^The price of who-knows is not known.*Choose another model, or .*"prices"\.$/s),
  };
  const hopeless = message('hi', { model: 'who-knows' });
  const idle = await createSession();
  const rest = await call('POST', `/v1/sessions/${idle}/events`, { events: [hopeless] });
  expect([rest.status, rest.body['error']]).toMatchObject([400, error]);
  const socket = await WsRecorder.connect(server.wsUrl);
  const session = await socket.openSession();
  expect(await socket.refused({ ...hopeless, session_id: session } as never)).toMatchObject(error);
  expect([await eventsOf(idle), await eventsOf(session)]).toEqual([[], []]);
  const reply = manualReply();
  upstream.script([reply]);
  await socket.accepted({ ...message('Take your time.'), session_id: session } as never);
  await reply.start();
  const { result } = await socket.accepted({ ...hopeless, session_id: session } as never);
  await socket.accepted({ type: 'user.interrupt', session_id: session } as never);
  expect(await ended(session, result['turn_id'] as string)).toMatchObject({ stop_reason: 'error', error });
  expect(upstream.requests).toHaveLength(1);
});

it('[BUD-1] takes the prices of the configuration, each from its moment on', async () => {
  const price = { input: 1, output: 1 };
  const prices = {
    'claude-new': [
      { ...price, from: '2020-01-01' },
      { input: 3, output: 7, from: '2021-01-01' },
    ],
  };
  const later = { 'claude-later': { ...price, from: '2999-01-01' } };
  await start({ budget: { month: { usd: 5 } }, prices: { ...prices, ...later } });
  upstream.script(() => told(1_000, 100));
  expect((await chat('hi', { model: 'claude-new' })).body['cost_usd']).toBe(0.0037);
  expect((await chat('hi', { model: 'claude-new-20261101' })).body['cost_usd']).toBe(0.0037);
  expect((await chat('hi', { model: 'claude-later' })).status).toBe(400);
});

it('tells windows and spending, by session, model, tag and user', async () => {
  await start({ budget: { day: { tokens: 9_000 }, month: { usd: 1 } } });
  upstream.script(() => told(100, 50));
  await chat('hi', { tags: ['a'] });
  await chat('hi', { tags: ['a', 'b'], model: 'claude-haiku-5-5' });
  const { windows, spend } = await usage('?group_by=tag,model');
  expect(windows).toMatchObject([
    { scope: 'user', window: 'day', unit: 'tokens', limit: 9_000, used: 300, held: 0 },
    { scope: 'user', window: 'month', unit: 'usd', limit: 1, held: 0 },
  ]);
  expect(spend).toHaveLength(3);
  expect(spend.find((row: Json) => row['tag'] === 'b')).toMatchObject({
    model: 'claude-haiku-5-5',
    requests: 1,
    input_tokens: 100,
    output_tokens: 50,
    cost_usd: 0.000035,
  });
  expect((await usage('?group_by=user'))['spend']).toMatchObject([{ user_id: 'local', requests: 2 }]);
  expect((await usage('?group_by=nothing'))['error'].code).toBe('invalid_request');
  expect(upstream.requests).toHaveLength(2);
});

it('[BUD-2] charges a cancelled request at least what was sent, and at most half as much again', async () => {
  const seed = Number(process.env['SEED'] ?? 99);
  const random = createRandom(seed);
  await start({ budget: { day: { tokens: 10_000_000 } }, agent: { max_tokens: 4_000 } });
  let charged = 0;
  for (let run = 0; run < 12; run++) {
    const reply = manualReply();
    upstream.script([reply]);
    const socket = await WsRecorder.connect(server.wsUrl);
    const session = await socket.openSession();
    await socket.accepted({ ...message('Tell me.'), session_id: session } as never);
    await reply.start();
    reply.openText();
    let sent = '';
    const said = (): string =>
      socket
        .events(session)
        .map((e) => (e.type === 'event_delta' && e.delta.type === 'content_delta' ? e.delta.content.text : ''))
        .join('');
    for (let chunks = random.int(60); chunks > 0; chunks--) {
      const text = random.pick(['some words ', 'señor ', '三文字 ', 'x', 'a longer run of plain English ']);
      sent += text;
      reply.text(text);
    }
    await eventually(async () => (said() === sent ? true : undefined));
    await socket.accepted({ type: 'user.interrupt', session_id: session } as never);
    const window = await eventually(async () => {
      const [day] = (await usage())['windows'];
      return day.held === 0 ? day : undefined;
    });
    const cost = window.used - charged;
    charged = window.used;
    // As the provider counts: four characters a token; it said that the prompt was ten.
    const made = Math.ceil(Buffer.byteLength(sent) / 4);
    const message_ = `SEED=${seed} run ${run}: ${sent.length} characters`;
    expect([message_, cost >= made, cost <= Math.ceil(1.5 * made) + 10 + 1]).toEqual([message_, true, true]);
    await socket.close();
  }
}, 60_000);

it('[BUD-1] 200 prompts at once, for five times the budget: never above it, most of it used, nothing left held', async () => {
  const each = 900;
  const limit = (200 * each) / 5;
  await start({ budget: { day: { tokens: limit } } });
  upstream.script(() => ({ ...told(500, 400), pace: { everyMs: 2 } }) as Reply);
  let worst = 0;
  let isDone = false;
  const watch = async (): Promise<void> => {
    while (!isDone) {
      const [{ used, held }] = (await usage())['windows'];
      worst = Math.max(worst, used + held);
      await new Promise((resolve) => setTimeout(resolve, 5));
    }
  };
  const watching = watch();
  const prompt = async (n: number): Promise<string> => {
    for (;;) {
      const { status, body } = await chat(`prompt ${n}`);
      if (status === 200) return 'answered';
      if (body['error'].code !== 'budget_held') return body['error'].code as string;
      await new Promise((resolve) => setTimeout(resolve, body['error'].retry_after_ms));
    }
  };
  const fates = await Promise.all(Array.from({ length: 200 }, (_, n) => prompt(n)));
  isDone = true;
  await watching;
  const [day] = (await usage())['windows'];
  const answered = fates.filter((fate) => fate === 'answered').length;
  expect(new Set(fates)).toEqual(new Set(['answered', 'budget_exhausted']));
  expect(worst).toBeLessThanOrEqual(limit);
  expect(day).toMatchObject({ used: answered * each, held: 0 });
  expect(day.used).toBeGreaterThanOrEqual(0.9 * limit);
  expect(upstream.requests.filter(({ path }) => path === '/v1/messages')).toHaveLength(answered);
}, 60_000);
