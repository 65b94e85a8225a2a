/** Deltas of completed blocks stay in a log that other nodes read: long enough for them, and not longer (LOG-5). */
import { DeltaTrims } from '../../server/adapters/redis/delta-trims.js';
import type { ScriptCall } from '../../server/adapters/redis/redis-connection.js';
import type { SessionHolds } from '../../server/adapters/redis/session-holds.js';
import type { StoreDoor } from '../../server/adapters/redis/store-door.js';

/** What LOG-5 grants at most, and how late a node that was not woken looks. */
const [MOST_MS, POLL_MS] = [30_000, 1_000];
const [S, T] = ['sesn_one', 'sesn_two'];

beforeEach(() => {
  jest.useFakeTimers();
});
afterEach(() => {
  jest.useRealTimers();
});

function start() {
  const trimmed: [session: string, upTo: number, afterMs: number][] = [];
  const begun = Date.now();
  const runAll = async (_: string, calls: readonly ScriptCall[]) => {
    for (const { keys, args } of calls)
      trimmed.push([/\{(.+)\}/.exec(keys[0])?.[1] ?? '', Number(args[1]) - 1, Date.now() - begun]);
    return [];
  };
  const holds = { find: () => ({ token: 'held' }) };
  const trims = new DeltaTrims({ redis: { runAll } } as unknown as StoreDoor, holds as unknown as SessionHolds);
  return { trimmed, trims };
}

it('[LOG-5] trims when other nodes have had time to read, and within 30 s', () => {
  const { trimmed, trims } = start();
  trims.add(S, 7);
  jest.advanceTimersByTime(2 * POLL_MS);
  expect(trimmed).toEqual([]);
  jest.advanceTimersByTime(MOST_MS - 2 * POLL_MS);
  expect(trimmed).toEqual([[S, 7, expect.any(Number)]]);
  expect(jest.getTimerCount()).toBe(0);
});

it('[LOG-5] gives each block its time, though more of them are completed all the while', () => {
  const { trimmed, trims } = start();
  for (let upTo = 1; upTo <= 60; upTo++) {
    trims.add(S, upTo);
    if (upTo === 30) trims.add(T, 1);
    jest.advanceTimersByTime(POLL_MS);
  }
  jest.advanceTimersByTime(MOST_MS);
  expect(trimmed.filter(([session]) => session === T)).toHaveLength(1);
  const ofOne = trimmed.filter(([session]) => session === S);
  expect(ofOne.at(-1)?.[1]).toBe(60);
  for (const [, upTo, afterMs] of ofOne) expect(afterMs - (upTo - 1) * POLL_MS).toBeGreaterThan(2 * POLL_MS);
  for (const [at, [, upTo]] of ofOne.entries())
    for (let seq = (ofOne[at - 1]?.[1] ?? 0) + 1; seq <= upTo; seq++)
      expect((ofOne[at]?.[2] ?? 0) - (seq - 1) * POLL_MS).toBeLessThanOrEqual(MOST_MS);
});

it('leaves nothing behind when it is closed', async () => {
  const { trimmed, trims } = start();
  trims.add(S, 7);
  jest.advanceTimersByTime(4 * POLL_MS);
  trims.add(T, 3);
  await trims.close();
  expect(trimmed.map(([session, upTo]) => [session, upTo])).toEqual([
    [S, 7],
    [T, 3],
  ]);
  expect(jest.getTimerCount()).toBe(0);
});
