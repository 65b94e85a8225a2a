/**
 * Keeps the commands of each session in the order they came in, also where their actor goes and the next one takes them
 * (CMD-5): none goes to an actor before all that came earlier are there too, or done.
 */

interface Entry<A> {
  /** Where it is; undefined before it is anywhere. */
  actor: A | undefined;
}

interface Line<A> {
  readonly entries: Entry<A>[];
  readonly waiting: Set<() => void>;
}

export class CommandOrder<A> {
  readonly #lines = new Map<string, Line<A>>();

  /** Lets `use` run with a way to enter actors: `enter` resolves when nobody earlier is elsewhere. */
  async inOrder<T>(key: string, use: (enter: (find: () => Promise<A>) => Promise<A>) => Promise<T>): Promise<T> {
    const line = this.#lines.get(key) ?? { entries: [], waiting: new Set() };
    this.#lines.set(key, line);
    const entry: Entry<A> = { actor: undefined };
    line.entries.push(entry);
    try {
      return await use((find) => this.#enter(line, entry, find));
    } finally {
      line.entries.splice(line.entries.indexOf(entry), 1);
      if (line.entries.length === 0) this.#lines.delete(key);
      wake(line);
    }
  }

  async #enter(line: Line<A>, entry: Entry<A>, find: () => Promise<A>): Promise<A> {
    for (;;) {
      const actor = await find();
      // Those before the one before it are where that one is, or were when it went there.
      const before = line.entries[line.entries.indexOf(entry) - 1];
      if (before === undefined || before.actor === actor) {
        entry.actor = actor;
        wake(line);
        return actor;
      }
      await new Promise<void>((resolve) => line.waiting.add(resolve));
    }
  }
}

function wake<A>({ waiting }: Line<A>): void {
  for (const resume of [...waiting]) resume();
  waiting.clear();
}
