/** The beginning of a subscription: from a cursor where the log can tell what follows it, else from a snapshot (LOG-4). */
import { type AttachResult, MidstreamError, type Principal } from '../../protocol/index.js';
import { roleOf } from '../core/membership.js';
import { toSnapshot } from '../core/snapshot.js';
import type { Clock } from '../ports/clock.js';
import type { EventLog } from '../ports/event-log.js';
import { ActorGone } from './replies.js';
import type { SessionActor } from './session-actor.js';
import type { Attachment, AttachRequest, FrameSink } from './session-api.js';
import { Subscription } from './subscription.js';

export interface AttachDeps {
  readonly log: EventLog;
  readonly clock: Clock;
  readonly principal: Principal;
}

export async function attachTo(
  actor: SessionActor,
  request: AttachRequest,
  sink: FrameSink,
  { log, clock, principal }: AttachDeps,
): Promise<Attachment> {
  const { afterSeq, epoch } = request;
  const { state } = actor;
  const isReplay = await canReplay(actor, afterSeq, epoch, log);
  // What is shown must be in the log (LOG-2).
  if (!isReplay) await actor.flushed();
  if (actor.isDead) throw new ActorGone();
  // From here on an end of the membership finds the subscription.
  if (roleOf(actor.state, principal) === undefined) throw new MidstreamError('session_not_found');
  const head = isReplay ? actor.feed.head : state.seq;
  const cursor = isReplay && typeof afterSeq === 'number' ? afterSeq : head;
  const subscription = new Subscription(
    { feed: actor.feed, log, clock, sink, deltas: request.deltas, userId: principal.user_id, onEnd: () => undefined },
    cursor,
  );
  const result: AttachResult = isReplay
    ? { mode: 'replay', epoch: state.epoch, head_seq: head }
    : { mode: 'snapshot', epoch: state.epoch, head_seq: head, snapshot: toSnapshot(state) };
  return { result, start: () => subscription.start(), detach: () => subscription.detach() };
}

/** Whether everything after the cursor can be told without a hole (LOG-4). */
async function canReplay(
  actor: SessionActor,
  afterSeq: number | 'head' | undefined,
  epoch: string | undefined,
  log: EventLog,
): Promise<boolean> {
  if (afterSeq === 'head') return true;
  if (afterSeq === undefined || (epoch !== undefined && epoch !== actor.state.epoch)) return false;
  if (afterSeq > actor.feed.head) return false;
  return afterSeq >= actor.feed.base || afterSeq >= (await log.floorOf(actor.state.sessionId));
}
