/** Every key that a busy server leaves in Redis stands in the table of docs/REDIS.md, and ends when that says so. */
import { readFileSync } from 'node:fs';
import { join } from 'node:path';
import { mintKey } from '../../server/adapters/api-keys/index.js';
import { RedisConnection } from '../../server/adapters/redis/index.js';
import { startTestServer, type TestServer } from '../../server/testing.js';
import { type RedisServer, startRedis } from '../support/redis-server.js';
import { FrameClient } from './support/frame-client.js';

// biome-ignore lint/suspicious/noExplicitAny: answers of several shapes.
type Json = Record<string, any>;

const HOUR = 3_600_000;
const DAY = 24 * HOUR;

/** What the last column says, as the milliseconds that a key still has: from, to. Undefined: it never ends. */
const ENDS: readonly (readonly [says: string, range: readonly [from: number, to: number] | undefined])[] = [
  ['fields 7 days after their end; the key 40 days after its last change', [39 * DAY, 40 * DAY]],
  ['when it is settled', undefined],
  ['with the last hold', undefined],
  ['24 h', [23 * HOUR, 24 * HOUR]],
  ['400 days', [399 * DAY, 400 * DAY]],
  ['a day without a hold', undefined],
  ['by `retention.audit_days`', undefined],
  ['never', undefined],
  ['with the limit', [0, 60_000]],
  ['with the last lease', [0, 10_000]],
  ['with it', [0, 30_000]],
  ['with the session', undefined],
  ['with them', undefined],
  ['with the turn', undefined],
  ['by `retention`', undefined],
  ['when they are completed', undefined],
  // Until the node says for the first time that it lives, it has no end.
  ['as it is read, and six leases after the node', [-2, 60_000]],
  ['never: about the last 1,000 notes', undefined],
  ['30 min', [0, 1_800_000]],
  ['10 s after it said so last', [0, 10_000]],
  ['10 s', [0, 10_000]],
  ['never: a field for each user that was seen and for each revocation, and about the last 10,000 changes', undefined],
];

interface Row {
  readonly name: string;
  readonly pattern: RegExp;
  readonly types: readonly string[];
  readonly range: readonly [from: number, to: number] | undefined;
}

function toPattern(name: string): RegExp {
  const escaped = name.replace(/[.*+?^$()|[\]\\{}]/g, '\\$&');
  const source = escaped
    .replace('\\{org\\}', '\\{[^{}:]+\\}')
    .replace('\\{org/user\\}', '\\{[^{}:/]+/[^{}:/]+\\}')
    .replace('\\{session\\}', '\\{sesn_[^{}:]+\\}')
    .replaceAll(/<day>/g, '\\d{4}-\\d\\d-\\d\\d')
    .replaceAll(/<[a-z]+>/g, '.+')
    .replaceAll('…', '.+');
  return new RegExp(`^${source}$`);
}

/** The rows of the table under "Keys". "the same" is what the row before says. */
function readTable(): Row[] {
  const page = readFileSync(join(__dirname, '../../docs/REDIS.md'), 'utf8');
  const [, section = ''] = page.split('\n## Keys\n');
  const lines = (section.split('\n## ')[0] ?? '').split('\n').filter((line) => line.startsWith('| `midstream:'));
  let before = '';
  return lines.flatMap((line) => {
    const [, names = '', type = '', , said = ''] = line.split('|').map((cell) => cell.trim());
    const ends = said === 'the same' ? before : said;
    before = ends;
    const known = ENDS.find(([says]) => says === ends);
    if (!known) throw new Error(`the table says “${ends}”, which this test does not know`);
    const types = type.split(', ').map((one) => (one === 'sorted set' ? 'zset' : one.replace(/^hashes$/, 'hash')));
    return [...names.matchAll(/`([^`]+)`/g)].map(([, name = '']) => ({
      name,
      pattern: toPattern(name),
      types: types.map((one) => (one === 'counter' ? 'string' : one)),
      range: known[1],
    }));
  });
}

const users = { ada: mintKey(), poor: mintKey(), boss: mintKey() };
type User = keyof typeof users;

let redis: RedisServer;
let look: RedisConnection;
let server: TestServer;
let other: TestServer;
/** Each key that was ever there. */
const seen = new Map<string, { readonly type: string; readonly leftMs: number }>();

/** SCAN by KEYS: all of them, at this moment. */
async function walk(): Promise<void> {
  for (const key of await look.do((client) => client.keys('*'))) {
    const [type, leftMs] = await Promise.all([
      look.do((client) => client.type(key)),
      look.do((client) => client.pttl(key)),
    ]);
    if (type !== 'none') seen.set(key, { type, leftMs });
  }
}

async function call(user: User, path: string, body: unknown, key?: string, at = server) {
  const res = await fetch(at.url + path, {
    method: 'POST',
    headers: {
      'content-type': 'application/json',
      'x-api-key': users[user].key,
      ...(key !== undefined && { 'idempotency-key': key }),
    },
    body: JSON.stringify(body),
  });
  const text = await res.text();
  return { status: res.status, body: (text.startsWith('{') ? JSON.parse(text) : { text }) as Json };
}

beforeAll(async () => {
  redis = await startRedis();
  look = await RedisConnection.open({ url: redis.url });
  const role = { tools: { allow: ['look'] }, models: ['*'], requests_per_minute: 600, concurrent_turns: 5 };
  const start = () =>
    startTestServer({
      script: {
        turns: [
          {
            match: { text: 'hang' },
            steps: [{ blocks: [{ type: 'text', text: 'It hangs.' }], error: { kind: 'stall', after_chars: 5 } }],
          },
          {
            match: { text: 'look' },
            steps: [
              { blocks: [{ type: 'tool_use', name: 'look', input: {} }] },
              { blocks: [{ type: 'text', text: 'Over.' }] },
            ],
          },
        ],
        fallback: { steps: [{ blocks: [{ type: 'text', text: 'Fine.' }] }] },
      },
      tools: [{ name: 'look', description: 'look', input_schema: { type: 'object' as const }, run: () => 'seen' }],
      env: { REDIS_URL: redis.url },
      config: {
        retention: { session_days: 365 },
        org_budget: { month: { tokens: 10_000_000 } },
        roles: {
          user: { ...role, budget: { day: { tokens: 1_000_000 } } },
          poor: { ...role, requests_per_minute: 2, budget: { day: { tokens: 10 } } },
          boss: { ...role, inspect: true },
        },
        api_keys: Object.entries(users).map(([id, { sha256 }]) => ({
          ...{ id: `key-${id}`, sha256, user_id: id, org_id: 'acme {x}', roles: [id === 'ada' ? 'user' : id] },
        })),
      },
    });
  [server, other] = await Promise.all([start(), start()]);
});
afterAll(async () => {
  await Promise.all([server.stop(), other.stop()]);
  await look.close();
  await redis.dispose();
});

it('each key is in the table with its type and its end, and each row of the table has a key', async () => {
  const chat = (user: User, message: string) => call(user, '/v1/chat', { message, stream: false });
  expect((await chat('ada', 'hello')).status).toBe(200);
  expect((await chat('ada', 'look')).status).toBe(200);
  expect((await chat('poor', 'hello')).body['error'].code).toBe('budget_too_small');
  expect((await call('ada', '/v1/tools/look/call', { input: {} }, 'one')).status).toBe(200);
  expect((await call('ada', '/v1/tools/look/call', { input: {} }, 'one')).status).toBe(200);
  const made = await call('ada', '/v1/sessions', {}, 'two');
  expect(made.status).toBe(201);
  expect((await call('ada', '/v1/sessions', {}, 'two')).body['id']).toBe(made.body['id']);
  const events = [{ type: 'user.message', content: [{ type: 'text', text: 'hang' }] }];
  expect((await call('ada', `/v1/sessions/${made.body['id']}/events`, { events })).status).toBe(200);
  const steering = [{ type: 'user.steer', content: [{ type: 'text', text: 'on' }], apply: 'next_step' }];
  const steered = await call('ada', `/v1/sessions/${made.body['id']}/events`, { events: steering }, undefined, other);
  expect(steered.status).toBe(200);
  const rating = { conversation_id: made.body['id'], rating: 'thumbs_up' };
  expect((await call('ada', '/v1/feedback', rating)).status).toBe(200);
  const { body: ticket } = await call('ada', '/v1/ws-tickets', undefined);
  expect((await fetch(`${server.url}/ready`)).status).toBe(200);
  await walk();
  const client = await FrameClient.connect(server.wsUrl, { protocols: ['midstream.v1', `ticket.${ticket['ticket']}`] });
  await client.ofType('connection.ready');
  // Noted a moment after the change.
  while (!seen.has('midstream:changes')) await walk();
  expect((await call('boss', '/v1/revocations', { key_id: 'key-poor' })).status).toBe(200);
  expect((await chat('poor', 'hello')).status).toBe(401);
  await walk();

  const rows = readTable();
  const used = new Set<string>();
  for (const [key, { type, leftMs }] of seen) {
    const row = rows.find(({ pattern }) => pattern.test(key));
    expect({ key, row: row?.name }).toEqual({ key, row: expect.any(String) });
    used.add(row?.name ?? '');
    expect({ key, type }).toEqual({ key, type: expect.stringMatching(`^(${row?.types.join('|')})$`) });
    if (row?.range === undefined) expect({ key, leftMs }).toEqual({ key, leftMs: -1 });
    else {
      const [from, to] = row.range;
      const fits = leftMs > from && leftMs <= to;
      expect({ key, leftMs, fits }).toEqual({ key, leftMs, fits: true });
    }
  }
  expect(rows.map(({ name }) => name).filter((name) => !used.has(name))).toEqual([]);
}, 30_000);
