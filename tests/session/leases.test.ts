/** A session that changes hands: what its log says counts, and who lost the lease stops at once. */
import { mkdtempSync, rmSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import type { Lease, Leases } from '../../server/ports/lease.js';
import type { SessionStore } from '../../server/ports/session-store.js';
import { opened, say, startRoom, type TestRoom, words } from './support.js';

let dataDir: string;
const rooms: TestRoom[] = [];

beforeEach(() => {
  dataDir = mkdtempSync(join(tmpdir(), 'midstream-leases-'));
});
afterEach(async () => {
  for (const room of rooms.splice(0)) await room.stop();
  rmSync(dataDir, { recursive: true, force: true });
});

async function start(options: Parameters<typeof startRoom>[0] = {}): Promise<TestRoom> {
  const room = await startRoom({ dataDir, ...options });
  rooms.push(room);
  return room;
}

/** Leases that another node can take, and that name the epoch of their session's log. */
class TakenLeases implements Leases {
  #tell: ((sessionId: string) => void) | undefined;

  constructor(
    private readonly leases: Leases,
    private readonly epoch: string | undefined,
  ) {}

  async claim(sessionId: string): Promise<Lease | undefined> {
    const lease = await this.leases.claim(sessionId);
    return lease && { ...lease, ...(this.epoch !== undefined && { epoch: this.epoch }) };
  }

  release(sessionId: string, lease: Lease): Promise<void> {
    return this.leases.release(sessionId, lease);
  }

  onLost(listener: (sessionId: string) => void): void {
    this.#tell = listener;
  }

  take(sessionId: string): void {
    this.#tell?.(sessionId);
  }
}

it('[NODE-2] goes on with the turn that is in the log, though the row was read before it began', async () => {
  const first = await start();
  const { id } = await first.create();
  await first.send(say(id, 'Hi'));
  (await first.model.request(1)).stream(...opened, ...words('half'));
  await first.stop();
  rooms.splice(0);

  const withOldRow = (sessions: SessionStore): SessionStore =>
    new Proxy(sessions, {
      get(target, name: keyof SessionStore) {
        if (name === 'unfinished') return async () => [];
        if (name !== 'get') return (target[name] as () => unknown).bind(target);
        return async (sessionId: string) => {
          const row = await target.get(sessionId);
          return row && { ...row, unfinished: false };
        };
      },
    });
  const next = await start({ wrapSessions: withOldRow });
  await next.watch(id);
  await next.model.request(1);
  expect(await next.store.log.read(id, { afterSeq: 0, limit: 9, types: ['step.superseded'] })).toHaveLength(1);
});

it('[NODE-3] ends its model request, and sends watchers away, as soon as the lease is known to be lost', async () => {
  let leases: TakenLeases | undefined;
  const room = await start({
    wrapLeases: (given) => {
      leases = new TakenLeases(given, undefined);
      return leases;
    },
  });
  const { id } = await room.create();
  const { sink } = await room.watch(id);
  await room.send(say(id, 'Hi'));
  const request = await room.model.request(1);
  leases?.take(id);
  expect(request.signal.aborted).toBe(true);
  expect(sink.closed?.code).toBe(4500);
  leases?.take('sesn_unknown');
});

it('[LOG-7] gives a snapshot to who comes with a cursor of another epoch than the lease names', async () => {
  const room = await start({ wrapLeases: (leases) => new TakenLeases(leases, 'e7') });
  const { id } = await room.create();
  await room.send(say(id, 'Hi'));
  await room.model.request(1);
  const same = await room.watch(id, { afterSeq: 1, epoch: 'e7' });
  expect(same.attachment.result).toMatchObject({ mode: 'replay', epoch: 'e7' });
  const other = await room.watch(id, { afterSeq: 1, epoch: room.store.log.epoch });
  expect(other.attachment.result).toMatchObject({ mode: 'snapshot', epoch: 'e7' });
});
