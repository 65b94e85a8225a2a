/** One session that one connection prompts and others watch, which may be connected to another node. */
import { DIALECTS } from './conversations.mjs';

class WatchedConversation {
  #prompter;
  #watchers;

  /** `watch`: how many watchers, and at which port. */
  constructor(Dialect, tally, { watch, ...server }) {
    this.#prompter = new Dialect(tally, server);
    this.#watchers = Array.from({ length: watch.count }, () => new Dialect(tally, { ...server, port: watch.port }));
  }

  /** The first watcher's: those of others stay with the conversation that they are. */
  set isCancelled(value) {
    for (const watcher of this.#watchers) watcher.isCancelled = value;
  }

  get isCancelled() {
    return this.#watchers[0].isCancelled;
  }

  get hasTokens() {
    return this.#watchers.every(({ tokens }) => tokens > 0);
  }

  async open() {
    const id = await this.#prompter.create();
    await Promise.all(this.#watchers.map((watcher) => watcher.watch(id)));
  }

  /** Resolves with how many tokens came to the watcher that got the fewest, and how many of those were skipped. */
  async prompt(what, onFirst) {
    const followed = this.#watchers.map((watcher, i) => watcher.follow(i === 0 ? onFirst : undefined));
    this.#prompter.sendPrompt(JSON.stringify(what));
    const counts = await Promise.race([Promise.all(followed), this.#prompter.broken]);
    return Math.min(...this.#watchers.map(({ skipped }, i) => counts[i] + skipped));
  }

  get skipped() {
    return this.#watchers.reduce((sum, { skipped }) => sum + skipped, 0);
  }

  resumed() {
    return this.#watchers[0].resumed();
  }

  /** By a watcher, so that the command comes to the node that it is connected to. */
  cancel() {
    return this.#watchers[0].cancel();
  }

  close() {
    this.#prompter.close();
    for (const watcher of this.#watchers) watcher.close();
  }
}

/** `dialect`: the kind of server. With `watch` the session is watched by others than who prompts. */
export function createConversation(dialect, tally, server) {
  const Dialect = DIALECTS[dialect];
  return server.watch === undefined ? new Dialect(tally, server) : new WatchedConversation(Dialect, tally, server);
}
