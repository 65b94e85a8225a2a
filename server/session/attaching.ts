/** The beginning of a subscription: from a cursor where the log can tell what follows it, else from a snapshot (LOG-4). */
import { type AttachResult, MidstreamError, type Principal } from '../../protocol/index.js';
import { roleOf } from '../core/membership.js';
import { toSnapshot } from '../core/snapshot.js';
import type { Clock } from '../ports/clock.js';
import type { EventLog } from '../ports/event-log.js';
import { ActorGone } from './replies.js';
import type { Attachment, AttachRequest, FrameSink } from './session-api.js';
import type { SessionDoor } from './session-door.js';
import { type Delivered, Subscription } from './subscription.js';

export interface AttachDeps {
  readonly log: EventLog;
  readonly clock: Clock;
  readonly principal: Principal;
  readonly delivered: Delivered;
}

export async function attachTo(
  door: SessionDoor,
  request: AttachRequest,
  sink: FrameSink,
  { log, clock, principal, delivered }: AttachDeps,
): Promise<Attachment> {
  const { afterSeq, epoch } = request;
  const isReplay = await canReplay(door, afterSeq, epoch, log);
  // What is shown must be in the log (LOG-2).
  const state = isReplay ? door.state : await door.flushed();
  if (door.isDead) throw new ActorGone();
  // From here on an end of the membership finds the subscription.
  if (roleOf(door.state, principal) === undefined) throw new MidstreamError('session_not_found');
  const head = isReplay ? door.feed.head : state.seq;
  const cursor = isReplay && typeof afterSeq === 'number' ? afterSeq : head;
  const subscription = new Subscription(
    {
      feed: door.feed,
      log,
      clock,
      sink,
      deltas: request.deltas,
      userId: principal.user_id,
      delivered,
      onEnd: () => undefined,
    },
    cursor,
  );
  const result: AttachResult = isReplay
    ? { mode: 'replay', epoch: state.epoch, head_seq: head }
    : { mode: 'snapshot', epoch: state.epoch, head_seq: head, snapshot: toSnapshot(state) };
  return { result, start: () => subscription.start(), detach: () => subscription.detach() };
}

/** Whether everything after the cursor can be told without a hole (LOG-4). */
async function canReplay(
  door: SessionDoor,
  afterSeq: number | 'head' | undefined,
  epoch: string | undefined,
  log: EventLog,
): Promise<boolean> {
  if (afterSeq === 'head') return true;
  if (afterSeq === undefined || (epoch !== undefined && epoch !== door.state.epoch)) return false;
  // Another node may have shown more by now.
  if (afterSeq > door.feed.head) await door.flushed();
  if (afterSeq > door.feed.head) return false;
  return afterSeq >= door.feed.base || afterSeq >= (await log.floorOf(door.state.sessionId));
}
