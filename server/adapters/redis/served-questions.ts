/**
 * What other nodes ask, each question served once and in the order of its node (CMD-5), however often and in whatever
 * order its letters come. An answer is kept until the node that asked has it.
 */
import type { Letter, Question } from './letters.js';

type Handler = (request: unknown, from: string) => Promise<unknown>;

export interface ServedQuestionsDeps {
  readonly handler: Handler;
  /** Must not reject: a question that got no answer comes again. */
  readonly post: (nodeId: string, letter: Letter) => void;
}

interface Kept {
  /** Undefined while it is being served. */
  answer: { readonly body: unknown; readonly at: number } | undefined;
}

interface Asker {
  /** The number of the last question that was served. */
  last: number;
  /** What was served, by its number. */
  readonly kept: Map<number, Kept>;
  /** What came before the question that it comes behind, by the number of that one. */
  readonly held: Map<number, Question>;
  highestHeld: number;
}

/** Longer than any node goes on to ask without saying so, in milliseconds. */
const KEEP_MS = 60_000;
const SWEEP_MS = 10_000;
/** Of one node. */
const MAX_KEPT = 10_000;
const MAX_HELD = 10_000;
const MAX_ASKERS = 1_000;

export class ServedQuestions {
  readonly #deps: ServedQuestionsDeps;
  /** The one that was heard of last comes last. */
  readonly #askers = new Map<string, Asker>();
  readonly #sweep: NodeJS.Timeout;

  constructor(deps: ServedQuestionsDeps) {
    this.#deps = deps;
    this.#sweep = setInterval(() => this.#forgetOld(), SWEEP_MS).unref();
  }

  close(): void {
    clearInterval(this.#sweep);
  }

  take(question: Question): void {
    const asker = this.#meet(question.from);
    forgetBelow(asker.kept, question.since);
    if (question.ask <= asker.last) this.#tellAgain(asker, question);
    else if (question.after > asker.last) hold(asker, question);
    else this.#serveFrom(asker, question);
  }

  #meet(nodeId: string): Asker {
    const asker = this.#askers.get(nodeId) ?? { last: 0, kept: new Map(), held: new Map(), highestHeld: 0 };
    this.#askers.delete(nodeId);
    this.#askers.set(nodeId, asker);
    if (this.#askers.size > MAX_ASKERS) this.#askers.delete(firstOf(this.#askers) as string);
    return asker;
  }

  #tellAgain({ kept }: Asker, { ask, from }: Question): void {
    const known = kept.get(ask);
    if (!known) this.#deps.post(from, { forgotten: ask });
    else if (known.answer) this.#deps.post(from, { answer: ask, body: known.answer.body });
  }

  /** Serves it, and what waited for it. */
  #serveFrom(asker: Asker, first: Question): void {
    let next: Question | undefined = first;
    while (next) {
      if (next.ask > asker.last) this.#serve(asker, next);
      next = asker.held.get(next.ask);
      if (next) asker.held.delete(next.after);
    }
    if (asker.last >= asker.highestHeld) asker.held.clear();
  }

  #serve(asker: Asker, { ask, from, body }: Question): void {
    const { handler, post } = this.#deps;
    const kept: Kept = { answer: undefined };
    asker.last = ask;
    asker.kept.set(ask, kept);
    if (asker.kept.size > MAX_KEPT) asker.kept.delete(firstOf(asker.kept) as number);
    void handler(body, from).then((answer) => {
      kept.answer = { body: answer ?? null, at: performance.now() };
      post(from, { answer: ask, body: kept.answer.body });
    });
  }

  #forgetOld(): void {
    const before = performance.now() - KEEP_MS;
    for (const { kept } of this.#askers.values())
      for (const [ask, { answer }] of kept) if (answer && answer.at < before) kept.delete(ask);
  }
}

function hold(asker: Asker, question: Question): void {
  if (asker.held.size >= MAX_HELD) return;
  asker.held.set(question.after, question);
  asker.highestHeld = Math.max(asker.highestHeld, question.ask);
}

function forgetBelow(kept: Map<number, Kept>, since: number): void {
  for (const ask of kept.keys()) {
    if (ask >= since) return;
    kept.delete(ask);
  }
}

const firstOf = <K>(of: ReadonlyMap<K, unknown>): K | undefined => of.keys().next().value;
