/** Logs on Redis as other nodes read them: one script a read, woken by publish and by a timer, never fed by either. */
import type { LogRecord } from '../../core/log-record.js';
import type { LogTail, TailRead } from '../../ports/log-tail.js';
import { unpackDeltas } from './delta-pack.js';
import { GatheredCalls } from './gathered-calls.js';
import { keys } from './keys.js';
import { type Entry, seqOf, toStoredEvent } from './log-entries.js';
import type { StoreDoor } from './store-door.js';

type TailReply = [head: number, epoch: string, node: string, token: string, events: Entry[], packs: Entry[]];
type OnChange = (head: number | undefined) => void;

const PAGE = 1_000;
/** Nobody learns later than this of what it was not woken for, in milliseconds. */
const POLL_MS = 1_000;

export class RedisLogTail implements LogTail {
  readonly #door: StoreDoor;
  /** Bells of many sessions come in one piece, and so are their logs read. */
  readonly #reads: GatheredCalls;
  readonly #watches = new Map<OnChange, string>();
  #timer: NodeJS.Timeout | undefined;

  constructor(door: StoreDoor) {
    this.#door = door;
    this.#reads = new GatheredCalls(door, 'log-tail');
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
    // A function of its own: the same one may watch twice.
    const watcher: OnChange = (head) => onChange(head);
    this.#watches.set(watcher, sessionId);
    this.#timer ??= setInterval(() => {
      for (const wake of this.#watches.keys()) wake(undefined);
    }, POLL_MS).unref();
    const listening = this.#door.redis
      .listen(keys.bell(sessionId), (head) => watcher(head === '' ? undefined : Number(head)))
      .catch(() => undefined);
    // What happened before it listened.
    void listening.then(() => this.#watches.has(watcher) && watcher(undefined));
    return () => {
      this.#watches.delete(watcher);
      void listening.then((leave) => leave?.());
      if (this.#watches.size > 0) return;
      clearInterval(this.#timer);
      this.#timer = undefined;
    };
  }

  close(): void {
    clearInterval(this.#timer);
    this.#watches.clear();
  }
}

/** A full page tells up to its last entry; another one up to the head. */
const endOf = (page: readonly Entry[], head: number): number =>
  page.length < PAGE ? head : seqOf((page.at(-1) as Entry)[0]);
