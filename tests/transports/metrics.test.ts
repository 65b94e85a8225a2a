/** `/metrics` on a whole server: each thing is done once, and its number moves. */
import { mintKey } from '../../server/adapters/api-keys/index.js';
import { CATALOG, type MetricSpec, PREFIX } from '../../server/adapters/prometheus/index.js';
import { startTestServer, type TestServer } from '../../server/testing.js';
import { type MetricsPage, metricsWhen, MetricsPage as Page } from '../support/metrics-page.js';
import { manualReply, type Reply, startUpstream, textReply, type Upstream } from '../support/upstream/index.js';
import { WsRecorder } from '../support/ws-recorder.js';

const MODEL = 'claude-sonnet-5-5';
const USERS = Array.from({ length: 12 }, (_, n) => `user-${n}`);
const keys = new Map(USERS.map((user) => [user, mintKey()]));
const [ADA = ''] = USERS;

let upstream: Upstream;
let server: TestServer;
let clients: WsRecorder[] = [];

beforeEach(async () => {
  upstream = await startUpstream();
  const tool = { description: 'A tool.', input_schema: { type: 'object' as const } };
  server = await startTestServer({
    env: { ANTHROPIC_API_KEY: 'sk-test', ANTHROPIC_BASE_URL: upstream.baseURL },
    tools: [
      { ...tool, name: 'look', run: () => 'seen' },
      { ...tool, name: 'fail', run: () => Promise.reject(new Error('no')) },
      { ...tool, name: 'forbidden', run: () => 'never' },
    ],
    config: {
      roles: { user: { tools: { allow: ['look', 'fail', 'edit_*'] }, models: ['*'] } },
      client_tools: ['edit_*'],
      api_keys: [...keys].map(([id, { sha256 }]) => ({
        ...{ id: `key-${id}`, sha256, user_id: id, org_id: `org-${id}`, roles: ['user'] },
      })),
    },
  });
});
afterEach(async () => {
  for (const client of clients) await client.close();
  clients = [];
  await server.stop();
  await upstream.close();
});

async function connect(user = ADA): Promise<WsRecorder> {
  const client = await WsRecorder.connect(server.wsUrl, { 'X-API-Key': keys.get(user)?.key ?? '' });
  clients.push(client);
  return client;
}

const read = (): Promise<MetricsPage> => Page.read(server.url);
const when = (isSo: (page: MetricsPage) => boolean, what: string) => metricsWhen(server.url, isSo, what);

async function turn(client: WsRecorder, sessionId: string, ...replies: Reply[]): Promise<void> {
  upstream.script(replies);
  const { result } = await client.prompt(sessionId, 'Go on.');
  await client.event('turn.ended', { turnId: result.turn_id as string });
}

const toolReply = (name: string, id = `toolu_${name}`): Reply => ({
  blocks: [{ type: 'tool_use', id, name, input: {} }],
});

it('names each metric of the catalog with its kind, and no other', async () => {
  const { kinds } = await read();
  const given = [...kinds].filter(([name]) => name.startsWith(PREFIX)).sort();
  const promised = Object.entries<MetricSpec>(CATALOG).map(([name, { kind }]) => [PREFIX + name, kind]);
  expect(given).toEqual(promised.sort());
  for (const [name, kind] of promised) {
    expect(name).toMatch(/^midstream_[a-z_]+$/);
    expect([name, name?.endsWith('_total')]).toEqual([name, kind === 'counter']);
  }
  expect([...kinds.keys()]).toEqual(expect.arrayContaining(['nodejs_eventloop_lag_p99_seconds']));
});

it('a turn moves what is said of turns, steps, tokens, the log, subscriptions and bytes', async () => {
  const client = await connect();
  const sessionId = await client.openSession();
  const before = await read();
  await turn(client, sessionId, {
    ...textReply('one two three four'),
    usage: { input_tokens: 70, output_tokens: 11 },
  });
  const after = await read();
  const grew = (name: string): number => after.value(name) - before.value(name);
  expect({
    complete: grew(`model_requests_total{model="${MODEL}",result="complete"}`),
    steps: grew(`model_request_seconds_count{model="${MODEL}"}`),
    first: grew(`first_content_seconds_count{model="${MODEL}"}`),
    retries: grew(`model_retries_total{model="${MODEL}"}`),
    ended: grew('turns_ended_total{stop_reason="end_turn"}'),
    turns: grew('turn_seconds_count'),
    input: grew(`tokens_total{model="${MODEL}",kind="input"}`),
    output: grew(`tokens_total{model="${MODEL}",kind="output"}`),
    epochs: grew('log_epochs_total'),
    live: after.value('subscriptions{state="live"}'),
    behind: after.value('subscriptions{state="behind"}'),
    lag: after.value('subscription_lag_events'),
    up: after.value('store_up{store="store"}'),
    claimed: after.value('lease_changes_total{change="claimed"}'),
  }).toEqual({
    ...{ complete: 1, steps: 1, first: 1, retries: 0, ended: 1, turns: 1, input: 70, output: 11 },
    ...{ epochs: 0, live: 1, behind: 0, lag: 0, up: 1, claimed: 1 },
  });
  expect(grew(`cost_usd_total{model="${MODEL}"}`)).toBeGreaterThan(0);
  const deltas = client.events(sessionId).filter(({ type }) => type === 'event_delta').length;
  expect(grew('delivered_records_total{kind="delta"}')).toBe(deltas);
  expect(grew('log_records_total{kind="delta"}')).toBeGreaterThanOrEqual(deltas);
  expect(grew('delivered_records_total{kind="event"}')).toBe(grew('log_records_total{kind="event"}'));
  expect(grew('log_append_seconds_count{contents="events"}')).toBeGreaterThan(2);
  expect(grew('sent_bytes_total')).toBeGreaterThan(1_000);
  expect(grew('received_bytes_total')).toBeGreaterThan(50);
});

it('a request that fails is told by its kind, and the one that repeats it', async () => {
  const client = await connect();
  await turn(
    client,
    await client.openSession(),
    { status: 529, body: { type: 'overloaded_error', message: 'busy' } },
    textReply('Fine.'),
  );
  const page = await read();
  expect(page.value(`model_requests_total{model="${MODEL}",result="upstream_overloaded"}`)).toBe(1);
  expect(page.value(`model_requests_total{model="${MODEL}",result="complete"}`)).toBe(1);
  expect(page.value(`model_retries_total{model="${MODEL}"}`)).toBe(1);
});

it('[CAN-1] a cancel is timed once it took effect, one that comes too late is not; what runs is counted while it runs', async () => {
  const reply = manualReply();
  upstream.script([reply]);
  const client = await connect();
  const sessionId = await client.openSession();
  await client.prompt(sessionId, 'Begin.');
  await reply.start();
  const during = await read();
  expect([during.value('turns_running'), during.value('budget_holds_open')]).toEqual([1, 1]);
  await client.accepted({ type: 'user.interrupt', session_id: sessionId });
  expect((await read()).value('cancel_seconds_count')).toBe(1);
  await client.accepted({ type: 'user.interrupt', session_id: sessionId });
  const after = await read();
  expect(after.value('cancel_seconds_count')).toBe(1);
  expect(after.value(`model_requests_total{model="${MODEL}",result="aborted"}`)).toBe(1);
  expect(after.value('turns_running')).toBe(0);
  await when((page) => page.value('budget_holds_open') === 0, 'the hold is settled');
});

it('tool calls are told by kind and outcome: of the server, of a client, direct, and denied', async () => {
  const client = await connect();
  const sessionId = await client.openSession();
  await client.accepted({
    type: 'tools.register',
    session_id: sessionId,
    tools: [{ name: 'edit_note', description: 'Edits.', input_schema: { type: 'object' } }],
  });
  await turn(client, sessionId, toolReply('look'), textReply('Done.'));
  await turn(client, sessionId, toolReply('fail'), textReply('Done.'));
  await turn(client, sessionId, toolReply('forbidden'), textReply('Done.'));
  upstream.script([toolReply('edit_note'), textReply('Done.')]);
  const { result } = await client.prompt(sessionId, 'Edit it.');
  const offered = await client.event('tool.offered', { sessionId });
  const content = [{ type: 'text' as const, text: 'edited' }];
  await client.accepted({
    ...{ type: 'user.custom_tool_result', session_id: sessionId, custom_tool_use_id: offered.tool_use_id, content },
  });
  await client.event('turn.ended', { turnId: result.turn_id as string });
  const headers = { 'Content-Type': 'application/json', 'X-API-Key': keys.get(ADA)?.key ?? '' };
  const direct = await fetch(`${server.url}/v1/tools/look/call`, { method: 'POST', headers, body: '{"input":{}}' });
  expect(direct.status).toBe(200);
  const page = await read();
  const calls = (kind: string, tool: string, outcome: string): number =>
    page.value(`tool_calls_total{kind="${kind}",tool="${tool}",outcome="${outcome}"}`);
  expect({
    look: calls('server', 'look', 'ok'),
    fail: calls('server', 'fail', 'error'),
    forbidden: calls('server', 'forbidden', 'denied'),
    edit: calls('client', '', 'ok'),
    ran: page.value('tool_seconds_count{tool="look"}'),
  }).toEqual({ look: 2, fail: 1, forbidden: 1, edit: 1, ran: 2 });
});

it('[LOG-6] a client that reads nothing is behind, and its lag is told', async () => {
  const client = await connect();
  const sessionId = await client.openSession();
  client.pause();
  const other = await connect();
  await other.attach(sessionId);
  upstream.script([
    { blocks: [{ type: 'text', text: 'x'.repeat(2_000), repeat: 5_000 }], packing: { eventsPerWrite: 8 } },
  ]);
  await other.prompt(sessionId, 'Say much.');
  const page = await when((now) => now.value('subscriptions{state="behind"}') === 1, 'one subscription is behind');
  expect(page.value('subscription_lag_events')).toBeGreaterThan(64);
  client.resume();
  await when((now) => now.value('subscriptions{state="behind"}') === 0, 'all subscriptions are live');
}, 60_000);

it('[AUTH-3] no label grows with users, sessions or the names of their tools', async () => {
  const visit = async (user: string, n: number): Promise<void> => {
    const client = await connect(user);
    const sessionId = await client.openSession();
    const name = `edit_${n}`;
    await client.accepted({
      type: 'tools.register',
      session_id: sessionId,
      tools: [{ name, description: 'Edits.', input_schema: { type: 'object' } }],
    });
    await turn(client, sessionId, toolReply('look'), toolReply('forbidden'), textReply('Done.'));
    upstream.script([toolReply(name), textReply('Done.')]);
    const { result } = await client.prompt(sessionId, 'Edit it.');
    const offered = await client.event('tool.offered', { sessionId });
    const answer = { custom_tool_use_id: offered.tool_use_id, content: [] };
    await client.accepted({ type: 'user.custom_tool_result', session_id: sessionId, ...answer });
    await client.event('turn.ended', { turnId: result.turn_id as string });
  };
  const seriesOf = async (): Promise<string[]> =>
    [...(await read()).series.keys()].filter((name) => name.startsWith(PREFIX)).sort();
  await visit(ADA, 0);
  const before = await seriesOf();
  for (const [n, user] of USERS.entries()) if (n > 0) await visit(user, n);
  const after = await read();
  expect(after.value('turns_ended_total{stop_reason="end_turn"}')).toBe(2 * USERS.length);
  expect([...after.series.keys()].filter((name) => name.startsWith(PREFIX)).sort()).toEqual(before);
  const labels = [...after.series.keys()].map((name) => name.replace(/^[^{]*/, ''));
  expect(labels.filter((label) => /user-\d|org-|sesn_|turn_|edit_\d/.test(label))).toEqual([]);
});
