/** What this node asked others and was not answered yet, and behind what each question comes. */
import type { Question } from './letters.js';

export interface OpenQuestion {
  readonly number: number;
  readonly nodeId: string;
  readonly body: unknown;
  readonly resolve: (answer: unknown) => void;
  readonly reject: (reason: unknown) => void;
  /** When it was posted last, and after how long it is posted again; milliseconds of the clock that never goes back. */
  postedAt: number;
  waitMs: number;
  /** How many times in a row it could not be posted again. */
  failures: number;
}

interface OfNode {
  readonly questions: Map<number, OpenQuestion>;
  /** What the next question comes behind; undefined where it must be looked for. */
  tail: number | undefined;
}

const FIRST_WAIT_MS = 2_000;
const MAX_WAIT_MS = 8_000;
/** So many to each node at a time: what comes behind them waits there for them. */
const MAX_AGAIN = 1_000;

export class OpenQuestions {
  readonly #from: string;
  readonly #nodes = new Map<string, OfNode>();
  readonly #numbered = new Map<number, OpenQuestion>();
  #last = 0;

  constructor(from: string) {
    this.#from = from;
  }

  /** The question, and the letter that is to be posted before another one is opened. */
  open({
    nodeId,
    ...question
  }: Pick<OpenQuestion, 'nodeId' | 'body' | 'resolve' | 'reject'>): [OpenQuestion, Question] {
    const number = ++this.#last;
    const times = { postedAt: performance.now(), waitMs: FIRST_WAIT_MS, failures: 0 };
    const opened = { ...question, ...times, number, nodeId };
    const ofNode = this.#nodes.get(nodeId) ?? { questions: new Map(), tail: 0 };
    const after = ofNode.tail ?? [...ofNode.questions.keys()].at(-1) ?? 0;
    ofNode.questions.set(number, opened);
    ofNode.tail = number;
    this.#nodes.set(nodeId, ofNode);
    this.#numbered.set(number, opened);
    return [opened, this.#toLetter(opened, after, firstOf(ofNode.questions))];
  }

  answer(number: number, body: unknown): void {
    const question = this.#numbered.get(number);
    if (!question) return;
    this.#remove(question);
    question.resolve(body);
  }

  /** What comes behind it must not wait for it: the other node may not have it. */
  withdraw(number: number, reason: unknown): void {
    const question = this.#numbered.get(number);
    if (!question) return;
    this.#remove(question);
    const ofNode = this.#nodes.get(question.nodeId);
    if (ofNode?.tail === number) ofNode.tail = undefined;
    question.reject(reason);
  }

  /** Those that were not answered in time, in their order, as they are to be posted now. */
  takeLate(): [OpenQuestion, Question][] {
    const now = performance.now();
    return this.#take(({ postedAt, waitMs }) => now - postedAt >= waitMs);
  }

  takeAll(): [OpenQuestion, Question][] {
    return this.#take(() => true);
  }

  #take(isDue: (question: OpenQuestion) => boolean): [OpenQuestion, Question][] {
    const due: [OpenQuestion, Question][] = [];
    for (const { questions } of this.#nodes.values()) {
      let after = 0;
      let seen = 0;
      const since = firstOf(questions);
      for (const question of questions.values()) {
        if (++seen > MAX_AGAIN) break;
        if (isDue(question)) {
          question.postedAt = performance.now();
          question.waitMs = Math.min(question.waitMs * 2, MAX_WAIT_MS);
          due.push([question, this.#toLetter(question, after, since)]);
        }
        after = question.number;
      }
    }
    return due;
  }

  #remove({ number, nodeId }: OpenQuestion): void {
    this.#numbered.delete(number);
    const questions = this.#nodes.get(nodeId)?.questions;
    questions?.delete(number);
    if (questions?.size === 0) this.#nodes.delete(nodeId);
  }

  #toLetter({ number, body }: OpenQuestion, after: number, since: number): Question {
    return { ask: number, from: this.#from, after, since, body };
  }
}

const firstOf = (numbers: ReadonlyMap<number, unknown>): number => numbers.keys().next().value ?? 0;
