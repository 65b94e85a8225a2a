/** Puts the session store on Redis together: logs, sessions and leases, for one node of several. */
import { randomUUID } from 'node:crypto';
import type { EventLog } from '../../ports/event-log.js';
import type { Leases } from '../../ports/lease.js';
import type { LogTail } from '../../ports/log-tail.js';
import type { Logger } from '../../ports/logger.js';
import type { SessionStore } from '../../ports/session-store.js';
import { AppendQueue } from './append-queue.js';
import { ChangeNotes } from './change-notes.js';
import { DeltaTrims } from './delta-trims.js';
import { keys } from './keys.js';
import { OwnerAnswers } from './owner-answers.js';
import type { RedisConnection } from './redis-connection.js';
import { MemberLists } from './member-lists.js';
import { RedisEventLog } from './redis-event-log.js';
import { LEASE_TIMES, type LeaseTimes, RedisLeases } from './redis-leases.js';
import { RedisLogTail } from './redis-log-tail.js';
import { RedisSessionStore } from './redis-session-store.js';
import { SessionHolds } from './session-holds.js';
import { SessionSweep } from './session-sweep.js';
import { StoreDoor } from './store-door.js';
import { UnfinishedList } from './unfinished-list.js';

export interface RedisStoreOptions {
  /** Stays open when the store is closed. */
  readonly redis: RedisConnection;
  readonly logger?: Logger | undefined;
  /** 10 s and 3 s by default. */
  readonly times?: LeaseTimes;
  /** See `AppendQueue`; 4 by default. */
  readonly deltasEveryMs?: number;
}

/** Where nodes are busy each delta waits half of it. */
const DELTAS_EVERY_MS = 4;

export interface RedisStore {
  readonly log: EventLog;
  readonly sessions: SessionStore;
  readonly leases: Leases;
  readonly tail: LogTail;
  /** Another one at each start. */
  readonly nodeId: string;
  /** From now on what Redis does not answer is not sent again. */
  hurry(): void;
  /** Flushes what is pending and gives the leases back. Calling it again is harmless. */
  close(): Promise<void>;
}

export function createRedisStore({
  redis,
  logger,
  times = LEASE_TIMES,
  deltasEveryMs = DELTAS_EVERY_MS,
}: RedisStoreOptions): RedisStore {
  const nodeId = randomUUID();
  const door = new StoreDoor(redis);
  const holds = new SessionHolds((id) => redis.laneOf(keys.session(id)));
  const notes = new ChangeNotes(redis);
  const queue = new AppendQueue({ redis, holds, notes, logger, deltasEveryMs });
  const trims = new DeltaTrims(door, holds);
  const unfinished = new UnfinishedList(door);
  const members = new MemberLists(door);
  const ownerAnswers = new OwnerAnswers(door);
  const leases = new RedisLeases({ door, holds, queue, trims, unfinished, notes, nodeId, times, logger });
  const tail = new RedisLogTail(door);
  const finish = async (): Promise<void> => {
    door.close();
    queue.close();
    await Promise.all(holds.all.map((hold) => queue.settled(hold)));
    await trims.close();
    await leases.close();
    await notes.close();
    tail.close();
  };
  let closing: Promise<void> | undefined;
  const close = (): Promise<void> => {
    closing ??= finish();
    return closing;
  };
  return {
    log: new RedisEventLog({ door, holds, queue, trims, unfinished, members, ownerAnswers }),
    sessions: new RedisSessionStore({
      door,
      holds,
      queue,
      unfinished,
      ownerAnswers,
      sweep: new SessionSweep({ door, members, notes, nodeId }),
      close,
    }),
    leases,
    tail,
    nodeId,
    hurry: () => queue.close(),
    close,
  };
}
