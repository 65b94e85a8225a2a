/** `/v1/sessions/:id/events`: send commands, read the log, stream it. */
import type { Request, Router } from 'express';
import {
  CLOSE,
  MidstreamError,
  parseBy,
  parseCursor,
  sendEventsSchema,
  type TurnCommand,
} from '../../../protocol/index.js';
import { REVOKED, watchRevocation } from '../revocation-watch.js';
import { LogSink, type Preview, type SseStream, toSseText } from '../sse/index.js';
import { TokenWatch } from '../token-watch.js';
import { only } from './error-response.js';
import { readLogQuery, readTimeFilter, toPageJson } from './event-listing.js';
import type { HttpDeps } from './http-deps.js';
import { readIdempotencyKey, toBatchCommandId } from './idempotency.js';
import { listParam, numberParam, textParam } from './query.js';
import { callerOf, identityOf, param } from './request-context.js';

function readCommands(req: Request, { newId }: HttpDeps): readonly TurnCommand[] {
  const { events } = parseBy(sendEventsSchema, req.body);
  const key = readIdempotencyKey(req);
  return events.map((event, n) => ({
    ...event,
    id: event.id ?? (key === undefined ? newId('cmd') : toBatchCommandId(key, n)),
    session_id: param(req, 'id'),
  }));
}

interface From {
  readonly afterSeq: number | 'head';
  readonly epoch: string | undefined;
}

/** A reconnecting EventSource keeps its address and sends `Last-Event-ID` with it, so that counts first. */
function readFrom(req: Request): From {
  const lastEventId = req.get('Last-Event-ID');
  if (lastEventId !== undefined && lastEventId !== '') {
    const cursor = parseCursor(lastEventId);
    if (cursor === undefined)
      throw new MidstreamError('invalid_request', 'Last-Event-ID: must be the id of an event of this stream');
    return { afterSeq: cursor.seq, epoch: cursor.epoch };
  }
  const afterSeq = numberParam(req, 'after_seq', { min: 0, max: Number.MAX_SAFE_INTEGER });
  return { afterSeq: afterSeq ?? 'head', epoch: afterSeq === undefined ? undefined : textParam(req, 'epoch') };
}

function readPreviews(req: Request): ReadonlySet<Preview> {
  const known: readonly string[] = ['agent.message', 'agent.thinking'] satisfies Preview[];
  return new Set(listParam(req, 'event_deltas').filter((type): type is Preview => known.includes(type)));
}

export function addEventRoutes(router: Router, deps: HttpDeps): void {
  const { api, streams } = deps;

  router
    .route('/v1/sessions/:id/events')
    .post(async (req, res) => {
      const { echoes } = await api.dispatchBatch(callerOf(res), param(req, 'id'), readCommands(req, deps));
      res.type('json').send(`{"data":[${echoes.join(',')}]}`);
    })
    .get(async (req, res) => {
      const page = await api.listEvents(callerOf(res), param(req, 'id'), readLogQuery(req));
      res.type('json').send(toPageJson(page, readTimeFilter(req)));
    })
    .all(only('POST', 'GET'));

  router
    .route('/v1/sessions/:id/events/stream')
    .get(async (req, res) => {
      const sessionId = param(req, 'id');
      const previews = readPreviews(req);
      const sink = new LogSink({ sessionId, previews });
      const request = { sessionId, ...readFrom(req), deltas: previews.size > 0 };
      const attachment = await api.attach(callerOf(res), request, sink);
      if (res.destroyed) {
        attachment.detach();
        return;
      }
      // A stream outlives no token either (AUTH-2); its client comes again with a new one and resumes.
      const tokenWatch = new TokenWatch({
        clock: deps.clock,
        onExpired: () => sink.close(CLOSE.unauthenticated, 'The token has expired'),
      });
      let unwatch = (): void => {};
      const stream: SseStream = streams.open(res, {
        onClosed: () => {
          tokenWatch.end();
          unwatch();
          attachment.detach();
        },
        farewell: LogSink.farewell,
      });
      tokenWatch.watch(identityOf(res).expiresAt);
      const { epoch, head_seq, snapshot } = attachment.result;
      if (snapshot !== undefined) {
        const data = JSON.stringify({ type: 'session.snapshot', epoch, ...snapshot });
        stream.push(toSseText('session.snapshot', data, `${epoch}:${snapshot.seq ?? head_seq}`));
        stream.send();
      }
      sink.begin(stream, epoch);
      unwatch = watchRevocation(deps.revoked, identityOf(res), () => sink.close(CLOSE.unauthenticated, REVOKED));
      if (stream.isOpen) attachment.start();
    })
    .all(only('GET'));
}
