/** What keeps holds alive, and what ends them when nobody does any more. */

import { mkdtempSync, rmSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { FREE_MODEL, type ModelFacts } from '../../server/core/prices.js';
import { LogUnavailable } from '../../server/ports/event-log.js';
import { LEDGER_TIMES } from '../../server/ports/ledger.js';
import type { ModelRequest } from '../../server/ports/model.js';
import { FakeClock } from '../support/fake-clock.js';
import { turns } from './support/event-loop.js';
import { closed, HandModel, opened, type RoomOptions, say, startRoom, type TestRoom, words } from './support.js';

const budgets = { roles: { admin: { budget: { day: { tokens: 10_000 } } } } };

let t: TestRoom;
let dataDir: string;
beforeEach(() => {
  dataDir = mkdtempSync(join(tmpdir(), 'midstream-budgets-'));
});
afterEach(async () => {
  await t.stop();
  rmSync(dataDir, { recursive: true, force: true });
});

const start = async (options: RoomOptions = {}): Promise<string> => {
  t = await startRoom({ budgets, dataDir, ...options });
  return (await t.create()).id;
};
const day = async () => {
  const [window] = (await t.room.usage.report(t.caller, { groupBy: [], days: 1 })).windows;
  return { used: window?.used ?? -1, held: window?.held ?? -1 };
};
/** Waits for what follows a timer that fired. */
const until = async (isSo: (now: { used: number; held: number }) => boolean): Promise<void> => {
  for (let turn = 0; turn < 2_000; turn++) {
    if (isSo(await day())) return;
    await new Promise((resolve) => setImmediate(resolve));
  }
  throw new Error(`it stayed ${JSON.stringify(await day())}`);
};

it('[BUD-4] a hold lives as long as its request, and one timer renews all of them', async () => {
  const sessionId = await start();
  const other = (await t.create()).id;
  await Promise.all([t.send(say(sessionId, 'Hi.')), t.send(say(other, 'Hi.'))]);
  const requests = [await t.model.request(1), await t.model.request(2)];
  for (const request of requests) request.stream(...opened, ...words('some'));
  const { held } = await day();
  const timers = t.clock.pending;
  for (let beat = 0; beat < 8; beat++) {
    t.clock.advance(LEDGER_TIMES.heartbeatMs);
    await t.store.ledger.sweep();
  }
  expect((await day()).held).toBe(held);
  expect(t.clock.pending).toBe(timers);
  for (const request of requests) {
    request.stream(...closed);
    request.end();
  }
  await until((now) => now.held === 0);
  expect((await day()).used).toBe(2 * (5 + 9));
  // Nothing runs, nothing beats.
  t.clock.advance(LEDGER_TIMES.heartbeatMs);
  expect(t.clock.pending).toBe(timers - 1 - 2);
});

it('[BUD-4] a hold whose request the log refused ends with its lease', async () => {
  let isRefusing = false;
  const sessionId = await start({
    wrapLog: (log) => ({
      ...log,
      epoch: log.epoch,
      append: (append) => (isRefusing ? Promise.reject(new LogUnavailable('store_failed', 'no')) : log.append(append)),
      read: (...args) => log.read(...args),
      readDeltas: (...args) => log.readDeltas(...args),
      trimDeltas: (...args) => log.trimDeltas(...args),
      floorOf: (...args) => log.floorOf(...args),
      findAnswer: (...args) => log.findAnswer(...args),
    }),
  });
  isRefusing = true;
  await expect(t.send(say(sessionId, 'Hi.'))).rejects.toMatchObject({ code: 'store_unavailable' });
  expect((await day()).held).toBeGreaterThan(0);
  isRefusing = false;
  for (let beat = 0; beat < 5; beat++) {
    t.clock.advance(LEDGER_TIMES.heartbeatMs);
    await new Promise((resolve) => setImmediate(resolve));
  }
  await until((now) => now.held === 0);
  expect((await day()).used).toBe(0);
});

it('[BUD-4] what a dead server had used is charged at the next start, before anything is held again', async () => {
  const sessionId = await start();
  await t.send(say(sessionId, 'Hi.'));
  (await t.model.request(1)).stream(...opened, ...words('x'.repeat(700)));
  t.clock.advance(LEDGER_TIMES.heartbeatMs);
  const { held } = await day();
  // The log still has the turn running, the ledger its hold.
  await t.stop();
  t = await startRoom({ budgets, dataDir });
  const again = await t.model.request(1);
  expect(await day()).toEqual({ used: 5 + 200, held });
  const [row] = await t.store.ledger.spend({
    orgId: 'local',
    userId: 'local',
    sinceDay: '2026-01-01',
    groupBy: ['session'],
    limit: 9,
  });
  expect(row).toMatchObject({ sessionId, requests: 1, usage: { input_tokens: 5, output_tokens: 200 } });
  again.stream(...opened, ...closed);
  again.end();
  await until((now) => now.held === 0);
});

it('[BUD-3] a ledger that does not answer lets nothing be spent', async () => {
  const sessionId = await start();
  const reserve = t.store.ledger.reserve.bind(t.store.ledger);
  t.store.ledger.reserve = () => Promise.reject(new Error('away'));
  await expect(t.send(say(sessionId, 'Hi.'))).rejects.toMatchObject({ code: 'store_unavailable' });
  t.store.ledger.reserve = reserve;
  await t.send(say(sessionId, 'Hi.'));
  expect(t.model.requests).toHaveLength(1);
});

it('[BUD-3] waits for a count as long as for a hold, and no longer', async () => {
  const model = new HandModel();
  const asked: AbortSignal[] = [];
  const counting = Object.assign(model, {
    countTokens: (_request: ModelRequest, signal: AbortSignal) => {
      asked.push(signal);
      return new Promise<number>(() => undefined);
    },
  });
  const sessionId = await start({ model: counting });
  const answer = t.send(say(sessionId, 'word '.repeat(2_400)));
  while (asked.length === 0) await new Promise((resolve) => setImmediate(resolve));
  t.clock.advance(LEDGER_TIMES.waitMs - 1);
  expect(asked[0]?.aborted).toBe(false);
  t.clock.advance(1);
  await expect(answer).rejects.toMatchObject({ code: 'budget_too_small' });
  expect(asked[0]?.aborted).toBe(true);
  expect(model.requests).toEqual([]);
});

describe('an interrupt of a message that waits for its hold', () => {
  /** Another session holds what the message needs. */
  const startHeld = async (): Promise<string> => {
    const other = await start();
    await t.send(say(other, 'Hi.', { max_tokens: 8_500 }));
    return (await t.create()).id;
  };
  const waitsFor = async (sessionId: string, name: object) => {
    const begun = performance.now();
    const message = t.send({ ...say(sessionId, 'And?'), id: 'held' });
    const next = t.send({ ...say(sessionId, 'Next.'), id: 'next' });
    const interrupt = t.send({ type: 'user.interrupt', session_id: sessionId, ...name });
    const answers = await Promise.allSettled([message, next, interrupt]);
    return { answers, tookMs: performance.now() - begun };
  };
  const eventsOf = async (sessionId: string) =>
    (await t.room.api.listEvents(t.caller, sessionId, { afterSeq: 0, limit: 1_000 })).events.map(
      ({ json }) => JSON.parse(json) as { type: string; command_id?: string; turn_id?: string; stop_reason?: string },
    );

  it('[CAN-1] [CMD-5] cuts the wait, cancels the turn, and charges nothing', async () => {
    const sessionId = await startHeld();
    const { held } = await day();
    const { answers, tookMs } = await waitsFor(sessionId, { command_id: 'held' });
    expect(tookMs).toBeLessThan(1_000);
    const [message, next, interrupt] = answers.map((answer) =>
      answer.status === 'fulfilled' ? answer.value : answer.reason,
    );
    expect(interrupt.result).toEqual({ turn_id: message.result.turn_id, outcome: 'cancelled' });
    // Each took effect at its place.
    expect(message.applied_at_seq).toBeLessThan(next.applied_at_seq);
    expect(next.applied_at_seq).toBeLessThan(interrupt.applied_at_seq);
    const events = await eventsOf(sessionId);
    const ofTurn = events.filter((event) => event.turn_id === message.result.turn_id);
    expect(ofTurn.map(({ type }) => type)).toEqual(['user.message', 'turn.started', 'user.interrupt', 'turn.ended']);
    expect(ofTurn.at(-1)).toMatchObject({ stop_reason: 'cancelled', cost_usd: 0 });
    expect(t.model.requests).toHaveLength(1);
    expect(await day()).toEqual({ used: 0, held });
  });

  it('[CAN-1] lets the message go on where the interrupt meets nothing', async () => {
    const sessionId = await startHeld();
    const { answers } = await waitsFor(sessionId, { command_id: 'held', turn_id: 'turn_other' });
    expect(answers[0]?.status).toBe('fulfilled');
    expect(answers[2]).toMatchObject({ status: 'rejected', reason: { code: 'turn_not_found' } });
    const first = await t.model.request(1);
    first.stream(...opened, ...closed);
    first.end();
    const second = await t.model.request(2);
    expect(JSON.stringify(second.request.messages)).toContain('And?');
  });
});

describe('a request that waited for its hold across a change of prices pays what was held', () => {
  const perToken = (nanoUsd: number): ModelFacts => ({
    ...FREE_MODEL,
    price: { input: nanoUsd, cacheWrite: nanoUsd, cacheRead: nanoUsd, output: nanoUsd },
  });
  const [before, after] = [perToken(1_000), perToken(2_000)];
  const COST = 14e-6;
  let clock: FakeClock;
  let first: string;
  let other: string;
  beforeEach(async () => {
    clock = new FakeClock();
    const change = clock.now() + 1_000;
    first = await start({
      clock,
      factsOf: (_model, at) => (at < change ? before : after),
      // For one hold of a thousand tokens, and a little.
      budgets: { roles: { admin: { budget: { day: { usd: 0.0019 } } } } },
    });
    other = (await t.create()).id;
    await t.send(say(first, 'First.'));
  });
  const finish = async (n: number): Promise<void> => {
    const request = await t.model.request(n);
    request.stream(...opened, ...words('Fine.'), ...closed);
    request.end();
  };

  it('[BUD-1] before its message was accepted', async () => {
    const waiting = t.send(say(other, 'Second.'));
    await turns(20);
    clock.advance(1_500);
    await finish(1);
    await waiting;
    await finish(2);
    await until(({ held }) => held === 0);
    expect((await day()).used).toBeCloseTo(2 * COST, 9);
  });

  it('[BUD-1] when its turn came', async () => {
    await t.send(say(first, 'Queued.'));
    const waiting = t.send(say(other, 'Second.'));
    await turns(20);
    await finish(1);
    await waiting;
    const second = await t.model.request(2);
    expect(second.request.sessionId).toBe(other);
    await turns(20);
    clock.advance(1_500);
    await finish(2);
    await finish(3);
    await until(({ held }) => held === 0);
    expect((await day()).used).toBeCloseTo(3 * COST, 9);
  });
});
