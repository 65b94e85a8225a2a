/** Letters between two nodes by seed: lost, doubled, read again, withdrawn. Each question is served once, and in order. */
import type { Letter, Question } from '../../server/adapters/redis/letters.js';
import { OpenQuestions } from '../../server/adapters/redis/open-questions.js';
import { ServedQuestions } from '../../server/adapters/redis/served-questions.js';
import { createRandom } from '../support/store-random.js';

const SEEDS = Array.from({ length: 200 }, (_, n) => n + 1);
const STEPS = 400;

async function run(seed: number): Promise<void> {
  const random = createRandom(seed);
  const asker = new OpenQuestions('one');
  const served: number[] = [];
  const waiting: (() => void)[] = [];
  const toOne: Letter[] = [];
  const desk = new ServedQuestions({
    handler: (request) => {
      served.push(request as number);
      return new Promise((resolve) => waiting.push(() => resolve(request)));
    },
    post: (_nodeId, letter) => toOne.push(letter),
  });
  const toTwo: Question[] = [];
  const answers = new Map<number, unknown>();
  const withdrawn = new Set<number>();
  let asked = 0;
  const open = new Set<number>();

  const post = (letter: Question): void => {
    const dice = random();
    if (dice < 0.2) return;
    toTwo.push(letter);
    // Read again, after others.
    if (dice > 0.9) toTwo.splice(Math.floor(random() * toTwo.length), 0, letter);
  };
  const ask = (): void => {
    const body = ++asked;
    const resolve = (answer: unknown): void => {
      open.delete(body);
      answers.set(body, answer);
    };
    const reject = (): void => {
      open.delete(body);
      withdrawn.add(body);
    };
    const [{ number }, letter] = asker.open({ nodeId: 'two', body, resolve, reject });
    expect(number).toBe(body);
    open.add(body);
    post(letter);
  };
  const oneOf = <T>(all: Iterable<T>): T | undefined => {
    const list = [...all];
    return list[Math.floor(random() * list.length)];
  };
  const deliver = async (loss: number): Promise<void> => {
    for (const letter of toTwo.splice(0, Math.ceil(random() * 5))) desk.take(letter);
    oneOf(waiting.splice(Math.floor(random() * waiting.length), 1))?.();
    await Promise.resolve();
    for (const letter of toOne.splice(0)) {
      if (random() < loss) continue;
      if ('answer' in letter) asker.answer(letter.answer, letter.body);
      // Of what was withdrawn alone.
      else if ('forgotten' in letter) expect(open).not.toContain(letter.forgotten);
    }
  };

  for (let step = 0; step < STEPS; step++) {
    const dice = random();
    if (dice < 0.4) ask();
    else if (dice < 0.45) asker.withdraw(oneOf(open) ?? 0, new Error('withdrawn'));
    else if (dice < 0.5) for (const [, letter] of asker.takeAll()) post(letter);
    else if (dice < 0.52) toTwo.length = 0;
    else await deliver(0.3);
  }
  for (let rounds = 0; open.size > 0; rounds++) {
    expect(rounds).toBeLessThan(1_000);
    for (const [, letter] of asker.takeAll()) post(letter);
    while (toTwo.length > 0 || waiting.length > 0) await deliver(0.1);
  }
  desk.close();
  expect(served).toEqual([...new Set(served)].sort((one, other) => one - other));
  for (const [body, answer] of answers) expect(answer).toBe(body);
  expect(answers.size + withdrawn.size).toBe(asked);
  for (const body of answers.keys()) expect(served).toContain(body);
}

it.each(SEEDS)('[CMD-1] [CMD-5] answers each question once and in order, seed %i', run);
