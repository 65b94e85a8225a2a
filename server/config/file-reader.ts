/** Reads the configuration file: JSON, then its schema. What has mistakes is left out, so that the rest is still checked. */
import type { z } from 'zod';
import { didYouMean } from './closest-name.js';
import type { Mistake } from './config-error.js';
import { type FileConfig, fileSchema } from './file-schema.js';
import { parseJson } from './json-text.js';
import { keysAt } from './reference.js';

export type RawFile = Readonly<Record<string, unknown>>;

export interface ReadFile {
  /** As written, `${env:…}` in headers resolved. */
  readonly raw: RawFile;
  /** What of it is well-formed, with defaults. */
  readonly parsed: FileConfig;
  readonly mistakes: readonly Mistake[];
}

export type Env = Readonly<Record<string, string | undefined>>;

export function readConfigFile(name: string, text: string, env: Env): ReadFile {
  const json = parseJson(text.replace(/^\uFEFF/, ''));
  if (!json.ok) {
    const place = `line ${json.line}, column ${json.column}`;
    return { ...NO_FILE, mistakes: [{ path: name, message: `is not JSON: ${place}: ${json.message}` }] };
  }
  if (!isRecord(json.value)) return { ...NO_FILE, mistakes: [{ path: name, message: 'must hold a JSON object' }] };
  const raw = structuredClone(json.value);
  const unresolved = resolveHeaders(raw, env);
  const result = fileSchema.safeParse(raw);
  if (result.success) return { raw, parsed: result.data, mistakes: unresolved };
  const { issues } = result.error;
  const pruned = fileSchema.safeParse(prune(raw, issues));
  return {
    raw,
    parsed: pruned.success ? pruned.data : NO_FILE.parsed,
    mistakes: [...issues.flatMap(toMistakes), ...unresolved],
  };
}

export const NO_FILE: ReadFile = { raw: {}, parsed: fileSchema.parse({}), mistakes: [] };

export const isRecord = (value: unknown): value is Record<string, unknown> =>
  typeof value === 'object' && value !== null && !Array.isArray(value);

/** Replaces `${env:NAME}` in the headers of tools, in place. */
function resolveHeaders(raw: RawFile, env: Env): Mistake[] {
  const mistakes: Mistake[] = [];
  const tools = Array.isArray(raw['tools']) ? raw['tools'] : [];
  tools.forEach((tool, index) => {
    const headers = isRecord(tool) && isRecord(tool['http']) ? tool['http']['headers'] : undefined;
    if (!isRecord(headers)) return;
    for (const [header, value] of Object.entries(headers)) {
      if (typeof value !== 'string') continue;
      headers[header] = value.replace(/\$\{env:([^}]*)\}/g, (_, variable: string) => {
        const found = env[variable];
        if (found) return found;
        const path = toPath(['tools', index, 'http', 'headers', header]);
        mistakes.push({ path, message: `the environment variable ${variable} is not set` });
        return '';
      });
    }
  });
  return mistakes;
}

/** A copy without what the issues name: an unknown key alone, else the whole entry that holds the mistake. */
function prune(raw: RawFile, issues: readonly z.core.$ZodIssue[]): unknown {
  const copy = structuredClone(raw) as Record<string, unknown>;
  const dropped = new Set<unknown>();
  for (const issue of issues) {
    if (issue.code === 'unrecognized_keys') {
      const holder = issue.path.reduce<unknown>((at, step) => (at as Record<PropertyKey, unknown>)?.[step], copy);
      if (isRecord(holder)) for (const key of issue.keys) delete holder[key];
      continue;
    }
    const [section = '', entry] = issue.path;
    const holder = copy[String(section)];
    if (Array.isArray(holder) && typeof entry === 'number') dropped.add(holder[entry]);
    else if (isRecord(holder) && entry !== undefined) delete holder[String(entry)];
    else delete copy[String(section)];
  }
  for (const [section, value] of Object.entries(copy)) {
    if (Array.isArray(value)) copy[section] = value.filter((item) => !dropped.has(item));
  }
  return copy;
}

/** The sentences of one issue of a schema; never the value, which may be a secret. */
export function toMistakes(issue: z.core.$ZodIssue): Mistake[] {
  const path = toPath(issue.path);
  if (issue.code === 'unrecognized_keys') {
    const known = keysAt(issue.path);
    return issue.keys.map((key) => ({
      path: toPath([...issue.path, key]),
      message: `there is no such key.${didYouMean(key, known)}`,
    }));
  }
  if (issue.code === 'invalid_union') {
    // What it was meant to be shows in its shape.
    const meant = issue.errors.filter(
      (errors) => !errors.some(({ path: at, code }) => at.length === 0 && code === 'invalid_type'),
    );
    const [only] = meant;
    if (only && meant.length === 1)
      return only.flatMap((each) => toMistakes({ ...each, path: [...issue.path, ...each.path] }));
  }
  if (issue.code === 'invalid_key') return [{ path, message: issue.issues[0]?.message ?? issue.message }];
  if (issue.code === 'invalid_type' && issue.message.endsWith('received undefined')) {
    return [{ path, message: 'is missing' }];
  }
  const message = issue.message.replace(/^Invalid (?:input|option|string): /, '');
  return [{ path, message: message.charAt(0).toLowerCase() + message.slice(1) }];
}

/** `agents.default.tools[1]`; keys that would be unclear in a path are quoted. */
export function toPath(steps: readonly PropertyKey[]): string {
  return steps.reduce<string>((path, step) => {
    if (typeof step === 'number') return `${path}[${step}]`;
    const key = String(step);
    if (!/^[\w-]+$/.test(key)) return `${path}[${JSON.stringify(key)}]`;
    return path === '' ? key : `${path}.${key}`;
  }, '');
}
