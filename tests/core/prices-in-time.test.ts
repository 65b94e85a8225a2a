/** A request is settled in the prices that it was held in, whatever happens in between. */
import { FREE_MODEL, type FactsOf } from '../../server/core/prices.js';
import { toKnownUsage } from '../../server/core/known-usage.js';
import type { Effect } from '../../server/core/transition.js';
import { World } from './support/world.js';

const perToken = (nanoUsd: number) => ({
  ...FREE_MODEL,
  price: { input: nanoUsd, cacheWrite: nanoUsd, cacheRead: nanoUsd, output: nanoUsd },
});
const [BEFORE, AFTER] = [perToken(1_000), perToken(3_000)];
const usage = { input_tokens: 6, output_tokens: 1, cache_creation_input_tokens: 0, cache_read_input_tokens: 0 };

/** Prices change in a second. */
function createWorld(): { world: World; change: number } {
  const world = new World();
  const change = world.now + 1_000;
  const factsOf: FactsOf = (_model, at) => (at < change ? BEFORE : AFTER);
  world.factsOf = factsOf;
  return { world, change };
}

function ask(world: World): Extract<Effect, { type: 'reserve' }> {
  world.command({ type: 'user.message', id: 'm1', content: [{ type: 'text', text: 'Hi' }] } as never);
  const asked = world.effects.find((effect) => effect.type === 'reserve');
  if (asked?.type !== 'reserve') throw new Error('no hold was asked for');
  return asked;
}

function answer(world: World, { key }: { key: Extract<Effect, { type: 'reserve' }>['key'] }): void {
  const events = [
    { type: 'message_start' as const, usage },
    { type: 'block_start' as const, index: 0, block: { type: 'text', text: '' } },
    { type: 'text' as const, index: 0, text: 'Fine.' },
    { type: 'block_stop' as const, index: 0 },
    { type: 'message_delta' as const, stopReason: 'end_turn', usage: { output_tokens: 4 } },
  ];
  world.input({ type: 'model_events', key, events });
  world.input({ type: 'model_ended', key, end: { type: 'complete' } });
}

const costs = (world: World): number[] => world.of('span.model_request_end').map(({ cost_usd }) => cost_usd);

it('[BUD-1] a hold from before a change is settled at the old price, and its checkpoints say so', () => {
  const { world, change } = createWorld();
  const asked = ask(world);
  const pricedAt = world.now;
  world.now = change;
  world.input({ type: 'admitted', key: asked.key, pricedAt });
  expect(world.of('span.model_request_start')).toMatchObject([{ priced_at: new Date(pricedAt).toISOString() }]);
  world.input({ type: 'model_events', key: asked.key, events: [{ type: 'message_start', usage }] });
  expect(toKnownUsage(world.state, world.context())?.[1].costNanoUsd).toBe(7 * 1_000);
  answer(world, asked);
  expect(costs(world)).toEqual([0.00001]);
  expect(world.effects).toContainEqual(expect.objectContaining({ type: 'settle', costNanoUsd: 10_000 }));
});

it('[BUD-2] a request that runs across a change keeps its price, also where its server dies', () => {
  const { world, change } = createWorld();
  const asked = ask(world);
  world.input({ type: 'admitted', key: asked.key, pricedAt: world.now });
  expect(world.of('span.model_request_start')[0]).not.toHaveProperty('priced_at');
  world.input({ type: 'model_events', key: asked.key, events: [{ type: 'message_start', usage }] });
  world.input({
    type: 'model_events',
    key: asked.key,
    events: [
      { type: 'block_start', index: 0, block: { type: 'text', text: '' } },
      { type: 'text', index: 0, text: 'Some' },
    ],
  });
  world.now = change;
  const known = toKnownUsage(world.state, world.context())?.[1].costNanoUsd ?? 0;
  expect(known).toBeGreaterThan(0);
  expect(known % 1_000).toBe(0);
  world.crash();
  const [cut] = world.of('span.model_request_end');
  const { input_tokens = 0, output_tokens = 0 } = cut?.model_usage ?? {};
  expect(input_tokens).toBeGreaterThan(0);
  expect(cut?.cost_usd).toBe(((input_tokens + output_tokens) * 1_000) / 1e9);
  // What is held again is held anew.
  const again = world.effects.find((effect) => effect.type === 'reserve');
  if (again?.type !== 'reserve') throw new Error('no hold was asked for');
  world.input({ type: 'admitted', key: again.key, pricedAt: world.now });
  answer(world, again);
  expect(costs(world)[1]).toBe(0.00003);
});
