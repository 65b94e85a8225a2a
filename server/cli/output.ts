/** Where a command writes: results to `stdout`, so that they can be piped, and words about them to `stderr`. */
export interface Output {
  readonly stdout: (text: string) => void;
  readonly stderr: (text: string) => void;
}
