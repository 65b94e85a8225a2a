/** Floods before authentication: another user is served meanwhile, memory stays bounded, refusals are typed. */
import { connect, type Socket } from 'node:net';
import { WebSocket } from 'ws';
import { BOUNDS, SUBPROTOCOL } from '../../protocol/index.js';
import { SILENCE } from '../../server/transports/silent-connections.js';
import { bearerOf, IDENTITY_ENV } from '../support/attack-identity.js';
import { callHttp } from '../support/blackbox-http.js';
import { type BlackboxServer, startBlackbox, within } from '../support/blackbox-server.js';
import { residentMiB } from '../support/process-memory.js';
import { WsRecorder } from '../support/ws-recorder.js';

/** What a flood may add to the process. A leak of any of these floods is several times as much. */
const MAX_GROWTH_MIB = 150;
/** What a bystander may wait for an answer, on a machine that runs the flood as well. */
const PATIENCE_MS = 5_000;
/** Another client than the bystander, who comes from 127.0.0.1. */
const FLOODER = '127.0.0.2';

let server: BlackboxServer;
const ROLE = { tools: { allow: ['*'] }, models: ['*'] };
beforeAll(async () => {
  server = await startBlackbox({
    env: IDENTITY_ENV,
    config: {
      roles: { user: ROLE, admin: { ...ROLE, inspect: true } },
      limits: { queued_turns: 20 },
      client_tools: ['edit_*'],
    },
  });
});
afterAll(() => server.dispose());

const open: { close(): void }[] = [];
afterEach(() => {
  for (const one of open.splice(0)) one.close();
});

/** Another user makes sessions, again and again while `flood` runs, and is answered each time. */
async function withBystander(flood: () => Promise<unknown>): Promise<void> {
  const before = residentMiB(server.pid);
  let peak = before;
  let isOver = false;
  let prompts = 0;
  const flooding = flood().finally(() => {
    isOver = true;
  });
  while (!isOver || prompts === 0) {
    const answer = callHttp(server.url, 'POST', '/v1/sessions', {}, bearerOf({ sub: 'bystander' }));
    expect((await within(answer, PATIENCE_MS, 'the bystander was not answered')).status).toBe(201);
    prompts += 1;
    peak = Math.max(peak, residentMiB(server.pid));
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
  socket.on('connect', () => socket.write(text));
  return { socket, closed: new Promise((resolve) => socket.once('close', () => resolve(said))) };
}

describe('before authentication', () => {
  it('[AUTH-1] connections that never finish their headers are bounded in number and in time', async () => {
    await withBystander(async () => {
      const slow = Array.from({ length: SILENCE.perClient + 50 }, () =>
        rawSocket('GET /v1/ws HTTP/1.1\r\nHost: x\r\nX-Slow: '),
      );
      const drip = setInterval(() => {
        for (const { socket } of slow) if (socket.writable) socket.write('x');
      }, 500);
      // Those that are too many at once; the others in their time, whatever drips in.
      await Promise.all(slow.map(({ closed }) => within(closed, SILENCE.headersMs + 10_000, 'a slow header is kept')));
      clearInterval(drip);
    });
  }, 40_000);

  it('[AUTH-1] sockets that say nothing are bounded in number, and closed in time', async () => {
    await withBystander(async () => {
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
    });
  }, 30_000);

  it('[AUTH-1] a frame of many bytes is not gathered from who has not said who they are', async () => {
    await withBystander(() =>
      inBatches(40, 20, async () => {
        const socket = new WebSocket(server.wsUrl, SUBPROTOCOL);
        open.push({ close: () => socket.terminate() });
        socket.on('error', () => {});
        const closed = new Promise<number>((resolve) => socket.once('close', resolve));
        await new Promise((resolve) => socket.once('open', resolve));
        socket.send(JSON.stringify({ type: 'connection.authenticate', id: 'a', token: 'x'.repeat(6_000_000) }));
        expect([4401, 1006]).toContain(await within(closed, PATIENCE_MS, 'a large first frame is kept'));
      }),
    );
  }, 30_000);

  it('[AUTH-1] bodies are not read, and tokens and tickets refused, however many come', async () => {
    const sent = 3_000;
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
