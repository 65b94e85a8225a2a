/** One address in front of several servers: every connection, and every further request on it, goes to the next of them. */
import { type AddressInfo, connect, createServer, type Socket } from 'node:net';

export interface Target {
  readonly host: string;
  readonly port: number;
}

export interface RoundRobin {
  readonly url: string;
  close(): Promise<void>;
}

/** Clients keep their connections for the next request: it begins like this, after an answer. */
const NEXT_REQUEST = /^[A-Z]{3,7} \//;

/** It asks for the targets at every connection, so that they may come and go. */
export async function startRoundRobin(targets: () => readonly Target[]): Promise<RoundRobin> {
  const clients = new Set<Socket>();
  let served = 0;
  const next = (): Target | undefined => {
    const all = targets();
    return all[served++ % all.length];
  };
  const front = createServer({ allowHalfOpen: true, noDelay: true }, (client) => {
    clients.add(client);
    client.once('close', () => clients.delete(client));
    serve(client, next);
  });
  await new Promise<void>((resolve) => front.listen(0, '127.0.0.1', resolve));
  return {
    url: `http://127.0.0.1:${(front.address() as AddressInfo).port}`,
    close: () =>
      new Promise((resolve) => {
        front.close(() => resolve());
        for (const client of clients) client.destroy();
      }),
  };
}

function serve(client: Socket, next: () => Target | undefined): void {
  let server: Socket | undefined;
  let isAnswered = false;

  const dial = (): Socket | undefined => {
    const target = next();
    if (!target) return undefined;
    const socket = connect({ ...target, allowHalfOpen: true, noDelay: true });
    isAnswered = false;
    socket.once('data', () => {
      isAnswered = true;
    });
    // What one side can't take yet, the other isn't read for: a slow client is slow for its server too.
    socket.pipe(client, { end: false });
    socket.on('drain', () => client.resume());
    socket.on('error', () => undefined);
    socket.once('end', () => socket === server && client.end());
    socket.once('close', () => socket === server && client.destroySoon());
    return socket;
  };
  const redial = (): void => {
    const before = server;
    before?.unpipe(client);
    server = dial();
    before?.destroy();
  };

  redial();
  client.on('data', (bytes: Buffer) => {
    if (isAnswered && NEXT_REQUEST.test(bytes.toString('latin1', 0, 16))) redial();
    if (!server) client.destroy();
    else if (!server.write(bytes)) client.pause();
  });
  client.on('error', () => undefined);
  client.once('end', () => server?.end());
  client.once('close', () => server?.destroy());
}
