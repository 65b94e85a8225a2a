/** Deltas of completed blocks stay in a log that other nodes read: long enough for them, and not longer (LOG-5). */
import type { EventLog } from '../../server/ports/event-log.js';
import { LateTrims } from '../../server/session/late-trims.js';
import { FakeClock } from '../support/fake-clock.js';

/** What LOG-5 grants at most, and how late a node that was not woken looks. */
const [MOST_MS, POLL_MS] = [30_000, 1_000];
const [S, T] = ['sesn_one', 'sesn_two'];

function start() {
  const clock = new FakeClock();
  const trimmed: [session: string, upTo: number, afterMs: number][] = [];
  const begun = clock.now();
  const trimDeltas = (session: string, upTo: number) => void trimmed.push([session, upTo, clock.now() - begun]);
  const trims = new LateTrims({ epoch: 'e0', trimDeltas } as EventLog, clock);
  return { clock, trimmed, trims };
}

it('[LOG-5] trims when other nodes have had time to read, and within 30 s', () => {
  const { clock, trimmed, trims } = start();
  trims.log.trimDeltas(S, 7);
  clock.advance(2 * POLL_MS);
  expect(trimmed).toEqual([]);
  clock.advance(MOST_MS - 2 * POLL_MS);
  expect(trimmed).toEqual([[S, 7, expect.any(Number)]]);
  expect(clock.pending).toBe(0);
});

it('[LOG-5] gives each block its time, though more of them are completed all the while', () => {
  const { clock, trimmed, trims } = start();
  for (let upTo = 1; upTo <= 60; upTo++) {
    trims.log.trimDeltas(S, upTo);
    if (upTo === 30) trims.log.trimDeltas(T, 1);
    clock.advance(POLL_MS);
  }
  clock.advance(MOST_MS);
  expect(trimmed.filter(([session]) => session === T)).toHaveLength(1);
  const ofOne = trimmed.filter(([session]) => session === S);
  expect(ofOne.at(-1)?.[1]).toBe(60);
  for (const [, upTo, afterMs] of ofOne) expect(afterMs - (upTo - 1) * POLL_MS).toBeGreaterThan(2 * POLL_MS);
  for (const [at, [, upTo]] of ofOne.entries())
    for (let seq = (ofOne[at - 1]?.[1] ?? 0) + 1; seq <= upTo; seq++)
      expect((ofOne[at]?.[2] ?? 0) - (seq - 1) * POLL_MS).toBeLessThanOrEqual(MOST_MS);
});

it('leaves nothing behind when it is closed', () => {
  const { clock, trimmed, trims } = start();
  trims.log.trimDeltas(S, 7);
  clock.advance(4 * POLL_MS);
  trims.log.trimDeltas(T, 3);
  trims.close();
  expect(trimmed.map(([session, upTo]) => [session, upTo])).toEqual([
    [S, 7],
    [T, 3],
  ]);
  expect(clock.pending).toBe(0);
});
