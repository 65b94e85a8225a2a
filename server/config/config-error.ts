/** What is wrong with a configuration: every mistake, each with its place. */

export interface Mistake {
  /** An environment variable, or a path in the file such as `agents.default.tools[1]`. */
  readonly path: string;
  readonly message: string;
}

export class ConfigError extends Error {
  override readonly name = 'ConfigError';

  constructor(readonly mistakes: readonly Mistake[]) {
    super(`The configuration has ${mistakes.length === 1 ? 'a mistake' : `${mistakes.length} mistakes`}.`);
  }
}

/** The text for the operator: one line for each mistake. */
export function describeMistakes(error: ConfigError): string {
  return [error.message, ...error.mistakes.map(({ path, message }) => `  ${path}: ${message}`)].join('\n');
}
