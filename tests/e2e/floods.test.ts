/** Floods before and after authentication: another user is served meanwhile, memory stays bounded, refusals are typed. */
import { mkdtempSync, rmSync, writeFileSync } from 'node:fs';
import { connect, type Socket } from 'node:net';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { setTimeout as after } from 'node:timers/promises';
import { WebSocket } from 'ws';
import { BOUNDS, DEFAULT_LIMITS, SUBPROTOCOL } from '../../protocol/index.js';
import type { ScriptInput } from '../../server/adapters/scripted/script.js';
import { SILENCE } from '../../server/transports/silent-connections.js';
import { bearerOf, IDENTITY_ENV } from '../support/attack-identity.js';
import { callHttp } from '../support/blackbox-http.js';
import { type BlackboxServer, startBlackbox, within } from '../support/blackbox-server.js';
import { residentMiB } from '../support/process-memory.js';
import { type CommandInput, WsRecorder } from '../support/ws-recorder.js';

const IS_LONG = process.env['MIDSTREAM_TEST_LONG'] === '1';
/** What a flood may add to the process. A leak of any of these floods is several times as much. */
const MAX_GROWTH_MIB = 250;
/** What a bystander may wait for an answer, on a machine that runs the flood as well. */
const PATIENCE_MS = 5_000;
/** So often the bystander prompts: not so often as to be a flood too. */
const PROMPT_EVERY_MS = 25;
/** Another client than the bystander, who comes from 127.0.0.1. */
const FLOODER = '127.0.0.2';

const SHORT_ANSWER: ScriptInput = { turns: [], fallback: { steps: [{ blocks: [{ type: 'text', text: 'Served.' }] }] } };

const dir = mkdtempSync(join(tmpdir(), 'midstream-floods-'));
const script = join(dir, 'script.json');
let server: BlackboxServer;
const ROLE = { tools: { allow: ['*'] }, models: ['*'] };
beforeAll(async () => {
  writeFileSync(script, JSON.stringify(SHORT_ANSWER));
  server = await startBlackbox({
    env: { ...IDENTITY_ENV, MIDSTREAM_SCRIPT: script },
    config: {
      roles: { user: ROLE, admin: { ...ROLE, inspect: true } },
      limits: { queued_turns: 20 },
      client_tools: ['edit_*'],
    },
  });
});
afterAll(async () => {
  await server.dispose();
  rmSync(dir, { recursive: true });
});

const open: { close(): void }[] = [];
afterEach(() => {
  for (const one of open.splice(0)) one.close();
});

/** Another user prompts, again and again while `flood` runs, and is answered each time. */
async function withBystander(flood: () => Promise<unknown>): Promise<void> {
  const before = residentMiB(server.pid);
  let peak = before;
  let isOver = false;
  let prompts = 0;
  const flooding = flood().finally(() => {
    isOver = true;
  });
  while (!isOver || prompts === 0) {
    const prompt = { message: 'Are you there?', stream: false };
    const answer = callHttp(server.url, 'POST', '/v1/chat', prompt, bearerOf({ sub: 'bystander' }));
    const { status, body } = await within(answer, PATIENCE_MS, 'the bystander was not answered');
    expect({ status, response: body.response }).toEqual({ status: 200, response: 'Served.' });
    prompts += 1;
    peak = Math.max(peak, residentMiB(server.pid));
    await after(PROMPT_EVERY_MS);
  }
  await flooding;
  expect(peak - before).toBeLessThan(MAX_GROWTH_MIB);
}

const inBatches = async (count: number, size: number, work: (n: number) => Promise<unknown>): Promise<void> => {
  for (let n = 0; n < count; n += size) await Promise.all(Array.from({ length: size }, (_, at) => work(n + at)));
};

/** A TCP connection that says what it is told to; resolves when the server closed it, with what it said. */
function rawSocket(text: string): { socket: Socket; closed: Promise<string> } {
  const { port, hostname } = new URL(server.url);
  const socket = connect({ port: Number(port), host: hostname, localAddress: FLOODER });
  open.push({ close: () => socket.destroy() });
  let said = '';
  socket.on('data', (chunk) => {
    said += String(chunk);
  });
  socket.on('error', () => {});
  socket.write(text);
  return { socket, closed: new Promise((resolve) => socket.once('close', () => resolve(said))) };
}

async function floodOfHeaders(): Promise<void> {
  const tooMany = 50;
  const slow = Array.from({ length: SILENCE.perClient + tooMany }, () =>
    rawSocket('GET /v1/ws HTTP/1.1\r\nHost: x\r\nX-Slow: '),
  );
  let gone = 0;
  const refused = new Promise<void>((resolve) => {
    for (const { closed } of slow)
      void closed.then(() => {
        gone += 1;
        if (gone === tooMany) resolve();
      });
  });
  await within(refused, SILENCE.headersMs / 2, () => `${gone} silent connections were refused`);
  expect(gone).toBe(tooMany);
  const drip = setInterval(() => {
    for (const { socket } of slow) if (socket.writable) socket.write('x');
  }, 500);
  // The others in their time, whatever drips in.
  const closing = slow.map(({ closed }) => within(closed, SILENCE.headersMs + 10_000, 'a slow header is kept'));
  await Promise.all(closing).finally(() => clearInterval(drip));
}

async function floodOfSilentSockets(): Promise<void> {
  const codes: (number | undefined)[] = [];
  const sockets = Array.from({ length: BOUNDS.unauthenticatedPerClient * 3 }, () => {
    const socket = new WebSocket(server.wsUrl, SUBPROTOCOL);
    open.push({ close: () => socket.terminate() });
    socket.on('error', () => {});
    return new Promise<void>((resolve) => {
      socket.once('unexpected-response', (_req, res) => {
        codes.push(res.statusCode);
        socket.terminate();
        resolve();
      });
      socket.once('close', (code) => {
        if (code === 4401) codes.push(code);
        resolve();
      });
    });
  });
  await within(Promise.all(sockets), BOUNDS.authenticateMs + 5_000, 'a socket that says nothing is kept');
  expect(codes.filter((code) => code === 4401).length).toBeLessThanOrEqual(BOUNDS.unauthenticatedPerClient);
  expect(codes.filter((code) => code === 429).length).toBeGreaterThanOrEqual(BOUNDS.unauthenticatedPerClient * 2);
}

describe('before authentication', () => {
  it('[AUTH-1] connections that never finish their headers, and sockets that say nothing, are bounded in number and time', async () => {
    await withBystander(() => Promise.all([floodOfHeaders(), floodOfSilentSockets()]));
  }, 40_000);

  it('[AUTH-1] a frame of many bytes is not gathered from who has not said who they are', async () => {
    await withBystander(() =>
      inBatches(40, 5, async () => {
        const socket = new WebSocket(server.wsUrl, SUBPROTOCOL);
        open.push({ close: () => socket.terminate() });
        socket.on('error', () => {});
        const closed = new Promise<number>((resolve) => socket.once('close', resolve));
        await new Promise((resolve) => socket.once('open', resolve));
        // A part of a message that never ends, which would be gathered until its time is over.
        socket.send(JSON.stringify({ type: 'connection.authenticate', id: 'a', token: 'x'.repeat(6_000_000) }), {
          fin: false,
        });
        const code = await within(closed, BOUNDS.authenticateMs * 0.8, 'a large first frame is gathered');
        expect([4401, 1006]).toContain(code);
      }),
    );
  }, 30_000);

  it('[AUTH-1] bodies are not read, and tokens and tickets refused, however many come', async () => {
    const sent = IS_LONG ? 6_000 : 1_500;
    const codes = new Set<string>();
    const part = (value: object): string => Buffer.from(JSON.stringify(value)).toString('base64url');
    await withBystander(() =>
      inBatches(sent, 50, async (n) => {
        const token = `${part({ alg: 'HS256', kid: `kid-${n}` })}.${part({ sub: 'alice', n })}.c2lnbmF0dXJl`;
        const headers: Record<string, string> =
          n % 3 === 0 ? { Authorization: `Bearer ${token}` } : { 'X-API-Key': `sk-ms-${n}` };
        const path = '/v1/sessions/sesn_x/events/stream?ticket=';
        const answer =
          n % 3 === 1
            ? await callHttp(server.url, 'GET', path + String(n).padStart(43, 'a'))
            : await callHttp(server.url, 'POST', '/v1/sessions', { title: 'x'.repeat(1_000) }, headers);
        codes.add(`${answer.status} ${answer.body.error.code}`);
      }),
    );
    expect([...codes]).toEqual(['401 unauthenticated']);
  }, 60_000);

  it('whoever comes after the floods with a good token is served', async () => {
    const client = await WsRecorder.connect(server.wsUrl, bearerOf({ sub: 'late' }));
    await client.createSession();
    await client.drop();
  });
});

describe('after authentication', () => {
  const eve = { sub: 'eve' };
  const TYPED = ['accepted', 'rate_limited', 'queue_full', 'invalid_request', 'turn_not_active', 'overloaded'];

  it('commands of each kind, faster than is allowed, are each answered, with a typed refusal', async () => {
    const codes = new Set<string>();
    await withBystander(async () => {
      const client = await WsRecorder.connect(server.wsUrl, bearerOf(eve));
      const id = await client.createSession();
      const tool = { name: 'edit_note', description: 'x'.repeat(1_000), input_schema: { type: 'object' as const } };
      const kinds: CommandInput[] = [
        { type: 'session.attach', session_id: id },
        { type: 'session.detach', session_id: id },
        { type: 'tools.register', session_id: id, tools: [tool] },
        { type: 'presence.update', session_id: id, state: { x: 'y'.repeat(1_500) } },
        { type: 'session.create', title: 'x'.repeat(100) },
        { type: 'user.message', session_id: id, content: 'x'.repeat(10_000) },
        { type: 'user.steer', session_id: id, content: 'x' },
      ];
      const ids = Array.from({ length: IS_LONG ? 8_000 : 2_000 }, (_, n) =>
        client.send(kinds[n % kinds.length] as CommandInput),
      );
      for (const commandId of ids) {
        const reply = await client.replyTo(commandId);
        codes.add(reply.type === 'command.rejected' ? reply.error.code : 'accepted');
      }
      await client.drop();
    });
    expect([...codes].filter((code) => !TYPED.includes(code))).toEqual([]);
    expect(codes).toContain('rate_limited');
  }, 60_000);

  it('tickets, sessions, revocations, reads of the audit', async () => {
    const codes = new Set<string>();
    const admin = bearerOf({ sub: 'eve', roles: ['admin'] });
    await withBystander(() =>
      inBatches(IS_LONG ? 1_600 : 400, 20, async (n) => {
        const calls = [
          () => callHttp(server.url, 'POST', '/v1/ws-tickets', {}, admin),
          () => callHttp(server.url, 'GET', '/v1/audit?limit=1000', undefined, admin),
          () => callHttp(server.url, 'POST', '/v1/sessions', { title: `${n}` }, admin),
          () => callHttp(server.url, 'POST', '/v1/revocations', { key_id: `key-${n}`, reason: 'flood' }, admin),
        ];
        const answer = await (calls[n % calls.length] as (typeof calls)[0])();
        codes.add(`${answer.status} ${answer.body.error?.code ?? ''}`.trim());
      }),
    );
    expect([...codes].sort()).toEqual(['200', '201', '429 rate_limited']);
  }, 60_000);

  it('bodies of one user that are on their way at once are bounded', async () => {
    const length = 8_000_000;
    const taken = Math.floor((DEFAULT_LIMITS.frame_bytes_with_images * DEFAULT_LIMITS.sockets_per_user) / length);
    const answers: string[] = [];
    await withBystander(async () => {
      const { Authorization } = bearerOf(eve);
      const head = `POST /v1/sessions HTTP/1.1\r\nHost: x\r\nAuthorization: ${Authorization}\r\nContent-Length: ${length}\r\n\r\n`;
      const refused = Array.from({ length: 60 }, () => {
        const { socket } = rawSocket(`${head}{"title":"`);
        // All but the last bytes, which are held back for good.
        for (let n = 0; n < 7; n += 1) socket.write('x'.repeat(1_000_000));
        return new Promise<void>((resolve) => {
          socket.once('data', (chunk) => {
            answers.push(String(chunk));
            if (answers.length === 60 - taken) resolve();
          });
        });
      });
      await within(Promise.race(refused), 15_000, () => `only ${answers.length} were refused`);
      for (const { close } of open.splice(0)) close();
    });
    for (const answer of answers) expect(answer).toContain('"code":"rate_limited"');
    // And they are not held against the user for good.
    const isFree = async (): Promise<void> => {
      const answer = await callHttp(server.url, 'POST', '/v1/sessions', {}, bearerOf(eve));
      if (answer.status === 429) return isFree();
      expect(answer.status).toBe(201);
    };
    await within(isFree(), PATIENCE_MS, 'bodies that never came are held against their user');
  }, 30_000);

  it('[LOG-6] presence that nobody reads does not pile up', async () => {
    await withBystander(async () => {
      const clients: WsRecorder[] = [];
      for (let n = 0; n < 8; n += 1) clients.push(await WsRecorder.connect(server.wsUrl, bearerOf({ sub: 'eve2' })));
      const [first, ...deaf] = clients as [WsRecorder, ...WsRecorder[]];
      const id = await first.createSession();
      const state = { x: 'y'.repeat(2_000) };
      for (const client of clients) await client.accepted({ type: 'presence.update', session_id: id, state });
      for (const client of deaf) await client.attach(id);
      for (const client of deaf) client.pause();
      const ids = Array.from({ length: IS_LONG ? 4_000 : 1_000 }, () => ({
        type: 'presence.update' as const,
        session_id: id,
        state,
      }));
      let shown = 0;
      for (const command of ids) if ((await first.request(command)).type === 'command.accepted') shown += 1;
      expect(shown).toBeGreaterThan(50);
      for (const client of clients) await client.drop();
    });
  }, 60_000);
});
