/** What membership must hold in the moments between: while a store is slow, a session is at rest, or an attach is under way. */
import type { Caller } from '../../server/session/session-api.js';
import type { EventLog } from '../../server/ports/event-log.js';
import type { SessionStore } from '../../server/ports/session-store.js';
import { turns } from './support/event-loop.js';
import { say, startRoom, type TestRoom, TestSink } from './support.js';

let room: TestRoom;
afterEach(() => room.stop());

const as = (user_id: string): Caller => ({
  principal: { ...room.caller.principal, user_id },
  connectionId: `conn_${user_id}`,
  requestId: 'req',
});
const share = (session_id: string, user_id: string, role: 'viewer' | 'editor' | null) =>
  room.send({ type: 'session.member_update', session_id, user_id, role });

/** Until nobody uses the session any more, and its log alone has it. */
async function rest(): Promise<void> {
  for (let sweeps = 0; sweeps < 1_000 && room.room.api.activeSessions > 0; sweeps++) {
    room.clock.advance(15_000);
    await turns(2);
  }
  expect(room.room.api.activeSessions).toBe(0);
}

/** Calls of one method that wait for the test. */
class Gate {
  isShut = false;
  readonly #waiting: (() => void)[] = [];

  async pass(): Promise<void> {
    if (this.isShut) await new Promise<void>((resolve) => this.#waiting.push(resolve));
  }

  open(): void {
    this.isShut = false;
    for (const go of this.#waiting.splice(0)) go();
  }
}

const withGate = <T extends object>(target: T, method: keyof T, gate: Gate): T =>
  new Proxy(target, {
    get(of, name) {
      const value = Reflect.get(of, name) as unknown;
      if (typeof value !== 'function') return value;
      const call = value.bind(of) as (...args: unknown[]) => unknown;
      return name === method ? async (...args: unknown[]) => gate.pass().then(() => call(...args)) : call;
    },
  });

it('[AUTH-3] an attach that is under way when the membership ends shows nothing', async () => {
  const gate = new Gate();
  room = await startRoom({ wrapLog: (log: EventLog) => withGate(log, 'floorOf', gate) });
  const { id } = await room.create();
  await share(id, 'bob', 'viewer');
  // After a rest, what came before is told by the log alone.
  await rest();
  await room.room.api.getSession(room.caller, id);
  gate.isShut = true;
  const sink = new TestSink(id);
  const request = { sessionId: id, afterSeq: 0, epoch: undefined, deltas: true };
  const attached = room.room.api.attach(as('bob'), request, sink);
  await turns(20);
  await share(id, 'bob', null);
  gate.open();
  await expect(attached).rejects.toMatchObject({ code: 'session_not_found' });
  expect(sink.frames).toEqual([]);
});

it('[AUTH-3] a stranger opens no session', async () => {
  room = await startRoom();
  const { id } = await room.create();
  await share(id, 'bob', 'viewer');
  await rest();
  await expect(room.room.api.getSession(as('mallory'), id)).rejects.toMatchObject({ code: 'session_not_found' });
  expect(room.room.api.activeSessions).toBe(0);
  // From a checkpoint, it has its members.
  expect((await room.room.api.getSession(as('bob'), id)).members).toHaveLength(2);
  expect(room.room.api.activeSessions).toBe(1);
});

it('[CMD-5] commands keep their order while the row is being read', async () => {
  const gate = new Gate();
  room = await startRoom({ wrapSessions: (sessions: SessionStore) => withGate(sessions, 'get', gate) });
  const { id } = await room.create();
  await rest();
  gate.isShut = true;
  const first = room.send(say(id, 'first'));
  await turns(5);
  // The store answers quickly again, but for the first.
  gate.isShut = false;
  const second = room.send(say(id, 'second'));
  await turns(20);
  gate.open();
  const [a, b] = await Promise.all([first, second]);
  expect(a.applied_at_seq).toBeLessThan(b.applied_at_seq ?? 0);
});

it('[CMD-5] changes of members keep their place among the commands', async () => {
  room = await startRoom();
  const { id } = await room.create();
  await share(id, 'bob', 'editor');
  const all = [
    room.send(say(id, 'first')),
    share(id, 'bob', 'viewer'),
    room.send(say(id, 'second')),
    share(id, 'bob', null),
  ];
  const seqs = (await Promise.all(all)).map(({ applied_at_seq }) => applied_at_seq);
  expect(seqs).toEqual([...seqs].sort((a = 0, b = 0) => a - b));
});

it('[AUTH-3] a command that waited while its sender was taken away is refused', async () => {
  const gate = new Gate();
  room = await startRoom({ wrapLog: (log: EventLog) => withGate(log, 'findAnswer', gate) });
  const { id } = await room.create();
  await share(id, 'bob', 'editor');
  await rest();
  gate.isShut = true;
  const removed = share(id, 'bob', null);
  await turns(20);
  const said = room.room.api
    .dispatchBatch(as('bob'), id, [{ id: 'b', ...say(id, 'hi') } as never])
    .catch((thrown: unknown) => thrown);
  await turns(20);
  gate.open();
  await removed;
  const error = await said;
  expect(error).toMatchObject({ code: 'session_not_found' });
  expect((error as { details?: unknown }).details).toBeUndefined();
});
