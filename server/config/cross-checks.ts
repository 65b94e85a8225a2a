/** What no single key can know: whether names that refer to each other exist, and whether pairs of limits fit. */
import { matches, matchesAny } from '../core/patterns.js';
import { didYouMean } from './closest-name.js';
import type { Mistake } from './config-error.js';
import type { Environment } from './env-schema.js';
import { isRecord, type ReadFile, toPath } from './file-reader.js';
import type { FileConfig } from './file-schema.js';

/** Says why a JSON Schema can't be used; undefined where it can. */
export type RefuseSchema = (schema: Readonly<Record<string, unknown>>) => string | undefined;

export interface CrossCheck {
  readonly env: Pick<Environment, 'MIDSTREAM_MODEL'>;
  readonly file: ReadFile;
  readonly mode: 'dev' | 'required';
  /** Names of tools that the program itself brings. */
  readonly ownTools: readonly string[];
  readonly refuseSchema: RefuseSchema | undefined;
}

export function crossCheck(input: CrossCheck): Mistake[] {
  return [
    ...checkTools(input),
    ...checkNames(input),
    ...checkModels(input),
    ...checkRoles(input),
    ...checkPairs(input),
  ];
}

/** On the file as written, so that the place of a tool in the list is right whatever is wrong beside it. */
function checkTools({ file, ownTools, refuseSchema }: CrossCheck): Mistake[] {
  const mistakes: Mistake[] = [];
  const seen = new Set(ownTools);
  rawTools(file).forEach((tool, index) => {
    if (!isRecord(tool)) return;
    const { name, input_schema: schema } = tool;
    if (typeof name === 'string') {
      if (seen.has(name))
        mistakes.push({ path: toPath(['tools', index, 'name']), message: `"${name}" is there twice` });
      seen.add(name);
    }
    const reason = isRecord(schema) && schema['type'] === 'object' ? refuseSchema?.(schema) : undefined;
    if (reason) mistakes.push({ path: toPath(['tools', index, 'input_schema']), message: reason });
  });
  for (const [role, { tools }] of Object.entries(file.parsed.roles ?? {})) {
    for (const [tool, schema] of Object.entries(tools.input)) {
      const reason = refuseSchema?.(schema);
      if (reason) mistakes.push({ path: toPath(['roles', role, 'tools', 'input', tool]), message: reason });
    }
  }
  return mistakes;
}

/** Every name or pattern of a tool must be able to match one; a typo would silently grant or deny nothing. */
function checkNames({ file, mode, ownTools }: CrossCheck): Mistake[] {
  const { raw, parsed } = file;
  const isBroken = (raw['tools'] !== undefined && !Array.isArray(raw['tools'])) || hasMistakeIn(file, 'client_tools');
  if (isBroken || (parsed.client_tools === undefined && mode === 'dev')) return [];
  const names = [
    ...ownTools,
    ...rawTools(file).flatMap((t) => (isRecord(t) && typeof t['name'] === 'string' ? [t['name']] : [])),
  ];
  const clientPatterns = parsed.client_tools ?? [];
  const isUseful = (pattern: string): boolean =>
    pattern === '*' || names.some((name) => matches(pattern, name)) || clientPatterns.some((p) => overlaps(pattern, p));
  return toolReferences(parsed)
    .filter(({ pattern }) => !isUseful(pattern))
    .map(({ path, pattern }) => ({
      path: toPath(path),
      message: `"${pattern}" matches no tool and no pattern of client_tools.${didYouMean(pattern, [...names, ...clientPatterns])}`,
    }));
}

function toolReferences({ agents, roles = {} }: FileConfig): { path: PropertyKey[]; pattern: string }[] {
  const list = (path: PropertyKey[], patterns: readonly string[]) =>
    patterns.map((pattern, index) => ({ path: [...path, index], pattern }));
  return [
    ...Object.entries(agents).flatMap(([name, agent]) => list(['agents', name, 'tools'], agent.tools)),
    ...Object.entries(roles).flatMap(([name, { tools, approve }]) => [
      ...list(['roles', name, 'tools', 'allow'], tools.allow),
      ...list(['roles', name, 'tools', 'ask'], tools.ask),
      ...list(['roles', name, 'tools', 'deny'], tools.deny),
      ...list(['roles', name, 'approve'], approve),
      ...Object.keys(tools.input).map((tool) => ({ path: ['roles', name, 'tools', 'input', tool], pattern: tool })),
    ]),
  ];
}

function checkModels({ env, file }: CrossCheck): Mistake[] {
  const { roles, agents } = file.parsed;
  if (!roles || hasMistakeIn(file, 'roles')) return [];
  const allowed = Object.values(roles).flatMap((role) => role.models);
  const used = Object.entries(agents).map(([name, agent]) => ({
    path: toPath(['agents', name, 'model']),
    model: agent.model ?? env.MIDSTREAM_MODEL,
  }));
  if (!hasKey(file, 'agents', 'default')) used.push({ path: 'MIDSTREAM_MODEL', model: env.MIDSTREAM_MODEL });
  return used
    .filter(({ model }) => !matchesAny(allowed, model))
    .map(({ path, model }) => ({ path, message: `no role may use "${model}"; name it in the models of a role` }));
}

/** In `dev` everybody has the role `admin`: where roles are given without it, nothing at all would be allowed. */
function checkRoles({ file, mode }: CrossCheck): Mistake[] {
  if (mode !== 'dev' || !isRecord(file.raw['roles']) || hasKey(file, 'roles', 'admin')) return [];
  return [
    { path: 'roles', message: 'has no "admin", which is the role of everybody in dev; nothing would be allowed' },
  ];
}

function checkPairs({ file }: CrossCheck): Mistake[] {
  const { limits, retention } = file.parsed;
  const mistakes: Mistake[] = [];
  if (limits.frame_bytes > limits.frame_bytes_with_images) {
    mistakes.push({
      path: 'limits.frame_bytes',
      message: `must be at most limits.frame_bytes_with_images (${limits.frame_bytes_with_images})`,
    });
  }
  const { session_days: sessions, event_days: events } = retention;
  if (sessions !== undefined && events !== undefined && events > sessions) {
    mistakes.push({ path: 'retention.event_days', message: `must be at most retention.session_days (${sessions})` });
  }
  return mistakes;
}

const rawTools = ({ raw }: ReadFile): readonly unknown[] => (Array.isArray(raw['tools']) ? raw['tools'] : []);

const hasKey = ({ raw }: ReadFile, section: string, key: string): boolean =>
  isRecord(raw[section]) && Object.hasOwn(raw[section], key);

const hasMistakeIn = ({ mistakes }: ReadFile, section: string): boolean =>
  mistakes.some(({ path }) => path === section || path.startsWith(`${section}.`) || path.startsWith(`${section}[`));

/** Whether some name matches both patterns. */
export function overlaps(a: string, b: string): boolean {
  // below[j]: whether the rest of `a` after this character and the rest of `b` from j on have a name in common.
  let below: boolean[] = [];
  for (let i = a.length; i >= 0; i--) {
    const row: boolean[] = [];
    for (let j = b.length; j >= 0; j--) {
      const [x, y] = [a[i], b[j]];
      if (x === undefined && y === undefined) row[j] = true;
      else if (x === '*') row[j] = below[j] === true || row[j + 1] === true;
      else if (y === '*') row[j] = row[j + 1] === true || below[j] === true;
      else row[j] = x === y && below[j + 1] === true;
    }
    below = row;
  }
  return below[0] === true;
}
