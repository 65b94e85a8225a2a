/** `POST /v1/chat`: one message in, its turn out, as a stream or as one JSON answer. */
import type { Response, Router } from 'express';
import { type ChatEvent, MidstreamError, NO_USAGE } from '../../../protocol/index.js';
import { REVOKED, watchRevocation } from '../revocation-watch.js';
import { toSseText } from '../sse/index.js';
import { type ChatProjection, toErrorEvent, toTurnError } from './chat-projection.js';
import { readChatRequest, wantsStream } from './chat-request.js';
import { type ChatAudience, ChatTurn } from './chat-turn.js';
import { only, sendError } from './error-response.js';
import type { HttpDeps } from './http-deps.js';
import { readIdempotencyKey, toCommandId } from './idempotency.js';
import { callerOf, identityOf } from './request-context.js';

export function addChatRoutes(router: Router, path: string, deps: HttpDeps): void {
  router
    .route(path)
    .post(async (req, res) => {
      const chat = readChatRequest(req);
      const key = readIdempotencyKey(req);
      const { api, newId, logger } = deps;
      const turn = new ChatTurn({ api, newId, logger, caller: callerOf(res) }, chat);
      const onClose = (): void => {
        if (!res.writableEnded) turn.leave();
      };
      res.once('close', onClose);
      try {
        const projection = await turn.send(key === undefined ? newId('cmd') : toCommandId(key));
        if (turn.isGone) return;
        const toAudience = wantsStream(chat) ? toStream : toAnswer;
        turn.follow(toAudience(res, turn, projection, deps));
        res.once(
          'close',
          watchRevocation(deps.revoked, identityOf(res), () => turn.cutOff(revoked())),
        );
      } catch (error) {
        res.off('close', onClose);
        turn.detach();
        throw error;
      }
    })
    .all(only('POST'));
}

const revoked = (): MidstreamError => new MidstreamError('unauthenticated', REVOKED);

const toText = ({ event, data }: ChatEvent): string => toSseText(event, JSON.stringify(data));

function toStream(res: Response, turn: ChatTurn, projection: ChatProjection, { streams }: HttpDeps): ChatAudience {
  const failure = (error: MidstreamError): string => {
    const { conversationId: conversation_id } = projection;
    const data = { status: 'failed', stop_reason: 'error', usage: NO_USAGE, cost_usd: 0, conversation_id } as const;
    return toText(toErrorEvent(error)) + toText({ event: 'done', data });
  };
  const stream = streams.open(res, {
    onClosed: () => turn.detach(),
    farewell: () => failure(new MidstreamError('draining')),
  });
  return {
    show(events) {
      for (const event of events) stream.push(toText(event));
      if (projection.end !== undefined) stream.end();
    },
    flush: (onDrain) => stream.flush(onDrain),
    get backlogBytes() {
      return stream.backlogBytes;
    },
    lose(error) {
      stream.push(failure(error));
      stream.end();
    },
  };
}

function toAnswer(res: Response, turn: ChatTurn, projection: ChatProjection, { clock }: HttpDeps): ChatAudience {
  const answer = (send: () => void): void => {
    turn.detach();
    if (!res.headersSent && !res.destroyed) send();
  };
  return {
    show() {
      const { end, conversationId, turnId } = projection;
      if (end === undefined) return;
      const { stop_reason, usage, cost_usd } = end;
      answer(() => {
        if (projection.isFailure && !projection.producedAnything) {
          sendError(res, toTurnError(end));
          return;
        }
        res.json({
          response: projection.text,
          conversation_id: conversationId,
          turn_id: turnId,
          stop_reason,
          tokens_used: Object.values(usage).reduce((sum, count) => sum + count, 0),
          usage,
          cost_usd,
          timestamp: new Date(clock.now()).toISOString(),
        });
      });
    },
    flush: () => true,
    backlogBytes: 0,
    lose: (error) => answer(() => sendError(res, error)),
  };
}
