/** The order of commands, where the actor that has them goes and another one takes them. */
import { CommandOrder } from '../../server/session/command-order.js';

/** Commands that try `find` until an actor takes them, and what came of it. */
class Scene {
  readonly order = new CommandOrder<string>();
  /** In the order in which commands went to actors. */
  readonly entered: string[] = [];
  actor = 'one';
  readonly #fates = new Map<string, (fate: 'done' | 'gone') => void>();

  send(name: string, key = 'session'): Promise<void> {
    return this.order.inOrder(key, async (enter) => {
      for (;;) {
        const actor = await enter(async () => this.actor);
        this.entered.push(`${name}@${actor}`);
        const fate = await new Promise((resolve) => this.#fates.set(name, resolve));
        if (fate === 'done') return;
      }
    });
  }

  end(name: string, fate: 'done' | 'gone'): void {
    this.#fates.get(name)?.(fate);
  }
}

const settle = async (): Promise<void> => {
  for (let turn = 0; turn < 20; turn++) await Promise.resolve();
};

it('[CMD-5] lets commands go to one actor without waiting for each other', async () => {
  const scene = new Scene();
  const all = ['a', 'b', 'c'].map((name) => scene.send(name));
  await settle();
  expect(scene.entered).toEqual(['a@one', 'b@one', 'c@one']);
  for (const name of ['c', 'a', 'b']) scene.end(name, 'done');
  await Promise.all(all);
});

it('[CMD-5] keeps the place of a command whose actor went', async () => {
  const scene = new Scene();
  const all = [scene.send('a'), scene.send('b')];
  await settle();
  scene.actor = 'two';
  all.push(scene.send('c'));
  await settle();
  scene.end('b', 'gone');
  await settle();
  // Nobody may pass `a`, which has not been told yet.
  expect(scene.entered).toEqual(['a@one', 'b@one']);
  scene.end('a', 'gone');
  await settle();
  expect(scene.entered.slice(2)).toEqual(['a@two', 'b@two', 'c@two']);
  for (const name of ['a', 'b', 'c']) scene.end(name, 'done');
  await Promise.all(all);
});

it('[CMD-5] lets the next ones go on where an earlier one is done, or was refused', async () => {
  const scene = new Scene();
  const first = scene.send('a');
  await settle();
  scene.actor = 'two';
  const next = scene.send('b');
  const refused = scene.order.inOrder('session', async (enter) => {
    await enter(() => Promise.reject(new Error('no such session')));
  });
  await expect(refused).rejects.toThrow('no such session');
  scene.end('a', 'done');
  await first;
  await settle();
  expect(scene.entered).toEqual(['a@one', 'b@two']);
  scene.end('b', 'done');
  await next;
});

it('keeps sessions apart', async () => {
  const scene = new Scene();
  const first = scene.send('a', 'one session');
  await settle();
  scene.actor = 'two';
  const other = scene.send('b', 'another');
  await settle();
  expect(scene.entered).toEqual(['a@one', 'b@two']);
  for (const name of ['a', 'b']) scene.end(name, 'done');
  await Promise.all([first, other]);
});
