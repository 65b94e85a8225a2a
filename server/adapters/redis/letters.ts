/** What nodes send to each other's inboxes. */

/** Numbers grow with each question of a node, whomever it asks. */
export interface Question {
  readonly ask: number;
  readonly from: string;
  /** The question to the same node that this one comes behind: the last before it that was not answered; 0 where there is none. */
  readonly after: number;
  /** The first question to the same node that was not answered: what was answered to those before it may be forgotten. */
  readonly since: number;
  readonly body: unknown;
}

export type Letter =
  | Question
  | { readonly answer: number; readonly body: unknown }
  /** The question was answered, or withdrawn, so long ago that nobody knows. */
  | { readonly forgotten: number };
