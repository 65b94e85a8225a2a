/** Bounds the connections that have not asked for anything yet: nobody knows whose they are, and each costs a descriptor. */
import type { IncomingMessage, Server } from 'node:http';
import type { Socket } from 'node:net';
import { toClientAddress, toClientKey } from './client-address.js';

export const SILENCE = {
  /** How long the headers of a request may take; a connection's first ones from its beginning. */
  headersMs: 10_000,
  perClient: 256,
  inAll: 4_096,
} as const;

/** One too many is closed without a word: it said none either. Proxies keep connections in store, and are not counted. */
export function boundSilentConnections(server: Server, isProxy: (address: string) => boolean): void {
  const byClient = new Map<string, number>();
  const silent = new Map<Socket, string>();

  const heard = (socket: Socket): void => {
    const client = silent.get(socket);
    if (client === undefined) return;
    silent.delete(socket);
    const left = (byClient.get(client) ?? 1) - 1;
    if (left === 0) byClient.delete(client);
    else byClient.set(client, left);
  };

  server.on('connection', (socket: Socket) => {
    const address = toClientAddress(socket);
    if (isProxy(address)) return;
    const client = toClientKey(address);
    const own = byClient.get(client) ?? 0;
    if (own >= SILENCE.perClient || silent.size >= SILENCE.inAll) {
      socket.destroy();
      return;
    }
    byClient.set(client, own + 1);
    silent.set(socket, client);
    socket.once('close', () => heard(socket));
  });
  server.prependListener('request', (req: IncomingMessage) => heard(req.socket));
  server.prependListener('upgrade', (req: IncomingMessage) => heard(req.socket));
}
