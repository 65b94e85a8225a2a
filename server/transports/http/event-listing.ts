/** `GET /v1/sessions/:id/events`: one page of the log, with the official SDK's filters. */
import type { Request } from 'express';
import { BOUNDS, EVENT_TYPES, MidstreamError } from '../../../protocol/index.js';
import type { LogQuery } from '../../ports/event-log.js';
import type { EventPage } from '../../session/session-api.js';
import { listParam, numberParam, textParam, timeParam } from './query.js';

const WHOLE = { min: 0, max: Number.MAX_SAFE_INTEGER };

export function readLogQuery(req: Request): LogQuery {
  const order = textParam(req, 'order') ?? 'asc';
  if (order !== 'asc' && order !== 'desc')
    throw new MidstreamError('invalid_request', 'order: must be one of asc, desc');
  const types = listParam(req, 'types');
  return {
    afterSeq: numberParam(req, 'page', WHOLE) ?? numberParam(req, 'after_seq', WHOLE) ?? 0,
    limit: numberParam(req, 'limit', { min: 1, max: BOUNDS.eventsPageMax }) ?? BOUNDS.eventsPageDefault,
    order,
    // Types that no event has select nothing; the SDK knows more of them than this server.
    ...(types.length === 0 ? {} : { types: types.filter((type) => EVENT_TYPES.includes(type)) }),
  };
}

/** Whether an event lies in the asked time. */
export function readTimeFilter(req: Request): ((json: string) => boolean) | undefined {
  const gt = timeParam(req, 'created_at[gt]');
  const gte = timeParam(req, 'created_at[gte]');
  const lt = timeParam(req, 'created_at[lt]');
  const lte = timeParam(req, 'created_at[lte]');
  if (gt === undefined && gte === undefined && lt === undefined && lte === undefined) return undefined;
  return (json) => {
    const at = Date.parse((JSON.parse(json) as { processed_at: string }).processed_at);
    return (
      !(gt !== undefined && at <= gt) &&
      !(gte !== undefined && at < gte) &&
      !(lt !== undefined && at >= lt) &&
      !(lte !== undefined && at > lte)
    );
  };
}

/** The page as JSON; the events are spliced in as they are kept. A time filter may leave fewer than `limit`. */
export function toPageJson({ events, hasMore }: EventPage, isWanted?: (json: string) => boolean): string {
  const shown = isWanted === undefined ? events : events.filter(({ json }) => isWanted(json));
  const last = events.at(-1);
  const next = hasMore && last !== undefined ? `"${last.seq}"` : 'null';
  return `{"data":[${shown.map(({ json }) => json).join(',')}],"next_page":${next}}`;
}
