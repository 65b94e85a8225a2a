/** Requests a minute and turns at a time: what counts, what gives back, what survives. */
import { mkdtempSync, rmSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import type { TurnCommand } from '../../protocol/index.js';
import { EmbeddedRates, EmbeddedSeats } from '../../server/adapters/embedded/index.js';
import type { Role } from '../../server/core/permissions.js';
import type { RateVerdict } from '../../server/ports/rate-limiter.js';
import { SEAT_TIMES } from '../../server/ports/turn-seats.js';
import { FakeClock } from '../support/fake-clock.js';
import { turns } from './support/event-loop.js';
import { closed, type OpenRequest, opened, type RoomOptions, say, startRoom, type TestRoom, words } from './support.js';

let t: TestRoom;
let dataDir: string;
let clock: FakeClock;
let rates: EmbeddedRates;
let seats: EmbeddedSeats;
const WHO = { userId: 'local', orgId: 'local' };

beforeEach(() => {
  dataDir = mkdtempSync(join(tmpdir(), 'midstream-limits-'));
  clock = new FakeClock();
  rates = new EmbeddedRates(() => clock.now());
  seats = new EmbeddedSeats(() => clock.now());
});
afterEach(async () => {
  await t.stop();
  rmSync(dataDir, { recursive: true, force: true });
});

const open: Role = { tools: { allow: ['*'] }, models: ['*'] };
const start = async (role: Partial<Role>, options: RoomOptions = {}): Promise<void> => {
  t = await startRoom({ dataDir, clock, rates, seats, policy: { admin: { ...open, ...role } }, ...options });
};
const session = async (): Promise<string> => (await t.create()).id;
const finish = (request: OpenRequest): void => {
  request.stream(...opened, ...words('Fine.'), ...closed);
  request.end();
};
/** How many may still begin; looking costs nothing. */
const left = async (perMinute: number): Promise<number> => {
  const { allowed, remaining } = await rates.take(WHO, perMinute);
  if (allowed) await rates.giveBack(WHO, perMinute);
  return allowed ? remaining + 1 : 0;
};
const batch = (sessionId: string, ...commands: object[]) =>
  t.room.api.dispatchBatch(t.caller, sessionId, commands as unknown as TurnCommand[]);
const until = async (isSo: () => boolean): Promise<void> => {
  for (let turn = 0; turn < 2_000 && !isSo(); turn++) await turns(1);
  expect(isSo()).toBe(true);
};

describe('requests a minute', () => {
  it('count messages, queued ones and steers; the one too many is refused with the numbers, and logs nothing', async () => {
    await start({ requests_per_minute: 3 });
    const id = await session();
    await t.send(say(id, 'one'));
    await t.send(say(id, 'two'));
    await t.send({ type: 'user.steer', session_id: id, content: 'three', apply: 'next_step' });
    const head = (await t.room.api.getSession(t.caller, id)).head_seq;
    await expect(t.send(say(id, 'four'))).rejects.toMatchObject({
      code: 'rate_limited',
      retryAfterMs: 20_000,
      details: { limit: 'requests_per_minute', quota: 3, remaining: 0, reset_ms: 60_000 },
    });
    expect((await t.room.api.getSession(t.caller, id)).head_seq).toBe(head);
    expect(t.metrics.denials).toEqual(['rate_limited']);
    await t.send({ type: 'user.interrupt', session_id: id, scope: 'turn_and_queue' });
    clock.advance(20_000);
    await t.send(say(id, 'four'));
  });

  it('a steer that became a turn is not counted again', async () => {
    await start({ requests_per_minute: 5 });
    const id = await session();
    await t.send(say(id, 'one'));
    const content = [{ type: 'text', text: 'late' }];
    await t.send({ type: 'user.steer', session_id: id, content, apply: 'next_step' });
    finish(await t.model.request(1));
    await t.model.request(2);
    expect(await left(5)).toBe(3);
  });

  it('[CMD-2] what is sent again is not counted again, beside itself in one batch neither', async () => {
    await start({ requests_per_minute: 2 });
    const id = await session();
    const message = say(id, 'one', { id: 'same' });
    await t.send(message);
    expect(await t.send(message)).toMatchObject({ duplicate: true });
    expect(await left(2)).toBe(1);
    const twin = say(id, 'two', { id: 'twin' });
    await batch(id, twin, twin);
    expect(await left(2)).toBe(0);
    expect(await t.send(message)).toMatchObject({ duplicate: true });
  });

  it('each message of a batch counts; one too many refuses all, names itself and costs nothing', async () => {
    await start({ requests_per_minute: 2 });
    const id = await session();
    const texts = ['a', 'b', 'c'].map((name) => say(id, name, { id: name }));
    await expect(batch(id, ...texts)).rejects.toMatchObject({ code: 'rate_limited', details: { index: 2 } });
    expect(await left(2)).toBe(2);
    await batch(id, ...texts.slice(1));
    expect(await left(2)).toBe(0);
  });

  it('what something else refuses costs nothing', async () => {
    await start(
      { requests_per_minute: 4, concurrent_turns: 1 },
      { budgets: { roles: { admin: { budget: { day: { tokens: 5 } } } } } },
    );
    const id = await session();
    const told: RateVerdict[] = [];
    const caller = { ...t.caller, onCounted: (verdict: RateVerdict) => void told.push(verdict) };
    const refusals = [
      say(id, 'too dear'),
      say(id, 'wrong', { max_tokens: 1e9 }),
      { type: 'user.steer', session_id: id, content: 'nothing runs', apply: 'now' },
    ];
    for (const [n, command] of refusals.entries()) {
      const sent = t.room.api.dispatch(caller, { id: `x${n}`, ...command } as TurnCommand);
      await expect(sent).rejects.toMatchObject({ code: expect.not.stringMatching('rate_limited') });
      expect(told.at(-1)).toMatchObject({ limit: 4, remaining: 4, resetMs: 0 });
    }
    expect(await left(4)).toBe(4);
    expect(await seats.take({ ...WHO, seatId: 'mine' }, 1)).toBe(true);
  });

  it('what came back by itself before it was refused is not given back out of another’s', async () => {
    await start({ requests_per_minute: 60 });
    const [one, two] = [await session(), await session()];
    const reserve = t.store.ledger.reserve.bind(t.store.ledger);
    let answer: () => void = () => undefined;
    t.store.ledger.reserve = () => new Promise((_resolve, reject) => (answer = () => reject(new Error('late'))));
    const refused = t.send(say(one, 'Hi.'));
    await turns(3);
    t.store.ledger.reserve = reserve;
    clock.advance(1_000);
    await t.send(say(two, 'Hi.'));
    answer();
    await expect(refused).rejects.toMatchObject({ code: 'store_unavailable' });
    expect(await left(60)).toBe(59);
  });

  it('the most generous role counts, and none where one has no limit', async () => {
    const policy = { admin: { ...open, requests_per_minute: 1 }, pro: { ...open, requests_per_minute: 3 }, free: open };
    await start({}, { policy });
    const id = await session();
    const as = (roles: string[], name: string) =>
      t.room.api.dispatch(
        { ...t.caller, principal: { user_id: name, org_id: 'local', roles } },
        say(id, 'Hi.', { id: `${name}${Math.random()}` }) as TurnCommand,
      );
    // Not members: what they may is asked only after who they are.
    await expect(as(['pro'], 'eve')).rejects.toMatchObject({ code: 'session_not_found' });
    t.room.setPolicy({ admin: policy.pro }, { roles: undefined, org: undefined });
    for (let n = 0; n < 3; n++) await t.send(say(id, 'Hi.'));
    await expect(t.send(say(id, 'Hi.'))).rejects.toMatchObject({ details: { quota: 3 } });
    t.room.setPolicy({ admin: open }, { roles: undefined, org: undefined });
    await t.send(say(id, 'Hi.'));
  });

  it('a limiter that does not answer lets nothing begin', async () => {
    await start({ requests_per_minute: 3 });
    const id = await session();
    rates.take = () => Promise.reject(new Error('away'));
    await expect(t.send(say(id, 'Hi.'))).rejects.toMatchObject({ code: 'store_unavailable' });
    expect(t.model.requests).toHaveLength(0);
  });
});

describe('turns at a time', () => {
  it('refuses one too many of an idle session, and takes it when another has ended', async () => {
    await start({ concurrent_turns: 1, requests_per_minute: 10 });
    const [one, two] = [await session(), await session()];
    await t.send(say(one, 'Hi.'));
    await expect(t.send(say(two, 'Hi.'))).rejects.toMatchObject({
      code: 'rate_limited',
      retryAfterMs: 1_000,
      details: { limit: 'concurrent_turns', quota: 1 },
    });
    expect(await left(10)).toBe(9);
    finish(await t.model.request(1));
    await until(() => seats.size === 0);
    await t.send(say(two, 'Hi.'));
    await t.model.request(2);
  });

  it('the next turn of the same session takes the seat over', async () => {
    await start({ concurrent_turns: 1 });
    const [one, two] = [await session(), await session()];
    await t.send(say(one, 'first'));
    await t.send(say(one, 'second'));
    finish(await t.model.request(1));
    await t.model.request(2);
    await expect(t.send(say(two, 'Hi.'))).rejects.toMatchObject({ code: 'rate_limited' });
    await t.send(say(one, 'third', { on_busy: 'interrupt' }));
    await t.model.request(3);
    await t.send({ type: 'user.interrupt', session_id: one });
    await until(() => seats.size === 0);
  });

  /** Its own session waits for a place while another of the user's sessions takes the last seat. */
  const waitForSeat = async (): Promise<{ one: string; two: string }> => {
    await start({}, { limits: { running_turns: 1 } });
    const [one, two] = [await session(), await session()];
    await t.send(say(one, 'Hi.'));
    await t.send(say(two, 'Hi.'));
    t.room.setPolicy({ admin: { ...open, concurrent_turns: 1 } }, { roles: undefined, org: undefined });
    await seats.take({ ...WHO, seatId: 'on another node' }, 1);
    finish(await t.model.request(1));
    await until(() => t.metrics.read('turns_waiting') === 0);
    return { one, two };
  };
  const endOf = async (id: string): Promise<unknown> => {
    const [event] = await t.store.log.read(id, { afterSeq: 0, limit: 1, types: ['turn.ended'] });
    return event && JSON.parse(event.json);
  };
  const pass = async (ms: number): Promise<void> => {
    for (let at = 0; at < ms; at += 100) {
      clock.advance(100);
      await turns(2);
    }
  };

  it('a queued turn waits 2 s for a seat, then ends and says why', async () => {
    const { two } = await waitForSeat();
    await pass(1_900);
    expect(await endOf(two)).toBeUndefined();
    await pass(400);
    expect(await endOf(two)).toMatchObject({ stop_reason: 'error', error: { code: 'rate_limited' } });
    expect(t.metrics.denials).toEqual(['rate_limited']);
    expect(t.model.requests).toHaveLength(1);
  });

  it('a queued turn takes the seat that is freed while it waits', async () => {
    const { two } = await waitForSeat();
    await pass(1_000);
    await seats.release({ ...WHO, seatId: 'on another node' });
    await pass(200);
    finish(await t.model.request(2));
    await until(() => seats.size === 0);
    expect(await endOf(two)).toMatchObject({ stop_reason: 'end_turn' });
  });

  it('[CAN-1] a turn that waits for a seat is cancelled at once, and takes none', async () => {
    const { two } = await waitForSeat();
    await pass(500);
    await t.send({ type: 'user.interrupt', session_id: two });
    await seats.release({ ...WHO, seatId: 'on another node' });
    await pass(300);
    expect(await endOf(two)).toMatchObject({ stop_reason: 'cancelled' });
    expect(seats.size).toBe(0);
    expect(t.model.requests).toHaveLength(1);
  });

  it('a seat that comes when its turn was cancelled meanwhile is freed', async () => {
    const { two } = await waitForSeat();
    const take = seats.take.bind(seats);
    let answer: (() => void) | undefined;
    seats.take = (seat, limit) =>
      new Promise((resolve) => {
        answer = () => void take(seat, limit).then(resolve);
      });
    await pass(100);
    await t.send({ type: 'user.interrupt', session_id: two });
    await seats.release({ ...WHO, seatId: 'on another node' });
    answer?.();
    await turns(3);
    expect(seats.size).toBe(0);
  });

  it('[TOOL-7] a turn that waits for an approver keeps its seat, through a restart too', async () => {
    const role = { ...open, tools: { ask: ['look'] }, concurrent_turns: 1 };
    const input_schema = { type: 'object' as const };
    const tools = [{ name: 'look', description: 'look', input_schema, run: () => 'seen' }];
    await start(role, { tools });
    const [one, two] = [await session(), await session()];
    const { sink } = await t.watch(one);
    await t.send(say(one, 'Hi.'));
    const request = await t.model.request(1);
    const block = { type: 'tool_use', id: 'toolu_1', name: 'look', input: {} };
    request.stream(opened[0] as never, { type: 'block_start', index: 0, block }, ...closed.slice(0, 1));
    request.stream({ type: 'message_delta', stopReason: 'tool_use', usage: {} });
    request.end();
    await sink.until(() => sink.has('turn.waiting'));
    expect(t.metrics.read('turns_running')).toBe(0);
    await expect(t.send(say(two, 'Hi.'))).rejects.toMatchObject({ code: 'rate_limited' });
    await t.stop();
    clock.advance(SEAT_TIMES.leaseMs);
    await start(role, { tools });
    await t.room.recover();
    await expect(t.send(say(two, 'Hi.'))).rejects.toMatchObject({ code: 'rate_limited' });
  });

  it('renews its seats while a turn runs, by one timer, and leaves none behind', async () => {
    await start({ concurrent_turns: 2 });
    const [one, two] = [await session(), await session()];
    await t.send(say(one, 'Hi.'));
    await t.send(say(two, 'Hi.'));
    for (let beat = 0; beat < 6; beat++) {
      clock.advance(SEAT_TIMES.heartbeatMs);
      await turns(2);
      expect(await seats.take({ ...WHO, seatId: 'other' }, 2)).toBe(false);
    }
    await t.send({ type: 'user.interrupt', session_id: one });
    await t.room.api.deleteSession(t.caller, two);
    await until(() => seats.size === 0);
  });

  it('[NODE-2] a turn that is taken up has its seat again, before its user is seen', async () => {
    await start({ concurrent_turns: 1 });
    const [one, two] = [await session(), await session()];
    await t.send(say(one, 'Hi.'));
    await t.model.request(1);
    await t.stop();
    clock.advance(SEAT_TIMES.leaseMs);
    await start({ concurrent_turns: 1 });
    await t.model.request(1);
    await expect(t.send(say(two, 'Hi.'))).rejects.toMatchObject({ code: 'rate_limited' });
    clock.advance(SEAT_TIMES.heartbeatMs * 5);
    await expect(t.send(say(two, 'Hi.'))).rejects.toMatchObject({ code: 'rate_limited' });
  });

  it('seats that do not answer let nothing begin', async () => {
    await start({ concurrent_turns: 1, requests_per_minute: 5 });
    const id = await session();
    seats.take = () => Promise.reject(new Error('away'));
    await expect(t.send(say(id, 'Hi.'))).rejects.toMatchObject({ code: 'store_unavailable' });
    expect(await left(5)).toBe(5);
    expect(t.metrics.read('turns_running')).toBe(0);
  });
});
