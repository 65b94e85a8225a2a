/** Tools called without the model: the same gate, the same cap, once per key, and a client that goes away. */
import { once } from 'node:events';
import { request } from 'node:http';
import type { AuditRecord } from '../../protocol/index.js';
import type { FunctionTool } from '../../server/index.js';
import { NODES, type Service, startTestService } from '../support/service.js';

const runs: string[] = [];
/** Calls of `slow` that wait for the test. */
const waiting: { signal: AbortSignal; answer: (text: string) => void }[] = [];
let onSlow: (() => void) | undefined;

const schema = { type: 'object' as const, properties: { n: { type: 'integer' } }, additionalProperties: false };
const tool = (name: string, run: FunctionTool['run'], more: Partial<FunctionTool> = {}): FunctionTool => ({
  name,
  description: name,
  input_schema: schema,
  run: (input, context) => {
    runs.push(name);
    return run(input, context);
  },
  ...more,
});
const slow: FunctionTool['run'] = (_input, { signal }) =>
  new Promise((resolve) => {
    waiting.push({ signal, answer: resolve });
    signal.addEventListener('abort', () => resolve('stopped'));
    onSlow?.();
  });
const tools = [
  tool('count', async ({ n }) => `counted ${String(n)}`),
  tool('talk', async () => 'x'.repeat(5_000)),
  tool('fail', async () => {
    throw new Error('no luck');
  }),
  tool('slow', slow),
  tool('again', slow, { idempotent: true }),
  tool('send_mail', async () => 'sent'),
  tool('drop_table', async () => 'dropped'),
];

let server: Service;
beforeAll(async () => {
  server = await startTestService({
    tools,
    config: {
      roles: {
        admin: {
          tools: {
            allow: ['*'],
            ask: ['send_*'],
            deny: ['drop_*'],
            input: { count: { properties: { n: { maximum: 9 } } } },
          },
          models: ['*'],
          inspect: true,
        },
      },
      limits: { tool_result_bytes: 1_000 },
    },
  });
});
beforeEach(() => {
  runs.length = 0;
  waiting.length = 0;
});
afterAll(() => server.dispose());

interface Answer {
  readonly status: number;
  readonly body: Record<string, unknown>;
}

async function callTool(name: string, input: object, key?: string): Promise<Answer> {
  const response = await fetch(`${server.url}/v1/tools/${name}/call`, {
    method: 'POST',
    headers: { 'Content-Type': 'application/json', ...(key !== undefined && { 'Idempotency-Key': key }) },
    body: JSON.stringify({ input }),
  });
  return { status: response.status, body: (await response.json()) as Record<string, unknown> };
}

const untilSlow = (count: number): Promise<void> =>
  new Promise((resolve) => {
    onSlow = () => waiting.length >= count && resolve();
    onSlow();
  });

async function auditOf(name: string): Promise<AuditRecord[]> {
  const response = await fetch(`${server.url}/v1/audit?limit=1000`);
  const { data } = (await response.json()) as { data: AuditRecord[] };
  return data.filter((record) => record.tool === name).toReversed();
}

/** A call whose client the test can take away. */
function begin(name: string, key?: string) {
  const body = JSON.stringify({ input: {} });
  const headers = { 'Content-Type': 'application/json', ...(key !== undefined && { 'Idempotency-Key': key }) };
  const req = request(`${server.url}/v1/tools/${name}/call`, { method: 'POST', headers });
  req.on('error', () => {});
  req.end(body);
  return req;
}

it('[TOOL-1] runs an allowed tool, and puts its start and its outcome on record', async () => {
  const { status, body } = await callTool('count', { n: 3 });
  expect(status).toBe(200);
  expect(body).toEqual({
    content: [{ type: 'text', text: 'counted 3' }],
    is_error: false,
    outcome: 'ok',
    duration_ms: expect.any(Number),
  });
  const audit = await auditOf('count');
  expect(audit.map(({ kind, outcome }) => [kind, outcome])).toEqual([
    ['direct_tool_call', 'started'],
    ['direct_tool_call', 'ok'],
  ]);
  expect(audit[0]).toMatchObject({ user_id: 'local', org_id: 'local', request_id: expect.stringMatching(/^req_/) });
  expect(audit[0]?.tool_use_id).toBe(audit[1]?.tool_use_id);
});

it('[TOOL-1] refuses with the rule what is denied, what is to be asked for, and what the role’s input forbids', async () => {
  const refused = { status: 403, body: { error: { code: 'forbidden_tool' } } };
  const denied = await callTool('drop_table', {});
  expect(denied).toMatchObject(refused);
  expect(denied.body['error']).toMatchObject({ details: { rule: 'role admin: deny drop_table' } });
  const asked = await callTool('send_mail', {});
  expect(asked).toMatchObject(refused);
  expect(asked.body['error']).toMatchObject({
    message: expect.stringContaining('only a session can give'),
    details: { rule: 'role admin: ask send_mail' },
  });
  const beyond = await callTool('count', { n: 10 });
  expect(beyond).toMatchObject(refused);
  expect(runs).toEqual([]);
  expect((await auditOf('drop_table')).map(({ kind, rule }) => [kind, rule])).toEqual([
    ['denial', 'role admin: deny drop_table'],
  ]);
  expect((await auditOf('count')).at(-1)).toMatchObject({ kind: 'denial', rule: 'role admin: input of count' });
});

it('refuses an unknown tool, an input that does not fit, and fields that nobody knows', async () => {
  expect(await callTool('no_such', {})).toMatchObject({ status: 404, body: { error: { code: 'not_found' } } });
  const misfit = await callTool('count', { n: 'three' });
  expect(misfit).toMatchObject({ status: 400, body: { error: { code: 'invalid_request' } } });
  expect((misfit.body['error'] as { message: string }).message).toMatch(/n must be integer/);
  const response = await fetch(`${server.url}/v1/tools/count/call`, {
    method: 'POST',
    headers: { 'Content-Type': 'application/json' },
    body: JSON.stringify({ input: {}, tool_use_id: 'x' }),
  });
  expect(response.status).toBe(400);
  expect(runs).toEqual([]);
});

it('[TOOL-6] caps a result, and says a failure in the answer', async () => {
  const { body } = await callTool('talk', {});
  expect(JSON.stringify(body['content']).length).toBeLessThan(1_200);
  expect(JSON.stringify(body['content'])).toContain('The result was cut');
  expect(await callTool('fail', {})).toMatchObject({ status: 200, body: { is_error: true, outcome: 'error' } });
});

it('[CMD-2] answers the same key once more without running the tool, and refuses it for another body', async () => {
  const first = await callTool('count', { n: 1 }, 'key-a');
  const again = await callTool('count', { n: 1 }, 'key-a');
  expect(again.body).toEqual({ ...first.body, duplicate: true });
  expect(runs).toEqual(['count']);
  for (const other of [callTool('count', { n: 2 }, 'key-a'), callTool('talk', {}, 'key-a')])
    expect(await other).toMatchObject({ status: 409, body: { error: { code: 'idempotency_conflict' } } });
  expect(runs).toEqual(['count']);
});

it('[CMD-2] runs the tool once for calls of one key at the same time', async () => {
  const calls = [1, 2, 3].map(() => callTool('slow', {}, 'key-b'));
  await untilSlow(1);
  waiting[0]?.answer('done');
  const answers = await Promise.all(calls);
  expect(runs).toEqual(['slow']);
  expect(answers.map(({ body }) => (body['content'] as { text: string }[])[0]?.text)).toEqual(['done', 'done', 'done']);
  expect(answers.filter(({ body }) => body['duplicate'] === true)).toHaveLength(2);
});

it('[CAN-5] aborts the tool when its client goes away, and puts that on record', async () => {
  const req = begin('slow');
  await untilSlow(1);
  const [call] = waiting;
  const aborted = once(call?.signal as AbortSignal, 'abort');
  req.destroy();
  await aborted;
  let last: AuditRecord | undefined;
  while (last?.outcome !== 'cancelled') last = (await auditOf('slow')).at(-1);
  expect(last).toMatchObject({ kind: 'direct_tool_call', outcome: 'cancelled' });
});

it('[CMD-2] under a key goes on when its client goes away, for who waits too and for who asks again', async () => {
  const gone = begin('slow', 'key-c');
  await untilSlow(1);
  const stays = callTool('slow', {}, 'key-c');
  // On each node one that is seen to be aborted, after the client that went before.
  const probes = Array.from({ length: NODES }, () => begin('slow'));
  await untilSlow(1 + NODES);
  gone.destroy();
  await new Promise((resolve) => gone.once('close', resolve));
  for (let n = 0; n < NODES; n++) await callTool('count', { n: 1 });
  const aborted = waiting.slice(1).map(({ signal }) => once(signal, 'abort'));
  for (const probe of probes) probe.destroy();
  await Promise.all(aborted);
  expect(waiting[0]?.signal.aborted).toBe(false);
  const again = callTool('slow', {}, 'key-c');
  waiting[0]?.answer('for the others');
  const answer = { outcome: 'ok', duplicate: true, content: [{ type: 'text', text: 'for the others' }] };
  for (const { body } of await Promise.all([stays, again])) expect(body).toMatchObject(answer);
  expect(runs.filter((name) => name === 'slow')).toHaveLength(1 + NODES);
});

it('[NODE-2] after a shutdown repeats what was answered, and ends what ran as cancelled', async () => {
  const first = await callTool('count', { n: 5 }, 'key-e');
  const cut = callTool('slow', {}, 'key-f').catch(() => undefined);
  await untilSlow(1);
  await server.restart();
  await cut;
  runs.length = 0;
  expect((await callTool('count', { n: 5 }, 'key-e')).body).toEqual({ ...first.body, duplicate: true });
  expect((await callTool('slow', {}, 'key-f')).body).toMatchObject({ outcome: 'cancelled', duplicate: true });
  expect(runs).toEqual([]);
});
