/** Sockets before authentication: how many, how many bytes, and whose they are. */
import type { IncomingMessage } from 'node:http';
import { connect } from 'node:net';
import { BOUNDS } from '../../protocol/index.js';
import { createClientAddress, toClientKey } from '../../server/transports/client-address.js';
import { WaitingRoom } from '../../server/transports/ws/waiting-room.js';
import { FrameClient, refusalOf } from './support/frame-client.js';
import { startTransports, type Transports } from './support/start-transports.js';

describe('the address of a client', () => {
  const read = (trusted: string[], remoteAddress: string | undefined, forwarded?: string): string =>
    createClientAddress(trusted)({
      headers: forwarded === undefined ? {} : { 'x-forwarded-for': forwarded },
      socket: { remoteAddress } as IncomingMessage['socket'],
    });

  it.each<[string, string[], string | undefined, string | undefined, string]>([
    ['is that of the connection', [], '9.9.9.9', undefined, '9.9.9.9'],
    ['is not what a stranger says', [], '9.9.9.9', '1.1.1.1', '9.9.9.9'],
    ['is not what a stranger says beside a proxy', ['10.0.0.0/8'], '9.9.9.9', '1.1.1.1', '9.9.9.9'],
    ['is what the proxy says', ['10.0.0.0/8'], '10.0.0.1', '1.1.1.1', '1.1.1.1'],
    ['is the rightmost that is no proxy', ['10.0.0.0/8'], '10.0.0.1', '6.6.6.6, 1.1.1.1, 10.0.0.2', '1.1.1.1'],
    ['is the leftmost proxy where all are', ['10.0.0.0/8'], '10.0.0.1', '10.0.0.3, 10.0.0.2', '10.0.0.3'],
    ['is the proxy that says nothing', ['10.0.0.1'], '10.0.0.1', undefined, '10.0.0.1'],
    ['is the proxy that says nonsense', ['10.0.0.1'], '10.0.0.1', '1.1.1.1, unknown', '10.0.0.1'],
    ['is plain where the socket is dual', ['10.0.0.1'], '::ffff:10.0.0.1', '1.1.1.1', '1.1.1.1'],
    ['may have a port', ['::1'], '::1', '[2001:db8::1]:443', '2001:db8::1'],
    ['may have a port, IPv4 too', ['::1'], '::1', '1.1.1.1:443', '1.1.1.1'],
    ['is unknown for a socket that is gone', [], undefined, '1.1.1.1', 'unknown'],
  ])('%s', (_, trusted, remote, forwarded, expected) => {
    expect(read(trusted, remote, forwarded)).toBe(expected);
  });

  it.each([
    ['1.2.3.4', '1.2.3.4'],
    ['2001:db8:1:2:3:4:5:6', '2001:db8:1:2::/64'],
    ['2001:db8::1', '2001:db8:0:0::/64'],
    ['2001:0db8:0:0:ffff::', '2001:db8:0:0::/64'],
    ['::1', '0:0:0:0::/64'],
    ['64:ff9b::1.2.3.4', '64:ff9b:0:0::/64'],
    ['unknown', 'unknown'],
  ])('%s counts as %s', (address, key) => {
    expect(toClientKey(address)).toBe(key);
  });
});

describe('the waiting room', () => {
  it('has so many places for one client, and gives each back once', () => {
    const room = new WaitingRoom();
    const enter = (n: number) => room.enter(`2001:db8::${n}`);
    const leaves = Array.from({ length: BOUNDS.unauthenticatedPerClient }, (_, n) => enter(n));
    expect(() => enter(99)).toThrow(expect.objectContaining({ code: 'rate_limited' }));
    room.enter('9.9.9.9');
    leaves[0]?.();
    leaves[0]?.();
    enter(99);
    expect(() => enter(99)).toThrow('your address');
    expect(room.count).toBe(BOUNDS.unauthenticatedPerClient + 1);
  });

  it('has so many places in all', () => {
    const room = new WaitingRoom();
    const enter = (n: number) => room.enter(`9.9.${n >> 8}.${n & 255}`);
    for (let n = 0; n < BOUNDS.unauthenticatedSockets; n += 1) enter(n);
    expect(() => enter(BOUNDS.unauthenticatedSockets)).toThrow(expect.objectContaining({ code: 'overloaded' }));
  });
});

describe('a socket without a credential', () => {
  let t: Transports;
  beforeEach(async () => {
    t = await startTransports({ auth: 'required' });
  });
  afterEach(() => t.stop());
  const fill = (): Promise<FrameClient[]> =>
    Promise.all(Array.from({ length: BOUNDS.unauthenticatedPerClient }, () => FrameClient.connect(t.wsUrl)));

  it('takes a place until it is authenticated or gone', async () => {
    const [first, second, ...others] = await fill();
    expect(await refusalOf(FrameClient.connect(t.wsUrl))).toMatchObject({ status: 429 });
    first?.send({ type: 'connection.authenticate', id: 'a', token: 'alice' });
    await first?.ofType('connection.ready');
    await FrameClient.connect(t.wsUrl);
    expect(await refusalOf(FrameClient.connect(t.wsUrl))).toMatchObject({ status: 429 });
    second?.close();
    await second?.closed;
    await FrameClient.connect(t.wsUrl);
    t.clock.advance(BOUNDS.authenticateMs);
    await Promise.all(others.map(({ closed }) => closed));
    await fill();
  });

  it('takes no place where its credential came with the upgrade, or was refused', async () => {
    const connect = (token: string) => FrameClient.connect(t.wsUrl, { headers: { Authorization: `Bearer ${token}` } });
    for (let n = 0; n <= BOUNDS.unauthenticatedPerClient; n += 1) {
      await connect(`user${n}`);
      expect(await refusalOf(connect('bad'))).toMatchObject({ status: 401 });
    }
    await fill();
  });

  it('holds no place by keeping its half open after it was refused', async () => {
    const socket = connect({ port: t.port, host: '127.0.0.1', allowHalfOpen: true });
    const closed = new Promise((resolve) => socket.once('close', resolve));
    const headers = 'Host: x\r\nConnection: Upgrade\r\nUpgrade: websocket\r\nAuthorization: Bearer bad';
    socket.write(`GET /v1/ws HTTP/1.1\r\n${headers}\r\n\r\n`);
    const answer = await new Promise<string>((resolve) => socket.once('data', (chunk) => resolve(String(chunk))));
    expect(answer).toContain('401');
    await new Promise((resolve) => socket.once('end', resolve));
    t.clock.advance(2_000);
    // Only what it writes tells a half-open client that the other side is gone.
    const poke = setInterval(() => socket.write('x'), 5);
    socket.on('error', () => undefined);
    await closed;
    clearInterval(poke);
    await fill();
  });

  it('[AUTH-1] may send so many bytes, whole frames or not', async () => {
    const client = await FrameClient.connect(t.wsUrl);
    client.send(
      `{"type":"connection.authenticate","id":"a","token":"alice${' '.repeat(BOUNDS.unauthenticatedBytes * 2)}"}`,
    );
    expect((await client.closed).code).toBe(4401);
    expect(client.frames.map((frame) => frame.type)).toEqual(['connection.closing']);
  });

  it('[AUTH-1] may not keep itself alive with pings', async () => {
    const client = await FrameClient.connect(t.wsUrl);
    for (let n = 0; n < 1_000; n += 1) client.socket.ping('x'.repeat(120));
    // What it goes on sending may cost it the close frame.
    expect([4401, 1006]).toContain((await client.closed).code);
    expect(t.ws.connectionCount).toBe(0);
  });

  it('may send much more once it is authenticated', async () => {
    const client = await FrameClient.connect(t.wsUrl);
    client.send({ type: 'connection.authenticate', id: 'a', token: 'alice' });
    await client.ofType('connection.ready');
    client.send(`{"type":"ping","id":"p"${' '.repeat(BOUNDS.unauthenticatedBytes * 2)}}`);
    await client.ofType('pong');
  });
});
