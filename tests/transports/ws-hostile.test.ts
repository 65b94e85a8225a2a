/** Frames that no honest client sends, and too many of those that one does. */
import { connect, type Socket } from 'node:net';
import { DEFAULT_LIMITS } from '../../protocol/index.js';
import { OVERUSE_MS, RateMeter } from '../../server/transports/ws/rate-meter.js';
import { FrameClient } from './support/frame-client.js';
import { startTransports, type TransportOptions, type Transports } from './support/start-transports.js';

let t: Transports;
const open = async (options: TransportOptions = {}): Promise<FrameClient> => {
  t = await startTransports(options);
  const headers: Record<string, string> = options.auth === 'required' ? { Authorization: 'Bearer alice' } : {};
  const client = await FrameClient.connect(t.wsUrl, { headers });
  await client.ofType('connection.ready');
  return client;
};
afterEach(async () => {
  expect(t.logger.records.filter((r) => r.level === 'error')).toEqual([]);
  await t.stop();
});

it.each([
  ['garbage', 'not json'],
  ['half a frame', '{"type":"ping","id":"a"'],
  ['an array', '[]'],
  ['a number', '7'],
  ['null', 'null'],
  ['nothing', ''],
  ['no id', '{"type":"ping"}'],
  ['an id of the wrong form', '{"type":"ping","id":"has space"}'],
  ['an id too long', `{"type":"ping","id":"${'x'.repeat(65)}"}`],
  ['an id that is an object', '{"type":"ping","id":{"a":1}}'],
  ['an id only as a prototype key', '{"type":"ping","__proto__":{"id":"a"}}'],
  ['depth without an id', '['.repeat(5_000)],
])('%s closes with 4400, announced by connection.closing', async (_what, text) => {
  const client = await open();
  client.send(text);
  expect((await client.closed).code).toBe(4400);
  expect(client.frames.at(-1)).toMatchObject({ type: 'connection.closing', code: 4400, reconnect: false });
});

it('a binary frame closes with 4400', async () => {
  const client = await open();
  client.socket.send(Buffer.from('{"type":"ping","id":"a"}'));
  expect((await client.closed).code).toBe(4400);
});

it.each([
  ['an unknown type', { type: 'user.shout' }, /type: must be one of .*user\.message.*ping/],
  ['no type', {}, /type: must be one of/],
  ['a type of the prototype', { type: 'constructor' }, /type: must be one of/],
  ['a missing field', { type: 'session.attach' }, /^session_id: /],
  ['a typo', { type: 'session.detach', session_id: 's', sesion: 1 }, /^sesion: is not known here/],
  ['a wrong value', { type: 'user.message', session_id: 's', content: 'x', on_busy: 'panic' }, /^on_busy: .*"queue"/],
  ['a wrong type', { type: 'user.message', session_id: 's', content: 5 }, /^content: must be string or array/],
  ['blank text', { type: 'user.message', session_id: 's', content: ' \n' }, /^content: .*not blank/],
  [
    'an unknown block',
    { type: 'user.message', session_id: 's', content: [{ type: 'video' }] },
    /^content\[0\]\.type: must be one of text, image, document/,
  ],
  [
    'a wrong field in a block',
    {
      type: 'user.message',
      session_id: 's',
      content: [
        { type: 'text', text: 'a' },
        { type: 'text', text: 7 },
      ],
    },
    /^content\[1\]\.text: /,
  ],
])('%s is command.rejected with the path and what would be right', async (_what, fields, message) => {
  const client = await open();
  client.send({ id: 'bad', ...fields });
  const reply = await client.reply('bad');
  expect(reply).toMatchObject({ type: 'command.rejected', error: { code: 'invalid_request', retryable: false } });
  expect((reply['error'] as { message: string }).message).toMatch(message);
  client.send({ type: 'ping', id: 'p' });
  await client.ofType('pong');
});

it('a frame deeper than the limit is refused by its id, wherever that stands', async () => {
  const client = await open();
  const deep = `${'{"a":'.repeat(100_000)}1${'}'.repeat(100_000)}`;
  client.send(`{"x":${deep},"type":"presence.update","session_id":"s","id":"deep1"}`);
  client.send(`{"id":"deep2","s":"a \\"quoted\\" {[ text","state":${'['.repeat(65)}${']'.repeat(65)}}`);
  expect(await client.reply('deep1')).toMatchObject({ session_id: 's', error: { code: 'invalid_request' } });
  expect(await client.reply('deep2')).toMatchObject({
    error: { code: 'invalid_request', message: expect.stringContaining('64 levels') },
  });
});

it('brackets inside a text are no depth', async () => {
  const client = await open();
  const session = t.api.create();
  client.send({ type: 'user.message', id: 'm', session_id: session.id, content: '[{'.repeat(500) });
  expect(await client.reply('m')).toMatchObject({ type: 'command.accepted' });
});

it('prototype keys reach nobody', async () => {
  const client = await open();
  const session = t.api.create();
  client.send(`{"type":"presence.update","id":"a","session_id":"${session.id}","state":{"__proto__":{"admin":true}}}`);
  client.send(`{"type":"user.message","id":"b","session_id":"${session.id}","content":"x","__proto__":{"admin":true}}`);
  await client.reply('a');
  expect(await client.reply('b')).toMatchObject({ error: { code: 'invalid_request' } });
  expect(({} as Record<string, unknown>)['admin']).toBeUndefined();
  for (const { command } of t.api.calls) expect(JSON.stringify(command)).not.toContain('admin');
});

describe('size', () => {
  const limits = { frame_bytes: 10_000, frame_bytes_with_images: 100_000 };
  const message = (id: string, content: unknown, session: { id: string }) => ({
    type: 'user.message',
    id,
    session_id: session.id,
    content,
  });
  const image = (bytes: number) => ({
    type: 'image',
    source: { type: 'base64', media_type: 'image/png', data: 'A'.repeat(bytes) },
  });

  it('a large frame without an image is payload_too_large, with one it is taken', async () => {
    const client = await open({ limits });
    const session = t.api.create();
    client.send(message('big', 'x'.repeat(20_000), session));
    expect(await client.reply('big')).toMatchObject({
      error: { code: 'payload_too_large', message: expect.stringContaining('10000') },
    });
    client.send(message('img', [image(20_000)], session));
    expect(await client.reply('img')).toMatchObject({ type: 'command.accepted' });
  });

  it('a frame over the whole limit closes with 1009, announced', async () => {
    const client = await open({ limits });
    client.send(message('huge', [image(100_000)], t.api.create()));
    expect((await client.closed).code).toBe(1009);
    expect(client.frames.at(-1)).toMatchObject({ type: 'connection.closing', code: 1009, reconnect: false });
  });

  it('the default limits are those of the protocol', () => {
    expect(DEFAULT_LIMITS).toMatchObject({ frame_bytes: 1_048_576, frame_bytes_with_images: 8_388_608 });
  });
});

describe('rate', () => {
  it('each command over the rate is rate_limited, with when to send it again', async () => {
    const client = await open({ auth: 'required', limits: { commands_per_second: 5 } });
    for (let n = 0; n < 7; n += 1) client.send({ type: 'ping', id: `p${n}` });
    expect(await client.reply('p6')).toMatchObject({
      type: 'command.rejected',
      error: { code: 'rate_limited', retryable: true, retry_after_ms: 200 },
    });
    expect(client.frames.filter((f) => f.type === 'pong')).toHaveLength(5);
    t.clock.advance(1_000);
    client.send({ type: 'ping', id: 'later' });
    await client.frame((f) => f.type === 'pong' && f['id'] === 'later');
  });

  it('ten seconds of it close with 4429', async () => {
    const client = await open({ auth: 'required', limits: { commands_per_second: 2 } });
    let id = 0;
    for (let second = 0; second < 25 && client.socket.readyState === client.socket.OPEN; second += 1) {
      for (let n = 0; n < 4; n += 1) {
        id += 1;
        client.send({ type: 'ping', id: `p${id}` });
      }
      await Promise.race([client.frame((f) => f['id'] === `p${id}`), client.closed]).catch(() => {});
      t.clock.advance(500);
    }
    expect((await client.closed).code).toBe(4429);
    expect(client.frames.at(-1)).toMatchObject({ type: 'connection.closing', code: 4429 });
  });

  it('a pause of more than a second begins the ten seconds anew', () => {
    const meter = new RateMeter(1, 0);
    meter.take(0);
    expect(meter.take(1).kind).toBe('limited');
    expect(meter.take(OVERUSE_MS - 500).kind).toBe('allowed');
    expect(meter.take(OVERUSE_MS - 400).kind).toBe('limited');
    expect(meter.take(OVERUSE_MS + 100).kind).toBe('limited');
  });

  it('does not apply in dev', async () => {
    const client = await open({ auth: 'dev', limits: { commands_per_second: 1 } });
    for (let n = 0; n < 50; n += 1) client.send({ type: 'ping', id: `p${n}` });
    await client.frame((f) => f.type === 'pong' && f['id'] === 'p49');
  });
});

describe('bytes on the wire', () => {
  const handshake =
    'GET /v1/ws HTTP/1.1\r\nHost: localhost\r\nConnection: Upgrade\r\nUpgrade: websocket\r\nSec-WebSocket-Version: 13\r\n' +
    'Sec-WebSocket-Key: dGhlIHNhbXBsZSBub25jZQ==\r\nSec-WebSocket-Protocol: midstream.v1\r\n\r\n';
  const textFrame = (text: string): Buffer =>
    Buffer.concat([Buffer.from([0x81, 0x80 | text.length, 0, 0, 0, 0]), Buffer.from(text)]);

  async function raw(): Promise<{ socket: Socket; until: (text: string) => Promise<string> }> {
    t = await startTransports();
    const socket = connect(t.port, '127.0.0.1');
    let seen = '';
    const waiting = new Set<() => void>();
    const wake = (): void => {
      for (const resolve of waiting) resolve();
      waiting.clear();
    };
    socket.on('data', (chunk) => {
      seen += chunk.toString('latin1');
      wake();
    });
    socket.on('close', () => {
      seen += '<closed>';
      wake();
    });
    const until = async (text: string): Promise<string> => {
      while (!seen.includes(text)) {
        if (seen.endsWith('<closed>')) throw new Error(`closed before ${text}: ${seen}`);
        await new Promise<void>((resolve) => waiting.add(resolve));
      }
      return seen;
    };
    socket.write(handshake);
    await until('connection.ready');
    return { socket, until };
  }

  it('a frame that comes byte by byte is one frame', async () => {
    const { socket, until } = await raw();
    socket.setNoDelay(true);
    for (const byte of textFrame('{"type":"ping","id":"slow"}')) {
      await new Promise((resolve) => socket.write(Buffer.from([byte]), resolve));
    }
    await until('"id":"slow"');
    socket.destroy();
  });

  it('many frames in one segment are each answered', async () => {
    const { socket, until } = await raw();
    socket.write(Buffer.concat(Array.from({ length: 50 }, (_, n) => textFrame(`{"type":"ping","id":"p${n}"}`))));
    const seen = await until('"id":"p49"');
    expect(seen.match(/"pong"/g)).toHaveLength(50);
    socket.destroy();
  });

  it('text that is not UTF-8 closes with 1007, broken framing with 1002, both announced', async () => {
    for (const [bytes, code] of [
      [Buffer.from([0x81, 0x82, 0, 0, 0, 0, 0xc3, 0x28]), 1007],
      [Buffer.from([0xff, 0x80, 0, 0, 0, 0]), 1002],
      [Buffer.from([0x81, 0x01, 0x41]), 1002],
    ] as const) {
      const { socket, until } = await raw();
      socket.write(bytes);
      expect(await until('connection.closing')).toContain(`"code":${code}`);
      socket.destroy();
      await t.stop();
    }
    t = await startTransports();
  });

  it('what comes behind a frame that closes the connection takes no effect', async () => {
    const { socket, until } = await raw();
    socket.write(Buffer.concat([textFrame('garbage'), textFrame('{"type":"session.create","id":"after"}')]));
    await until('connection.closing');
    await until('<closed>');
    expect(t.api.calls).toEqual([]);
  });
});
