/** The commands of the program beside serving. */
import { createKey, KEYS_USAGE } from './create-key.js';
import type { Output } from './output.js';

/** `EX_USAGE` of sysexits. */
const EXIT_USAGE = 64;

const USAGE = `Usage:
  midstream                 starts the server
  ${KEYS_USAGE}
`;

/** Carries out the command and returns its exit code; undefined where there is none, and the server is to start. */
export function runCommand(args: readonly string[], output: Output): number | undefined {
  const [first, second, ...rest] = args;
  if (first === undefined) return undefined;
  if (first === '--help' || first === '-h' || first === 'help') {
    output.stdout(USAGE);
    return 0;
  }
  if (first === 'keys' && second === 'create') {
    try {
      createKey(rest, output);
      return 0;
    } catch (error) {
      output.stderr(`${(error as Error).message}\n${USAGE}`);
      return EXIT_USAGE;
    }
  }
  output.stderr(`There is no command "${args.join(' ')}".\n${USAGE}`);
  return EXIT_USAGE;
}
