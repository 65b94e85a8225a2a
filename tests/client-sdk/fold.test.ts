/** The transcript is the same whether a client saw every delta, merged ones, none, or began at a snapshot. */
import { emptyTranscript, fold, fromSnapshot, pendingApprovals, type Transcript } from '../../client-sdk/index.js';
import type { SessionEvent } from '../../protocol/events.js';
import { randomConversation } from './support/random-conversation.js';
import { createRandom } from './support/random.js';
import { mergeDeltas, trimDeltas } from './support/rewrite-log.js';
import { toSnapshot } from './support/to-snapshot.js';
import { toView } from './support/view.js';

const SEEDS = Number(process.env['FUZZ_SEEDS'] ?? 60);
const foldAll = (events: readonly SessionEvent[], from: Transcript = emptyTranscript('s')): Transcript =>
  events.reduce(fold, from);

const first = Number(process.env['FUZZ_SEED'] ?? Math.floor(Math.random() * 1_000_000));

describe.each(Array.from({ length: SEEDS }, (_, at) => first + at))('a conversation of seed %i', (seed) => {
  const events = randomConversation(seed);
  const whole = foldAll(events);

  it('[LOG-6] folds to the same when adjacent deltas are merged', () => {
    expect(foldAll(mergeDeltas(events, createRandom(seed)))).toEqual(whole);
  });

  it('[LOG-5] folds to the same when the deltas of completed events are trimmed', () => {
    expect(foldAll(trimDeltas(events))).toEqual(whole);
  });

  it('[LOG-4] shows the same from a snapshot at any seq and what followed it', () => {
    for (let at = 0; at <= events.length; at++) {
      const snapshot = toSnapshot(foldAll(events.slice(0, at)), 'e1');
      const resumed = foldAll(events.slice(at), fromSnapshot(snapshot, 'e1'));
      expect({ at, ...toView(resumed) }).toEqual({ at, ...toView(whole) });
    }
  });

  it('leaves nothing streaming, queued or waiting when every turn has ended', () => {
    expect(whole.items.filter((item) => 'status' in item && item.status === 'streaming')).toEqual([]);
    expect({ queue: whole.queue, steers: whole.steers, turn: whole.turn }).toEqual({ queue: [], steers: [] });
    expect(pendingApprovals(whole)).toEqual([]);
  });

  it('never changes a state that it was given', () => {
    let state = emptyTranscript('s');
    for (const event of events) {
      deepFreeze(state);
      state = fold(state, event);
    }
  });
});

function deepFreeze(value: unknown): void {
  if (typeof value !== 'object' || value === null || Object.isFrozen(value)) return;
  Object.freeze(value);
  for (const inner of Object.values(value)) deepFreeze(inner);
}
