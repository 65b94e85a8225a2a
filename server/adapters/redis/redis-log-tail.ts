/**
 * Logs on Redis as other nodes read them: one script a read, woken by publish and by the list of changes, never fed by
 * either. A session that doesn't change costs nothing.
 */
import type { LogRecord } from '../../core/log-record.js';
import type { LogTail, TailRead } from '../../ports/log-tail.js';
import { ChangeList } from './change-list.js';
import { unpackDeltas } from './delta-pack.js';
import { GatheredCalls } from './gathered-calls.js';
import { keys } from './keys.js';
import { type Entry, seqOf, toStoredEvent } from './log-entries.js';
import type { StoreDoor } from './store-door.js';

type TailReply = [head: number, epoch: string, node: string, token: string, events: Entry[], packs: Entry[]];
type OnChange = (head: number | undefined) => void;

interface Watch {
  readonly sessionId: string;
  readonly onChange: OnChange;
  /** Undefined while it hears no bell. */
  leave: (() => void) | undefined;
  isListening: boolean;
  isOver: boolean;
}

const PAGE = 1_000;
/** Within this time all are woken where it is not known which changed, in milliseconds. */
const WAKE_ALL_MS = 500;
const WAKE_EVERY_MS = 25;

export class RedisLogTail implements LogTail {
  readonly #door: StoreDoor;
  /** Bells of many sessions come in one piece, and so are their logs read. */
  readonly #reads: GatheredCalls;
  readonly #changes: ChangeList;
  readonly #watches = new Map<string, Set<Watch>>();
  readonly #toWake = new Set<Watch>();
  #wakeAtOnce = 0;
  #timer: NodeJS.Timeout | undefined;

  constructor(door: StoreDoor) {
    this.#door = door;
    this.#reads = new GatheredCalls(door, 'log-tail');
    this.#changes = new ChangeList({
      redis: door.redis,
      onChange: (sessionId, head) => {
        for (const { onChange } of this.#watches.get(sessionId) ?? []) onChange(head);
      },
      onLost: () => this.#wakeAll(),
    });
  }

  async read(sessionId: string, afterSeq: number): Promise<TailRead | undefined> {
    const reply = (await this.#reads.run({
      keys: [keys.session(sessionId), keys.events(sessionId), keys.deltas(sessionId)],
      args: [afterSeq, PAGE],
    })) as TailReply | null;
    if (reply === null) return undefined;
    const [head, epoch, nodeId, token, events, packs] = reply;
    const upTo = Math.min(endOf(events, head), endOf(packs, head));
    const records: LogRecord[] = [];
    for (const entry of events) {
      const { seq, type, turnId, json } = toStoredEvent(entry);
      records.push({ kind: 'event', seq, type: type as (LogRecord & { kind: 'event' })['type'], turnId, json });
    }
    for (const [, [, pack = '[]']] of packs) for (const delta of unpackDeltas(pack)) records.push(delta);
    return {
      epoch,
      owner: token === '' ? undefined : { nodeId, token },
      records: records.filter(({ seq }) => seq > afterSeq && seq <= upTo).sort((one, other) => one.seq - other.seq),
      upTo,
      isWhole: upTo === head,
    };
  }

  watch(sessionId: string, onChange: OnChange): () => void {
    const watch: Watch = { sessionId, onChange, leave: undefined, isListening: false, isOver: false };
    const ofSession = this.#watches.get(sessionId) ?? new Set();
    this.#watches.set(sessionId, ofSession.add(watch));
    this.#changes.start();
    void this.#listen(watch);
    return () => {
      watch.isOver = true;
      watch.leave?.();
      this.#toWake.delete(watch);
      ofSession.delete(watch);
      if (ofSession.size > 0 || this.#watches.get(sessionId) !== ofSession) return;
      this.#watches.delete(sessionId);
      if (this.#watches.size === 0) this.close();
    };
  }

  close(): void {
    this.#changes.stop();
    clearInterval(this.#timer);
    this.#timer = undefined;
    this.#toWake.clear();
    this.#watches.clear();
  }

  async #listen(watch: Watch): Promise<void> {
    if (watch.isListening) return;
    watch.isListening = true;
    const { sessionId, onChange } = watch;
    try {
      const leave = await this.#door.redis.listen(keys.bell(sessionId), (head) =>
        onChange(head === '' ? undefined : Number(head)),
      );
      if (watch.isOver) leave();
      else watch.leave = leave;
    } catch {
      // By the list of changes alone, until all are woken again.
    } finally {
      watch.isListening = false;
    }
    // What happened before it listened.
    if (!watch.isOver) onChange(undefined);
  }

  /** Each once, and not all of them in the same moment. */
  #wakeAll(): void {
    for (const ofSession of this.#watches.values()) for (const watch of ofSession) this.#toWake.add(watch);
    this.#wakeAtOnce = Math.ceil(this.#toWake.size / (WAKE_ALL_MS / WAKE_EVERY_MS));
    this.#timer ??= setInterval(() => this.#wakeSome(), WAKE_EVERY_MS).unref();
  }

  #wakeSome(): void {
    let left = this.#wakeAtOnce;
    for (const watch of this.#toWake) {
      if (left-- === 0) return;
      this.#toWake.delete(watch);
      if (watch.leave) watch.onChange(undefined);
      else void this.#listen(watch);
    }
    clearInterval(this.#timer);
    this.#timer = undefined;
  }
}

/** A full page tells up to its last entry; another one up to the head. */
const endOf = (page: readonly Entry[], head: number): number =>
  page.length < PAGE ? head : seqOf((page.at(-1) as Entry)[0]);
