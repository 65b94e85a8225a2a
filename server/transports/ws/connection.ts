/** One WebSocket connection: who it is, what it asks for in order, and exactly one reply to each command (CMD-1). */
import { WebSocket } from 'ws';
import {
  BOUNDS,
  bodyOf,
  CLOSE,
  type ClientFrame,
  type CloseCode,
  type ControlFrame,
  type Limits,
  MidstreamError,
  type Principal,
  SUBPROTOCOL,
} from '../../../protocol/index.js';
import type { Clock } from '../../ports/clock.js';
import type { NewId } from '../../ports/identity.js';
import type { Logger } from '../../ports/logger.js';
import type { RevokedCredentials } from '../../ports/revoked-credentials.js';
import type { Identity, TokenVerifier } from '../../ports/token-verifier.js';
import type { Accepted, Caller, SessionApi } from '../../session/session-api.js';
import { REVOKED, watchRevocation } from '../revocation-watch.js';
import { TokenWatch } from '../token-watch.js';
import { toMidstreamError } from '../wire-error.js';
import type { AnnouncingSocket } from './announcing-socket.js';
import { FirstFrame } from './first-frame.js';
import { readFrame } from './frame-reader.js';
import { RateMeter } from './rate-meter.js';
import { SignIn } from './sign-in.js';
import { SocketSink } from './socket-sink.js';
import type { SocketWriter } from './socket-writer.js';
import { Subscriptions } from './subscriptions.js';

export interface ConnectionDeps {
  readonly id: string;
  readonly socket: AnnouncingSocket;
  readonly writer: SocketWriter;
  readonly api: SessionApi;
  readonly verifier: TokenVerifier;
  readonly revoked: RevokedCredentials;
  readonly clock: Clock;
  readonly logger: Logger;
  readonly limits: Limits;
  readonly newId: NewId;
  /** Counts the socket for its user; throws where the user has too many. */
  readonly takeSeat: (identity: Identity) => void;
  /** A `connection.authenticate` was refused, or none came; with whose connection it is, where that is known. */
  readonly onSignInRefused: (error: MidstreamError, requestId: string, principal?: Principal) => void;
}

/** Replies that a peer doesn't read are held up to here; then no more of its commands are read. */
const REPLY_BACKLOG_BYTES = 1_048_576;

const toTime = (ms: number | undefined): string | null => (ms === undefined ? null : new Date(ms).toISOString());

export class Connection {
  private identity: Identity | undefined;
  private ended = false;
  private unwatch: () => void = () => {};
  private readonly firstFrame: FirstFrame;
  private readonly subscriptions: Subscriptions;
  private readonly tokenWatch: TokenWatch;
  private readonly rate: RateMeter | undefined;
  private readonly signIn: SignIn;

  constructor(private readonly deps: ConnectionDeps) {
    const { api, clock, limits, verifier, writer } = deps;
    this.rate = verifier.required ? new RateMeter(limits.commands_per_second, clock.now()) : undefined;
    this.firstFrame = new FirstFrame(clock, () => this.turnAway('No connection.authenticate came within 5 s'));
    this.signIn = new SignIn({
      ...deps,
      isEnded: () => this.ended,
      accept: (id, expiresAt) => this.accept(id, undefined, { result: { expires_at: toTime(expiresAt) } }),
      refuse: (id, error, requestId) => {
        deps.onSignInRefused(error, requestId, this.identity?.principal);
        this.refuse(id, undefined, error, requestId);
      },
    });
    this.tokenWatch = new TokenWatch({
      clock,
      onExpiring: (expiresAt) =>
        this.send({ type: 'connection.token_expiring', expires_at: new Date(expiresAt).toISOString() }),
      onExpired: () => this.close(CLOSE.unauthenticated, 'The token has expired'),
    });
    this.subscriptions = new Subscriptions({
      api,
      maxSessions: limits.sessions_per_socket,
      onBroken: (error) => this.fail(error),
      createSink: (sessionId, onDetached) =>
        new SocketSink({
          sessionId,
          writer,
          onDetached,
          closeConnection: (code, reason) => this.close(code, reason),
        }),
    });
  }

  /** Begins with who it is, or, where no credential came with the upgrade, with the wait for `connection.authenticate`. */
  open(identity: Identity | undefined): void {
    if (identity === undefined) this.firstFrame.expect();
    else this.admit(identity);
  }

  receive(data: Buffer, isBinary: boolean): void {
    // Once a close was sent, what still comes in is no command any more: it could not be answered.
    if (this.deps.socket.readyState !== WebSocket.OPEN) return;
    try {
      const read = readFrame(data, isBinary, this.deps.limits);
      if (read.kind === 'unreadable') this.close(CLOSE.invalidFrame, read.reason);
      else if (this.firstFrame.holds(() => this.receive(data, isBinary))) return;
      else if (this.isOverRate(read.kind === 'command' ? read.command : read)) return;
      else if (read.kind === 'refused') this.refuseFrame(read.id, read.sessionId, read.error);
      else if (this.identity === undefined) this.introduce(read.command);
      else this.handle(read.command, this.identity);
      if (this.deps.writer.backlogBytes > REPLY_BACKLOG_BYTES) this.deps.writer.pauseReading();
    } catch (error) {
      this.fail(error);
    }
  }

  /** Whether it is not known whose it is, and nothing that could tell has come. */
  get isAwaitingFirstFrame(): boolean {
    return this.identity === undefined && !this.firstFrame.isHolding;
  }

  send(frame: ControlFrame): void {
    this.deps.writer.send(JSON.stringify(frame));
  }

  close(code: CloseCode, reason: string): void {
    this.deps.socket.announceAndClose(code, reason);
  }

  /** The socket is closed, whoever closed it. Cancels nothing (CMD-4). */
  end(): void {
    if (this.ended) return;
    this.ended = true;
    this.firstFrame.end();
    this.tokenWatch.end();
    this.unwatch();
    this.subscriptions.end();
    this.deps.writer.end();
    if (this.identity === undefined) return;
    try {
      this.deps.api.connectionClosed(this.deps.id);
    } catch (error) {
      this.fail(error);
    }
  }

  /** A bug of ours: this connection ends, the process doesn't. */
  private fail(error: unknown): void {
    this.deps.logger.error('A connection failed', {
      connection_id: this.deps.id,
      stack: error instanceof Error ? error.stack : String(error),
    });
    this.close(CLOSE.internal, 'The server failed on this connection');
  }

  private handle(command: ClientFrame, identity: Identity): void {
    const { api, id: connectionId, newId } = this.deps;
    switch (command.type) {
      case 'ping':
        this.send({ type: 'pong', id: command.id });
        return;
      case 'connection.authenticate':
        this.signIn.answer(command, (renewed) => this.renew(identity, renewed));
        return;
      default: {
        const sessionId = 'session_id' in command ? command.session_id : undefined;
        const caller: Caller = { principal: identity.principal, connectionId, requestId: newId('req') };
        const accept = (accepted: Accepted): void => this.accept(command.id, sessionId, accepted);
        const refuse = (error: unknown): void => this.refuse(command.id, sessionId, error, caller.requestId);
        if (command.type === 'session.attach')
          this.subscriptions.attach(caller, command, (result) => accept({ result: { ...result } }), refuse);
        else if (command.type === 'session.detach')
          this.subscriptions.detach(command.session_id, () => accept({ result: {} }), refuse);
        // Called in the order sent (CMD-5) and not waited for: an interrupt overtakes the message it is for (CAN-1).
        else
          api
            .dispatch(caller, command)
            .then(accept, refuse)
            .catch((error: unknown) => this.fail(error));
      }
    }
  }

  /** The first command of a connection that came without a credential (AUTH-1). */
  private introduce(command: ClientFrame): void {
    if (command.type !== 'connection.authenticate') {
      const message = 'The first frame must be connection.authenticate, for no credential came with the upgrade';
      this.refuseFrame(command.id, undefined, new MidstreamError('unauthenticated', message));
      return;
    }
    this.firstFrame.hold();
    this.deps.socket.pause();
    this.signIn.answer(
      command,
      (identity) => {
        this.deps.takeSeat(identity);
        return () => {
          this.admit(identity);
          this.deps.socket.resume();
        };
      },
      ({ row, message }) => {
        // Who could not be verified for a reason that passes is to come again.
        const otherwise = row.retryable ? CLOSE.internal : CLOSE.unauthenticated;
        this.close((row as { close?: CloseCode }).close ?? otherwise, message);
        // Nothing more is taken of it, but its answer to the close has to be read.
        this.deps.socket.resume();
      },
    );
  }

  /** Before it is known who it is, a connection has one frame to say it. */
  private refuseFrame(id: string, sessionId: string | undefined, error: MidstreamError): void {
    this.refuse(id, sessionId, error);
    if (this.identity === undefined) this.turnAway(error.message);
  }

  /** It didn't say whose it is (AUTH-1). */
  turnAway(reason: string): void {
    this.deps.onSignInRefused(new MidstreamError('unauthenticated', reason), this.deps.newId('req'));
    this.close(CLOSE.unauthenticated, reason);
  }

  private renew(current: Identity, renewed: Identity): () => void {
    const { user_id, org_id } = current.principal;
    if (renewed.principal.user_id !== user_id || renewed.principal.org_id !== org_id)
      throw new MidstreamError('forbidden', 'This token is another user’s; open another connection for it');
    return () => {
      this.live(renewed);
    };
  }

  /** From here on it lives by this credential, and no longer than it. */
  private live(identity: Identity): void {
    this.identity = identity;
    this.tokenWatch.watch(identity.expiresAt);
    this.unwatch();
    this.unwatch = watchRevocation(this.deps.revoked, identity, () => this.close(CLOSE.unauthenticated, REVOKED));
  }

  private admit(identity: Identity): void {
    const { id, limits } = this.deps;
    this.live(identity);
    this.send({
      type: 'connection.ready',
      protocol: SUBPROTOCOL,
      connection_id: id,
      principal: identity.principal,
      token_expires_at: toTime(identity.expiresAt),
      ping_interval_ms: BOUNDS.pingIntervalMs,
      limits: { ...limits },
    });
    this.firstFrame.release();
  }

  private isOverRate(command: { readonly id: string }): boolean {
    const verdict = this.rate?.take(this.deps.clock.now());
    if (verdict === undefined || verdict.kind === 'allowed') return false;
    if (verdict.kind === 'overuse') {
      this.refuse(command.id, undefined, new MidstreamError('rate_limited'));
      this.close(CLOSE.commandRate, 'The command rate was exceeded for 10 s');
    } else {
      const message = `More than ${this.deps.limits.commands_per_second} commands a second; wait for retry_after_ms`;
      this.refuse(
        command.id,
        undefined,
        new MidstreamError('rate_limited', message, { retryAfterMs: verdict.retryAfterMs }),
      );
    }
    return true;
  }

  private accept(id: string, sessionId: string | undefined, accepted: Accepted): void {
    const session = sessionId === undefined ? {} : { session_id: sessionId };
    this.send({ type: 'command.accepted', id, ...session, ...accepted });
  }

  private refuse(id: string, sessionId: string | undefined, thrown: unknown, requestId = this.deps.newId('req')): void {
    const error = bodyOf(toMidstreamError(thrown, this.deps.logger, requestId));
    this.send({ type: 'command.rejected', id, ...(sessionId === undefined ? {} : { session_id: sessionId }), error });
  }
}
