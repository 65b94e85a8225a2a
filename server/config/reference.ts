/** All keys of the configuration as one table, derived from the schemas: for messages and for the generated reference. */
import { z } from 'zod';
import { envSchema } from './env-schema.js';
import { fileSchema } from './file-schema.js';

export interface ConfigKey {
  readonly source: 'env' | 'file';
  /** The variable, or the path in the file: `agents.<name>.max_tokens`, `tools[].name`. */
  readonly key: string;
  /** As JSON; undefined where there is none. */
  readonly default: string | undefined;
  /** `1–65535`, `dev | required`, `text` … */
  readonly bound: string;
  readonly sentence: string;
}

interface Node {
  readonly type?: string;
  readonly description?: string;
  readonly default?: unknown;
  readonly enum?: readonly unknown[];
  readonly const?: unknown;
  readonly minimum?: number;
  readonly maximum?: number;
  readonly exclusiveMinimum?: number;
  readonly maxLength?: number;
  readonly maxItems?: number;
  readonly properties?: Readonly<Record<string, Node>>;
  readonly additionalProperties?: Node | boolean;
  readonly items?: Node;
  readonly anyOf?: readonly Node[];
}

const file = z.toJSONSchema(fileSchema, { io: 'input', unrepresentable: 'any' }) as Node;
const env = z.toJSONSchema(envSchema, { io: 'output', unrepresentable: 'any' }) as Node;

export function configReference(): readonly ConfigKey[] {
  return [...toRows('env', env, ''), ...toRows('file', file, '')];
}

/** The keys that the file may have at this place; empty where it may have any. */
export function keysAt(path: readonly PropertyKey[]): readonly string[] {
  let node: Node | undefined = file;
  for (const step of path) {
    const all: readonly Node[] = node ? shapesOf(node) : [];
    node = all
      .map((shape) => (typeof step === 'number' ? shape.items : (shape.properties?.[String(step)] ?? openChild(shape))))
      .find((child) => child !== undefined);
  }
  return Object.keys((node && shapesOf(node).find(({ properties }) => properties)?.properties) ?? {});
}

/** What a node may be; a key of which some say nothing is looked for in the others. */
const shapesOf = (node: Node): readonly Node[] => node.anyOf ?? [node];

export const ENV_NAMES: readonly string[] = Object.keys(envSchema.shape);

function toRows(source: 'env' | 'file', node: Node, path: string): ConfigKey[] {
  return children(node, path).flatMap(([key, child]) => {
    const row: ConfigKey = {
      source,
      key,
      default: child.default === undefined ? undefined : JSON.stringify(child.default),
      bound: toBound(child),
      sentence: child.description ?? '',
    };
    const below = toRows(source, child, key);
    // An entry of a list or of a record of plain values says nothing beyond its parent.
    return [...(row.sentence === '' ? [] : [row]), ...below];
  });
}

function children({ anyOf, ...own }: Node, path: string): [string, Node][] {
  const node = anyOf?.find(({ properties }) => properties) ?? own;
  const dot = path === '' ? '' : `${path}.`;
  const named = Object.entries(node.properties ?? {}).map(([key, child]): [string, Node] => [`${dot}${key}`, child]);
  const open = openChild(node);
  if (open && named.length === 0) named.push([`${dot}<name>`, open]);
  if (node.items) named.push([`${path}[]`, node.items]);
  return named;
}

const openChild = (node: Node | undefined): Node | undefined =>
  typeof node?.additionalProperties === 'object' ? node.additionalProperties : undefined;

function toBound(node: Node): string {
  if (node.enum) return node.enum.join(' | ');
  if (node.anyOf) return [...new Set(node.anyOf.map(toBound))].join(' or ');
  if (node.type === 'integer' || node.type === 'number') {
    const min = node.minimum ?? `more than ${node.exclusiveMinimum}`;
    return `${min}–${node.maximum}`;
  }
  if (node.type === 'string')
    return node.maxLength === undefined ? 'text' : `text, at most ${node.maxLength} characters`;
  if (node.type === 'array') return node.maxItems === undefined ? 'list' : `list, at most ${node.maxItems}`;
  return node.type ?? 'text';
}
