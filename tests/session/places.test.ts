/** The places of a node: who waits, in which order, and that nothing is lost on the way. */
import { mkdtempSync, rmSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { turns } from './support/event-loop.js';
import { closed, type OpenRequest, opened, type RoomOptions, say, startRoom, type TestRoom, words } from './support.js';

let t: TestRoom;
let dataDir: string;
beforeEach(() => {
  dataDir = mkdtempSync(join(tmpdir(), 'midstream-places-'));
});
afterEach(async () => {
  await t.stop();
  rmSync(dataDir, { recursive: true, force: true });
});

const start = async (running_turns: number, waiting_turns: number, options: RoomOptions = {}): Promise<void> => {
  t = await startRoom({ dataDir, limits: { running_turns, waiting_turns }, ...options });
};
const session = async (): Promise<string> => (await t.create()).id;
const sessions = (count: number): Promise<string[]> => Promise.all(Array.from({ length: count }, session));
const finish = (request: OpenRequest): void => {
  request.stream(...opened, ...words('Fine.'), ...closed);
  request.end();
};
const typesOf = async (id: string): Promise<string[]> =>
  (await t.store.log.read(id, { afterSeq: 0, limit: 100 })).map(
    ({ json }) => (JSON.parse(json) as { type: string }).type,
  );
const sessionOf = (n: number): string | undefined => t.model.requests[n - 1]?.request.sessionId;
const gauges = () => [t.metrics.read('turns_running'), t.metrics.read('turns_waiting')];

it('a message beyond the limit is accepted and waits; beyond those who may wait it is refused, and nothing is logged', async () => {
  await start(1, 1);
  const [one, two, three] = (await sessions(3)) as [string, string, string];
  await t.send(say(one, 'Hi.'));
  expect((await t.send(say(two, 'Hi.'))).result).toMatchObject({ position: 1, turn_id: expect.any(String) });
  await expect(t.send(say(three, 'Hi.'))).rejects.toMatchObject({ code: 'overloaded', retryAfterMs: 1_000 });
  expect(await typesOf(two)).toEqual(['user.message', 'turn.queued']);
  expect(await typesOf(three)).toEqual([]);
  expect(gauges()).toEqual([1, 1]);
  expect(t.metrics.read('turn_capacity')).toBe(1);
  expect(t.metrics.denials).toEqual(['overloaded']);
  finish(await t.model.request(1));
  await t.model.request(2);
  expect(sessionOf(2)).toBe(two);
  expect(gauges()).toEqual([1, 0]);
  expect(await typesOf(two)).toContain('session.status_running');
});

it('who came first begins first, over all sessions; a session’s own next turn waits its turn as well', async () => {
  await start(1, 100);
  const all = await sessions(6);
  const [first, ...others] = all as [string, ...string[]];
  await t.send(say(first, 'Hi.'));
  await t.send(say(first, 'and'));
  for (const id of others) await t.send(say(id, 'Hi.'));
  const order: (string | undefined)[] = [];
  for (let n = 1; n <= 7; n++) {
    finish(await t.model.request(n));
    order.push(sessionOf(n));
  }
  expect(order).toEqual([first, ...others, first]);
});

it('[TURN-2] who interrupts goes on in the place of what ran', async () => {
  await start(1, 100);
  const [one, two] = (await sessions(2)) as [string, string];
  await t.send(say(one, 'Hi.'));
  await t.send(say(two, 'Hi.'));
  expect((await t.send(say(one, 'No, this.', { on_busy: 'interrupt' }))).result).toMatchObject({ position: 0 });
  await t.model.request(2);
  expect(sessionOf(2)).toBe(one);
});

it('[CAN-1] a turn that waits is cancelled by any of its names, and by none; its place in the row goes to the next', async () => {
  await start(1, 100);
  const [one, ...waiting] = (await sessions(6)) as [string, ...string[]];
  await t.send(say(one, 'Hi.'));
  const names: object[] = [];
  for (const [n, id] of waiting.entries()) {
    const { result } = await t.send(say(id, 'Hi.', { id: `w${n}` }));
    names.push(
      [{ turn_id: result.turn_id }, { message_id: result.message_id }, { command_id: `w${n}` }, {}, undefined][n] ?? {},
    );
  }
  for (const [n, id] of waiting.slice(0, 4).entries()) {
    const answer = await t.send({ type: 'user.interrupt', session_id: id, ...names[n] });
    expect(answer.result).toMatchObject({ outcome: 'cancelled' });
    expect((await typesOf(id)).slice(-2)).toEqual(['user.interrupt', 'turn.ended']);
  }
  expect(gauges()).toEqual([1, 1]);
  finish(await t.model.request(1));
  await t.model.request(2);
  expect(sessionOf(2)).toBe(waiting[4]);
});

it('[TURN-2] while a turn waits, later messages of its session stand behind it, and busy is busy', async () => {
  await start(1, 1);
  const [one, two] = (await sessions(2)) as [string, string];
  await t.send(say(one, 'Hi.'));
  await t.send(say(two, 'first'));
  expect((await t.send(say(two, 'second'))).result).toMatchObject({ position: 2 });
  expect((await t.send(say(two, 'ahead', { on_busy: 'interrupt' }))).result).toMatchObject({ position: 1 });
  await expect(t.send(say(two, 'no', { on_busy: 'reject' }))).rejects.toMatchObject({ code: 'busy' });
  await expect(t.send({ type: 'user.steer', session_id: two, content: 'x', apply: 'now' })).rejects.toMatchObject({
    code: 'turn_not_active',
  });
  finish(await t.model.request(1));
  for (let n = 2; n <= 4; n++) finish(await t.model.request(n));
  const said = t.model.requests.map(({ request }) => JSON.stringify(request.messages.at(-1)));
  expect(said.map((text) => /Hi|first|second|ahead/.exec(text)?.[0])).toEqual(['Hi', 'ahead', 'first', 'second']);
});

it('[TURN-4] the time of waiting is nobody’s running time', async () => {
  await start(1, 1);
  const [one, two] = (await sessions(2)) as [string, string];
  await t.send(say(one, 'Hi.', { deadline_ms: 10_000_000 }));
  await t.send(say(two, 'Hi.', { deadline_ms: 5_000 }));
  t.clock.advance(60_000);
  finish(await t.model.request(1));
  const request = await t.model.request(2);
  expect(request.signal.aborted).toBe(false);
  t.clock.advance(4_999);
  expect(request.signal.aborted).toBe(false);
  t.clock.advance(1);
  for (let turn = 0; turn < 100 && !request.signal.aborted; turn++) await turns(1);
  expect(request.signal.aborted).toBe(true);
});

it('[NODE-2] a turn that waited when the server died begins at the next, behind what ran', async () => {
  await start(1, 5);
  const [two, one] = [await session(), await session()];
  await t.send(say(one, 'Hi.'));
  await t.send(say(two, 'Hi.'));
  await t.model.request(1);
  await t.stop();
  await start(1, 5);
  const again = await t.model.request(1);
  expect(sessionOf(1)).toBe(one);
  expect(gauges()).toEqual([1, 1]);
  finish(again);
  await t.model.request(2);
  expect(sessionOf(2)).toBe(two);
});

it('a session that is deleted while it waits, or runs, gives its place away', async () => {
  await start(1, 5);
  const [one, two, three] = (await sessions(3)) as [string, string, string];
  for (const id of [one, two, three]) await t.send(say(id, 'Hi.'));
  await t.room.api.deleteSession(t.caller, two);
  expect(gauges()).toEqual([1, 1]);
  await t.room.api.deleteSession(t.caller, one);
  await t.model.request(2);
  expect(sessionOf(2)).toBe(three);
});

it('while the server goes down nobody who waits begins', async () => {
  await start(1, 5);
  const [one, two] = (await sessions(2)) as [string, string];
  await t.send(say(one, 'Hi.'));
  await t.send(say(two, 'Hi.'));
  t.room.beginDrain();
  finish(await t.model.request(1));
  for (let turn = 0; turn < 100 && t.metrics.ended.length === 0; turn++) await turns(1);
  await t.room.drained(1_000);
  await turns(5);
  expect(t.model.requests).toHaveLength(1);
  expect(gauges()).toEqual([0, 1]);
});

it('50 sessions at once never run more than may, and all of them end', async () => {
  await start(3, 100);
  const all = await sessions(50);
  const finished = (async () => {
    for (let n = 1; n <= 50; n++) {
      const request = await t.model.request(n);
      expect(t.metrics.read('turns_running')).toBeLessThanOrEqual(3);
      finish(request);
    }
  })();
  await Promise.all(all.map((id) => t.send(say(id, 'Hi.'))));
  await finished;
  for (let turn = 0; turn < 500 && t.metrics.ended.length < 50; turn++) await turns(1);
  expect(t.metrics.ended).toEqual(Array.from({ length: 50 }, () => 'end_turn'));
  expect(gauges()).toEqual([0, 0]);
});
