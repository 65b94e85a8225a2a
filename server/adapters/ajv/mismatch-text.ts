/** Says in words that a model can act on what does not fit a schema. */
import type { ErrorObject } from 'ajv';

const MOST = 5;
const MAX_VALUE_CHARS = 200;

/** Up to five problems with their places, as one sentence. */
export function toMismatchText(root: string, errors: readonly ErrorObject[]): string {
  const problems = [...new Set(errors.map((error) => `${toPlace(root, error.instancePath)} ${toProblem(error)}`))];
  const more = problems.length > MOST ? [`and ${problems.length - MOST} more`] : [];
  return [...problems.slice(0, MOST), ...more].join('; ');
}

/** `/filters/0/region` → `input.filters[0].region`. */
function toPlace(root: string, pointer: string): string {
  const steps = pointer.split('/').slice(1);
  return steps.reduce((path, raw) => {
    const step = raw.replaceAll('~1', '/').replaceAll('~0', '~');
    return /^\d+$/.test(step) ? `${path}[${step}]` : `${path}.${step}`;
  }, root);
}

function toProblem({ keyword, params, message = 'does not fit' }: ErrorObject): string {
  switch (keyword) {
    case 'additionalProperties':
      return `must not have the property ${quote(params['additionalProperty'])}`;
    case 'unevaluatedProperties':
      return `must not have the property ${quote(params['unevaluatedProperty'])}`;
    case 'enum':
      return `must be one of ${quote(params['allowedValues'])}`;
    case 'const':
      return `must be ${quote(params['allowedValue'])}`;
    default:
      return message;
  }
}

function quote(value: unknown): string {
  const text = JSON.stringify(value) ?? String(value);
  return text.length <= MAX_VALUE_CHARS ? text : `${text.slice(0, MAX_VALUE_CHARS)}…`;
}
