/** Turns what a schema found into one sentence: where it is, what is wrong, and what would be right. */
import type { z } from 'zod';
import { MidstreamError } from './errors.js';

type Issue = z.core.$ZodIssue;

function toPath(path: readonly PropertyKey[]): string {
  let text = '';
  for (const part of path) {
    if (typeof part === 'number') text += `[${part}]`;
    else text += text === '' ? String(part) : `.${String(part)}`;
  }
  return text.slice(0, 200);
}

const depthOf = (issues: readonly Issue[]): number => Math.max(0, ...issues.map((issue) => issue.path.length));

/** The branch of a union that the writer most likely meant: the one that got furthest. */
function likeliest(branches: readonly (readonly Issue[])[]): Issue | undefined {
  let best: readonly Issue[] | undefined;
  for (const branch of branches) {
    if (best === undefined || depthOf(branch) > depthOf(best)) best = branch;
    else if (depthOf(branch) === depthOf(best) && best[0]?.code === 'invalid_type') best = branch;
  }
  return best?.[0];
}

function describe(issue: Issue, prefix: readonly PropertyKey[]): { path: readonly PropertyKey[]; text: string } {
  const path = [...prefix, ...issue.path];
  if (issue.code === 'invalid_union') {
    const inner = likeliest(issue.errors as Issue[][]);
    if (inner !== undefined && (inner.path.length > 0 || inner.code !== 'invalid_type')) return describe(inner, path);
    const expected = (issue.errors as Issue[][])
      .map((branch) => branch[0])
      .flatMap((first) => (first?.code === 'invalid_type' ? [first.expected] : []));
    if (expected.length > 0) return { path, text: `must be ${[...new Set(expected)].join(' or ')}` };
    const { options } = issue as { options?: unknown };
    if (Array.isArray(options)) return { path, text: `must be one of ${options.join(', ')}` };
  }
  if (issue.code === 'unrecognized_keys') {
    const [first = ''] = issue.keys;
    return { path: [...path, first.slice(0, 100)], text: 'is not known here; leave it out, or check its spelling' };
  }
  return { path, text: issue.message };
}

/** The first mistake, as a sentence that names its path. */
export function toSentence(error: z.ZodError): string {
  const [issue] = error.issues;
  if (issue === undefined) return 'The request is not valid.';
  const { path, text } = describe(issue, []);
  const at = toPath(path);
  return at === '' ? text : `${at}: ${text}`;
}

/** What `schema` makes of `value`; refuses with `invalid_request` and a sentence. */
export function parseBy<S extends z.ZodType>(schema: S, value: unknown): z.infer<S> {
  const parsed = schema.safeParse(value);
  if (!parsed.success) throw new MidstreamError('invalid_request', toSentence(parsed.error));
  return parsed.data;
}
