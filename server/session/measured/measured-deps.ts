/** What measuring needs beside a port. */

/** Milliseconds since any moment; never goes back. */
export type Stopwatch = () => number;

/** One line of `/ready`. */
export interface Check {
  readonly ok: boolean;
  /** What it is, or what is wrong. */
  readonly detail: string;
}
