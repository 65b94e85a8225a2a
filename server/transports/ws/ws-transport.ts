/** The WebSocket wire: takes upgrades, keeps the connections, and lets them go at a shutdown. */
import type { IncomingMessage } from 'node:http';
import type { Socket } from 'node:net';
import type { Duplex } from 'node:stream';
import { WebSocketServer } from 'ws';
import { BOUNDS, CLOSE, type Limits, MidstreamError, SUBPROTOCOL } from '../../../protocol/index.js';
import type { AuditSink } from '../../ports/audit-log.js';
import type { Clock } from '../../ports/clock.js';
import type { NewId } from '../../ports/identity.js';
import type { Logger } from '../../ports/logger.js';
import type { RevokedCredentials } from '../../ports/revoked-credentials.js';
import type { Identity, TokenVerifier } from '../../ports/token-verifier.js';
import type { SessionApi, TicketApi } from '../../session/session-api.js';
import { recordRefusal } from '../audited-refusal.js';
import { createClientAddress, type ReadClientAddress } from '../client-address.js';
import type { OriginPolicy } from '../origin-policy.js';
import { toMidstreamError } from '../wire-error.js';
import { AnnouncingSocket } from './announcing-socket.js';
import { Connection } from './connection.js';
import { Heartbeat } from './heartbeat.js';
import { Liveness } from './liveness.js';
import { SocketWriter } from './socket-writer.js';
import { admitUpgrade, refuseUpgrade } from './upgrade.js';
import { UserSeats } from './user-seats.js';
import { type Leave, WaitingRoom } from './waiting-room.js';

export interface WsTransportDeps {
  readonly api: SessionApi;
  readonly verifier: TokenVerifier;
  readonly tickets: Pick<TicketApi, 'redeem'>;
  readonly revoked: RevokedCredentials;
  /** For refused credentials. */
  readonly audit: AuditSink;
  readonly clock: Clock;
  readonly logger: Logger;
  readonly limits: Limits;
  readonly newId: NewId;
  readonly policy: OriginPolicy;
  /** Whose socket it is; by default that of the TCP connection. */
  readonly clientAddress?: ReadClientAddress;
}

export interface WsTransport {
  /** For the `upgrade` event of an HTTP server, for every path. Never throws. */
  handleUpgrade(req: IncomingMessage, socket: Duplex, head: Buffer): void;
  /** Tells every client to connect elsewhere after about this long; new upgrades are refused. */
  drain(reconnectAfterMs: number): void;
  /** Closes every connection with 1001; resolves when the last one is gone. */
  close(): Promise<void>;
  readonly connectionCount: number;
}

/** How long a peer may take to answer a close frame, or to go when its upgrade was refused. */
const CLOSE_TIMEOUT_MS = 2_000;

export function createWsTransport(deps: WsTransportDeps): WsTransport {
  const { api, clock, limits, logger, newId, policy, revoked, tickets, verifier } = deps;
  const connections = new Map<AnnouncingSocket, Connection>();
  const heartbeat = new Heartbeat(clock);
  const clientAddress = deps.clientAddress ?? createClientAddress([]);
  const waitingRoom = new WaitingRoom();
  const seats = new UserSeats(limits.sockets_per_user);
  let draining = false;
  let onLastGone: (() => void) | undefined;

  const server = new WebSocketServer<typeof AnnouncingSocket>({
    noServer: true,
    clientTracking: false,
    perMessageDeflate: false,
    maxPayload: limits.frame_bytes_with_images,
    WebSocket: AnnouncingSocket,
    handleProtocols: () => SUBPROTOCOL,
    ...{ closeTimeout: CLOSE_TIMEOUT_MS },
  });

  const takeSeat = (identity: Identity): (() => void) => {
    if (!verifier.required) return () => {};
    const release = seats.take(identity.principal);
    if (release !== undefined) return release;
    const message = `You have ${limits.sockets_per_user} connections open, the most one user may have; close one`;
    throw new MidstreamError('rate_limited', message, { retryAfterMs: 1_000 });
  };

  const adopt = (
    socket: AnnouncingSocket,
    req: IncomingMessage,
    identity: Identity | undefined,
    seat: (() => void) | undefined,
    leave: Leave,
  ): void => {
    let releaseSeat = seat;
    const writer = new SocketWriter(socket, req.socket);
    const connection = new Connection({
      id: newId('conn'),
      socket,
      writer,
      api,
      verifier,
      revoked,
      clock,
      logger,
      limits,
      newId,
      onSignInRefused: (error, requestId, principal) =>
        recordRefusal(error, { requestId, clientAddress: clientAddress(req), principal }, deps),
      takeSeat: (admitted) => {
        releaseSeat = takeSeat(admitted);
        leave();
      },
    });
    const liveness = new Liveness({
      socket,
      tcp: req.socket,
      writer,
      close: (code, reason) => connection.close(code, reason),
    });
    connections.set(socket, connection);
    heartbeat.add(liveness);
    socket.on('message', (data, isBinary) => connection.receive(data as Buffer, isBinary));
    // A broken frame or connection; `ws` closes the socket itself, and 'close' follows.
    socket.on('error', (error) => logger.debug('A WebSocket failed', { error: error.message }));
    socket.on('close', () => {
      heartbeat.remove(liveness);
      connections.delete(socket);
      releaseSeat?.();
      leave();
      connection.end();
      if (connections.size === 0) onLastGone?.();
    });
    if (identity === undefined) boundFirstBytes(req.socket, connection);
    connection.open(identity);
  };

  const upgrade = async (req: IncomingMessage, socket: Duplex, head: Buffer): Promise<void> => {
    const leave = verifier.required ? waitingRoom.enter(clientAddress(req)) : () => {};
    // Until it is known whose it is, or it is gone.
    socket.once('close', leave);
    const identity = await admitUpgrade(req, { verifier, tickets, policy, isDraining: () => draining || api.draining });
    if (identity !== undefined) leave();
    if (socket.destroyed) return;
    const seat = identity === undefined ? undefined : takeSeat(identity);
    let upgraded = false;
    server.handleUpgrade(req, socket, head, (ws) => {
      upgraded = true;
      adopt(ws, req, identity, seat, leave);
    });
    // Refused by `ws` itself, for a header of the handshake was wrong.
    if (!upgraded) seat?.();
  };

  /** Counts what comes before the first frame is whole; `ws` alone would gather a frame of the largest size. */
  const boundFirstBytes = (tcp: Socket, connection: Connection): void => {
    let bytes = 0;
    const count = (chunk: Buffer): void => {
      bytes += chunk.length;
      if (!connection.isAwaitingFirstFrame) tcp.off('data', count);
      else if (bytes > BOUNDS.unauthenticatedBytes) {
        tcp.off('data', count);
        connection.turnAway(`No connection.authenticate came within ${BOUNDS.unauthenticatedBytes} bytes`);
      }
    };
    tcp.on('data', count);
  };

  return {
    handleUpgrade(req, socket, head) {
      const ignore = (): void => {};
      socket.on('error', ignore);
      upgrade(req, socket, head).catch((error: unknown) => {
        const requestId = newId('req');
        const refusal = toMidstreamError(error, logger, requestId);
        recordRefusal(refusal, { requestId, clientAddress: clientAddress(req) }, deps);
        refuseUpgrade(socket, refusal, requestId);
        // Who was refused and yet keeps its half open is not waited for.
        const lastCall = clock.schedule(CLOSE_TIMEOUT_MS, () => socket.destroy());
        socket.once('close', () => lastCall.cancel());
      });
    },

    drain(reconnectAfterMs) {
      draining = true;
      for (const connection of connections.values())
        connection.send({ type: 'connection.draining', reconnect_after_ms: reconnectAfterMs });
    },

    async close() {
      draining = true;
      const gone = new Promise<void>((resolve) => {
        if (connections.size === 0) resolve();
        else onLastGone = resolve;
      });
      for (const connection of connections.values()) connection.close(CLOSE.draining, 'The server is going down');
      await gone;
    },

    get connectionCount() {
      return connections.size;
    },
  };
}
