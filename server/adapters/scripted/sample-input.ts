/** Makes an input that fits a tool's JSON Schema, in the usual simple cases. */

type Schema = Readonly<Record<string, unknown>>;

const MAX_DEPTH = 8;
const FORMATS: Readonly<Record<string, string>> = {
  date: '2026-01-15',
  time: '09:30:00Z',
  'date-time': '2026-01-15T09:30:00Z',
  email: 'ada@example.com',
  uri: 'https://example.com/',
  uuid: '0198c1f2-7d3a-7c52-9c1e-2f5f0a1b2c3d',
};

/** `text` stands in for strings that the schema leaves free. */
export function sampleInput(schema: Schema, text: string): Record<string, unknown> {
  const value = sample(schema, { root: schema, text, depth: 0 });
  return isSchema(value) ? { ...value } : {};
}

interface Context {
  readonly root: Schema;
  readonly text: string;
  readonly depth: number;
}

function sample(given: unknown, context: Context): unknown {
  if (!isSchema(given) || context.depth > MAX_DEPTH) return context.text;
  const schema = resolve(given, context.root);
  if ('const' in schema) return schema['const'];
  if ('default' in schema) return schema['default'];
  for (const key of ['examples', 'enum']) {
    const [first] = toList(schema[key]);
    if (first !== undefined) return first;
  }
  const deeper = { ...context, depth: context.depth + 1 };
  const [choice] = [...toList(schema['anyOf']), ...toList(schema['oneOf'])];
  if (choice !== undefined) return sample({ ...without(schema), ...(isSchema(choice) ? choice : {}) }, deeper);
  return sampleOfType(typeOf(schema), schema, deeper);
}

function sampleOfType(type: unknown, schema: Schema, context: Context): unknown {
  switch (type) {
    case 'object':
      return sampleObject(schema, context);
    case 'array':
      return Array.from({ length: Math.max(1, toNumber(schema['minItems'], 1)) }, () =>
        sample(schema['items'], context),
      );
    case 'integer':
    case 'number':
      return sampleNumber(schema);
    case 'boolean':
      return true;
    case 'null':
      return null;
    default:
      return sampleString(schema, context.text);
  }
}

/** The required properties; all of them where none is required. */
function sampleObject(schema: Schema, context: Context): Record<string, unknown> {
  const parts = [
    schema,
    ...toList(schema['allOf']).flatMap((part) => (isSchema(part) ? [resolve(part, context.root)] : [])),
  ];
  const properties = Object.assign({}, ...parts.map((part) => part['properties'])) as Record<string, unknown>;
  const required = parts.flatMap((part) => toList(part['required'])).map(String);
  const names = required.length > 0 ? [...new Set(required)] : Object.keys(properties);
  return Object.fromEntries(names.map((name) => [name, sample(properties[name], context)]));
}

function sampleNumber(schema: Schema): number {
  const above = schema['exclusiveMinimum'];
  const low = typeof above === 'number' ? above + 1 : toNumber(schema['minimum'], 1);
  const high = toNumber(schema['maximum'], Number.POSITIVE_INFINITY);
  const step = toNumber(schema['multipleOf'], 0);
  return step > 0 ? Math.ceil(low / step) * step : Math.min(low, high);
}

function sampleString(schema: Schema, text: string): string {
  const format = FORMATS[String(schema['format'])];
  if (format !== undefined) return format;
  const filled = text.padEnd(toNumber(schema['minLength'], 0), '.');
  return filled.slice(0, toNumber(schema['maxLength'], 200));
}

function typeOf(schema: Schema): unknown {
  const type = Array.isArray(schema['type']) ? schema['type'].find((t) => t !== 'null') : schema['type'];
  if (type !== undefined) return type;
  if (schema['properties'] || schema['required'] || schema['allOf']) return 'object';
  return schema['items'] ? 'array' : 'string';
}

/** Follows `#/…` references; another kind, or one that leads nowhere, is taken for a free value. */
function resolve(schema: Schema, root: Schema): Schema {
  let found = schema;
  for (let hops = 0; typeof found['$ref'] === 'string' && hops < MAX_DEPTH; hops++) {
    const steps = found['$ref']
      .replace(/^#\/?/, '')
      .split('/')
      .filter((step) => step !== '');
    const target = steps.reduce<unknown>((at, step) => (isSchema(at) ? at[step] : undefined), root);
    found = isSchema(target) ? target : {};
  }
  return found;
}

const without = ({ anyOf: _, oneOf: __, ...rest }: Schema): Schema => rest;
const isSchema = (value: unknown): value is Schema =>
  typeof value === 'object' && value !== null && !Array.isArray(value);
const toList = (value: unknown): readonly unknown[] => (Array.isArray(value) ? value : []);
const toNumber = (value: unknown, otherwise: number): number => (typeof value === 'number' ? value : otherwise);
