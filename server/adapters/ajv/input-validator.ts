/** Checks the input of tool calls against JSON Schemas, by ajv; also those that clients bring along. */
import type { InputValidator } from '../../ports/tool-runner.js';
import { toMismatchText } from './mismatch-text.js';
import { type Compiled, createSchemaCompiler, type Schema } from './schema-compiler.js';
import { createTimeBound, OutOfTime, type RunBounded } from './time-bound.js';

/** Schemas kept compiled; the least recently used one goes first. */
const MAX_KEPT = 500;
const COMPILE_MS = 2_000;
/** The event loop stands still meanwhile. */
const CHECK_MS = 250;

interface Late {
  readonly reason: string;
  readonly isOutOfTime: true;
}

export function createInputValidator(runBounded: RunBounded = createTimeBound()): InputValidator {
  const compile = createSchemaCompiler();
  const byObject = new WeakMap<Schema, Compiled>();
  const byText = new Map<string, Compiled>();

  const compiled = (schema: Schema): Compiled => {
    const known = byObject.get(schema);
    if (known) return known;
    const text = toText(schema);
    if (text === undefined) return { reason: 'must be JSON' };
    const result = byText.get(text) ?? compileBounded(schema, text);
    // Another time it may be in time.
    if ('isOutOfTime' in result) return result;
    byText.delete(text);
    byText.set(text, result);
    if (byText.size > MAX_KEPT) byText.delete(byText.keys().next().value as string);
    byObject.set(schema, result);
    return result;
  };

  const compileBounded = (schema: Schema, text: string): Compiled | Late => {
    try {
      return runBounded(COMPILE_MS, () => compile(schema, text));
    } catch (error) {
      const reason = `can't be used: ${toReason(error)}`;
      return error instanceof OutOfTime ? { reason, isOutOfTime: true } : { reason };
    }
  };

  return {
    refuse(schema) {
      const result = compiled(schema);
      return 'reason' in result ? result.reason : undefined;
    },
    check(schema, input) {
      const result = compiled(schema);
      if ('reason' in result) return `the tool's schema ${result.reason}`;
      const { validate } = result;
      try {
        if (runBounded(CHECK_MS, () => validate(input)) === true) return undefined;
        return toMismatchText('input', validate.errors ?? []);
      } catch (error) {
        // What can't be checked does not fit: a gate that fails must not open.
        return `the input could not be checked against the tool's schema: ${toReason(error)}`;
      } finally {
        validate.errors = null;
      }
    },
  };
}

function toText(schema: Schema): string | undefined {
  try {
    return JSON.stringify(schema);
  } catch {
    return undefined;
  }
}

function toReason(error: unknown): string {
  if (error instanceof OutOfTime) return error.message;
  // A schema that refers to itself without an end; from another realm, so that `instanceof` doesn't tell.
  return (error as Error)?.name === 'RangeError' ? 'it refers to itself without an end' : 'it failed';
}
