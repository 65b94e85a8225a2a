/** Floods and garbage: whoever misbehaves harms only himself, and those who stream beside him don't notice. */
import { connect, type Socket } from 'node:net';
import { WebSocket } from 'ws';
import { SUBPROTOCOL } from '../../protocol/index.js';
import { startUpstream, textReply, type Upstream } from '../support/upstream/index.js';
import { createRandom } from '../core/support/random.js';
import { type BlackboxServer, PRIVATE, startBlackbox, within } from '../support/blackbox-server.js';
import { callHttp } from '../support/blackbox-http.js';
import type { WsRecorder } from '../support/ws-recorder.js';
import { Watchers } from '../support/ws-watchers.js';

const SEED = Number(process.env['MIDSTREAM_TEST_SEED'] ?? 77);
const SCALE = process.env['MIDSTREAM_TEST_LONG'] === '1' ? 10 : 1;

let upstream: Upstream;
let server: BlackboxServer;
const watchers = new Watchers(() => server.wsUrl);
const chunks = Array.from({ length: 300 }, (_, n) => `${n.toString(36)} `);

beforeAll(async () => {
  upstream = await startUpstream();
  server = await startBlackbox({ upstream, config: { limits: { queued_turns: 20, sessions_per_socket: 8 } } });
  upstream.script(({ body }) =>
    JSON.stringify(body['messages']).includes('stream')
      ? { blocks: [{ type: 'text', text: chunks.join(''), chunks }], pace: { everyMs: 3 } }
      : textReply('ok'),
  );
});

afterEach(async () => {
  await watchers.release();
  expect(upstream.violations).toEqual([]);
});

afterAll(async () => {
  await server.dispose();
  await upstream.close();
});

/** Streams beside what is done, and checks that it came whole, in order, and about as fast as it was sent. */
async function unharmed(work: () => Promise<void>): Promise<void> {
  const streams = await Promise.all(
    Array.from({ length: 4 }, async () => {
      const client = await watchers.connect();
      const sessionId = await client.openSession();
      const { result } = await client.prompt(sessionId, `stream ${PRIVATE}`);
      return { client, turnId: result.turn_id as string };
    }),
  );
  await work();
  for (const { client, turnId } of streams) {
    const ended = await within(
      client.event('turn.ended', { turnId }),
      10_000,
      'a stream beside the flood stands still',
    );
    expect(ended).toMatchObject({ stop_reason: 'end_turn' });
    expect(watchers.textOf(client, turnId)).toBe(chunks.join(''));
  }
}

describe('beside streams that go on unharmed', () => {
  it('[CMD-1] answers each of thousands of commands that one connection sends without waiting', async () => {
    await unharmed(async () => {
      const flooder = await watchers.connect();
      const sessionId = await flooder.openSession();
      const ids: string[] = [];
      for (let n = 0; n < 600 * SCALE; n += 1) {
        ids.push(flooder.send({ type: 'user.interrupt', session_id: sessionId }));
        ids.push(flooder.send({ type: 'user.message', session_id: sessionId, content: `${n}` }));
        if (n % 50 === 0) ids.push(flooder.send({ type: 'session.attach', session_id: sessionId, after_seq: 0 }));
      }
      const isReply = ({ type }: { type: string }) => type === 'command.accepted' || type === 'command.rejected';
      await flooder.replyTo(ids.at(-1) as string);
      await flooder.until(() => flooder.frames.filter(isReply).length >= ids.length, 'every reply');
      for (const id of ids) await flooder.replyTo(id);
    });
  });

  it('keeps the queue of a session within its bound', async () => {
    const client = await watchers.connect();
    const sessionId = await client.openSession();
    await client.prompt(sessionId, `stream ${PRIVATE}`);
    const replies = await Promise.all(
      Array.from({ length: 60 }, () =>
        client.request({ type: 'user.message', session_id: sessionId, content: 'more' }),
      ),
    );
    const refused = replies.flatMap((reply) => (reply.type === 'command.rejected' ? [reply.error.code] : []));
    expect(refused).toEqual(Array.from({ length: 40 }, () => 'queue_full'));
    await client.accepted({ type: 'user.interrupt', session_id: sessionId, scope: 'turn_and_queue' });
  });

  it('keeps the sessions that a socket watches within their bound', async () => {
    const client = await watchers.connect();
    const codes: string[] = [];
    for (let n = 0; n < 12; n += 1) {
      const reply = await client.request({ type: 'session.attach', session_id: await client.createSession() });
      codes.push(reply.type === 'command.rejected' ? reply.error.code : 'accepted');
    }
    expect(codes.filter((code) => code === 'accepted')).toHaveLength(8);
  });

  it('takes hundreds of connections that come and go at once, some without a word', async () => {
    await unharmed(async () => {
      const random = createRandom(SEED);
      const { port } = new URL(server.url);
      const raw: Socket[] = [];
      await Promise.all(
        Array.from({ length: 200 * SCALE }, async () => {
          if (random.chance(0.3)) {
            const socket = connect(Number(port), '127.0.0.1');
            socket.on('error', () => undefined);
            raw.push(socket);
            await new Promise((resolve) => socket.once('connect', resolve));
            socket.write(random.pick(['', 'GET ', 'GET /v1/ws HTTP/1.1\r\nUpgrade: websocket\r\n', '\0\0']));
            return;
          }
          const client = await watchers.connect();
          if (random.chance(0.5)) await client.openSession();
          await (random.chance(0.5) ? client.drop() : client.close());
        }),
      );
      for (const socket of raw) socket.destroy();
    });
    expect((await callHttp(server.url, 'GET', '/health')).body.status).toBe('healthy');
  });

  it('closes on garbage with a reason, refuses what it can answer, and lives on', async () => {
    await unharmed(async () => {
      const random = createRandom(SEED);
      const codes = await Promise.all(Array.from({ length: 120 * SCALE }, () => sendGarbage(garbage(random))));
      expect(codes.every((code) => [1000, 1002, 1005, 1006, 1007, 1009, 4400].includes(code))).toBe(true);
      expect(codes).toEqual(expect.arrayContaining([4400, 1009]));
    });
    expect((await callHttp(server.url, 'GET', '/health')).status).toBe(200);
    expect(server.stdout).not.toContain('uncaught');
    expect(server.stdout).not.toContain('unhandled');
  });

  it('reads no more from who takes no answers', async () => {
    const greedy: WsRecorder = await watchers.connect();
    const sent = 4_000 * SCALE;
    // Each answer repeats this: unread answers soon fill every buffer on the way.
    const metadata = Object.fromEntries(Array.from({ length: 16 }, (_, n) => [`key-${n}`, 'x'.repeat(512)]));
    await unharmed(async () => {
      greedy.pause();
      for (let n = 0; n < sent; n += 1) greedy.send({ type: 'session.create', metadata });
    });
    const { body } = await callHttp(server.url, 'GET', '/health');
    expect(body.active_sessions).toBeLessThan(sent / 2);
  });
});

const BASE = { type: 'user.message', id: 'g', session_id: 'sesn_x', content: 'x' };

function garbage(random: ReturnType<typeof createRandom>): string | Buffer {
  const noise = Buffer.from(Array.from({ length: 1 + random.int(200) }, () => random.int(256)));
  return random.pick<() => string | Buffer>([
    () => noise,
    () => noise.toString('latin1'),
    () => '',
    () => 'null',
    () => '[]',
    () => '"text"',
    () => `${'['.repeat(50_000)}`,
    () => `{"id":"deep","type":"user.message","content":${'['.repeat(3_000)}${']'.repeat(3_000)}}`,
    () => JSON.stringify({ ...BASE, id: 'x'.repeat(65) }),
    () => JSON.stringify({ ...BASE, id: 7 }),
    () => JSON.stringify({ ...BASE, content: 'x'.repeat(1_200_000) }),
    () => 'x'.repeat(9_000_000),
    () => JSON.stringify({ ...BASE, type: '__proto__' }),
    () => '{"type":"ping","id":"a","id":"b","__proto__":{"x":1}}',
    () => JSON.stringify({ ...BASE, session_id: '../../etc/passwd' }),
    () => JSON.stringify({ type: 'session.attach', id: 'n', session_id: 'x', after_seq: 1e308 }),
    () => '{"type":"session.attach","id":"n","session_id":"x","after_seq":-0}',
    () => JSON.stringify(BASE).slice(0, random.int(60)),
  ])();
}

/** Sends it on a connection of its own, and a ping behind it. Resolves with the code of the close. */
async function sendGarbage(data: string | Buffer): Promise<number> {
  const socket = new WebSocket(server.wsUrl, SUBPROTOCOL);
  socket.on('error', () => undefined);
  const closed = new Promise<number>((resolve) => socket.once('close', (code) => resolve(code)));
  await new Promise((resolve) => socket.once('open', resolve));
  socket.on('message', (text) => {
    if (JSON.parse(String(text)).type === 'pong') socket.close(1000);
  });
  socket.send(data);
  socket.send(JSON.stringify({ type: 'ping', id: 'after' }));
  return within(closed, 10_000, `neither a pong nor a close after ${String(data).slice(0, 80)}`);
}
