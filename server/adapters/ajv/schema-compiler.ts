/** Compiles one JSON Schema, draft 2020-12 or 7, that may come from a stranger. */
import { Ajv, type Options, type ValidateFunction } from 'ajv';
import { Ajv2020 } from 'ajv/dist/2020.js';
import formats from 'ajv-formats';
import { toMismatchText } from './mismatch-text.js';

export const MAX_SCHEMA_CHARS = 65_536;
const MAX_DEPTH = 64;

export type Schema = Readonly<Record<string, unknown>>;
export type Compiled = { readonly validate: ValidateFunction } | { readonly reason: string };
export type CompileSchema = (schema: Schema, text: string) => Compiled;

type Draft = 'draft-07' | '2020-12';
const OPTIONS: Options = { strict: false, logger: false, allErrors: true, ownProperties: true, inlineRefs: false };

export function createSchemaCompiler(): CompileSchema {
  // These only check schemas against their meta-schema. What is compiled gets an instance of its own: in a shared one the
  // $ids of one stranger's schema would be visible to another's.
  const metas = { '2020-12': new Ajv2020(OPTIONS), 'draft-07': new Ajv(OPTIONS) };

  const compileAs = (draft: Draft, schema: Schema): Compiled => {
    const meta = metas[draft];
    if (meta.validateSchema(schema) !== true) {
      return { reason: `is not a JSON Schema: ${toMismatchText('schema', meta.errors ?? [])}` };
    }
    const options = { ...OPTIONS, meta: false, validateSchema: false };
    const ajv = draft === '2020-12' ? new Ajv2020(options) : new Ajv(options);
    formats.default(ajv);
    try {
      return { validate: ajv.compile(schema) };
    } catch (error) {
      return { reason: toReason(error) };
    }
  };

  return (schema, text) => {
    if (text.length > MAX_SCHEMA_CHARS) return { reason: `must have at most ${MAX_SCHEMA_CHARS} characters as JSON` };
    if (depthOf(text) > MAX_DEPTH) return { reason: `must be nested at most ${MAX_DEPTH} levels deep` };
    // Nobody refers to it from outside, and its own references are relative to it in any case.
    const { $schema, $id: _, ...rest } = schema;
    if (isOldDraft($schema)) return compileAs('draft-07', rest);
    const result = compileAs('2020-12', rest);
    // Without $schema, what only draft 7 knows (a list of `items`) is taken for draft 7.
    if ('validate' in result || $schema !== undefined) return result;
    const older = compileAs('draft-07', rest);
    return 'validate' in older ? older : result;
  };
}

const isOldDraft = ($schema: unknown): boolean =>
  typeof $schema === 'string' && /json-schema\.org\/(draft-0[3-7]\/)?schema\b/.test($schema);

function toReason(error: unknown): string {
  const missing = (error as { missingRef?: unknown }).missingRef;
  if (typeof missing === 'string') return `refers to "${missing}", which is not in it; nothing is fetched`;
  const message = error instanceof Error ? error.message : String(error);
  return `can't be used: ${message.slice(0, 300)}`;
}

/** Levels of brackets outside of strings. */
function depthOf(json: string): number {
  let depth = 0;
  let deepest = 0;
  for (const [token] of json.matchAll(/"(?:[^"\\]|\\.)*"|[[\]{}]/g)) {
    if (token === '{' || token === '[') deepest = Math.max(deepest, ++depth);
    else if (token === '}' || token === ']') depth--;
  }
  return deepest;
}
