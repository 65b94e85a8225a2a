/** What a hold is asked for: the bound of a prompt, and the very request that will be sent. */
import type { Block } from '../../protocol/index.js';
import { boundFirstInputTokens } from '../../server/core/token-estimate.js';
import type { Effect } from '../../server/core/transition.js';
import { World } from './support/world.js';

type Reserve = Extract<Effect, { type: 'reserve' }>;
const reserves = (world: World): Reserve[] => world.effects.filter((e) => e.type === 'reserve');
const sayOnly = (world: World): void => {
  const content = [{ type: 'text', text: 'Hi' }];
  world.command({ type: 'user.message', id: 'm1', content } as never);
};

it('[BUD-1] names the very request that is sent once it is granted', () => {
  const world = new World();
  sayOnly(world);
  const [asked] = reserves(world) as [Reserve];
  world.input({ type: 'admitted', key: asked.key });
  expect(asked.toRequest()).toEqual(world.request);
});

it('[BUD-1] asks again where a steer joined while the hold was awaited', () => {
  const world = new World();
  sayOnly(world);
  const [first] = reserves(world) as [Reserve];
  const content = [{ type: 'text', text: 'x'.repeat(5_000) }];
  world.command({ type: 'user.steer', id: 's1', content, apply: 'now' } as never);
  world.input({ type: 'admitted', key: first.key });
  expect(world.requests).toEqual([]);
  const [, second] = reserves(world) as [Reserve, Reserve];
  expect(second.key).toEqual(first.key);
  expect(second.input.tokens).toBeGreaterThan(first.input.tokens + 5_000);
  world.input({ type: 'admitted', key: second.key });
  expect(second.toRequest()).toEqual(world.request);
  expect(JSON.stringify(world.request.messages)).toContain('xxx');
});

it.each<[string, Block, number, boolean]>([
  ['text, by its bytes', { type: 'text', text: 'é'.repeat(500) }, 1_000, false],
  [
    'a plain document, by its text and what is said of it',
    {
      type: 'document',
      title: 't'.repeat(300),
      context: 'c'.repeat(300),
      source: { type: 'text', media_type: 'text/plain', data: 'd'.repeat(300) },
    },
    900,
    false,
  ],
  ['an image', { type: 'image', source: { type: 'url', url: 'https://x.test/a.png' } }, 5_000, true],
  ['a PDF', { type: 'document', source: { type: 'url', url: 'https://x.test/a.pdf' } }, 1_000_000, true],
])('[BUD-1] bounds %s', (_name, block, least, hasAttachments) => {
  const { state } = new World();
  const empty = boundFirstInputTokens(state, [{ type: 'text', text: '' }], new Map());
  const bound = boundFirstInputTokens(state, [block], new Map());
  expect(bound.hasAttachments).toBe(hasAttachments);
  expect(bound.tokens - empty.tokens).toBeGreaterThanOrEqual(least - 8);
  expect(bound.tokens - empty.tokens).toBeLessThan(least + 100);
});
