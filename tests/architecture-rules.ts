/** The rules of the house (docs/ARCHITECTURE.md), as code: who may import whom, and what no file may hold. */
import { posix } from 'node:path';
import ts from 'typescript';

/** Path from the repository's root → source. */
export type Sources = ReadonlyMap<string, string>;

interface Room {
  /** Files of the room begin with this; of several rooms the longest counts. */
  readonly at: string;
  /** What may be imported, by the beginning of its path. A room may import itself. */
  readonly from: readonly string[];
  /** What may be imported as a type only. */
  readonly typesFrom?: readonly string[];
  readonly packages?: readonly string[];
  /** Whether Node's own modules may be imported. */
  readonly node: 'any' | 'none' | readonly string[];
}

const SERVER = ['protocol/', 'server/'];

/** The files of the protocol that load nothing, so that a browser may load them. */
export const ZOD_FREE = ['errors', 'paths', 'limits', 'close-codes', 'cursor'].map((name) => `protocol/${name}.ts`);

const adapter = (name: string, ...packages: string[]): Room => ({
  at: `server/adapters/${name}/`,
  from: ['server/adapters/tool-answer.ts', 'server/ports/', 'server/core/', 'protocol/'],
  packages,
  node: 'any',
});

const transport = (name: string, packages: readonly string[] = [], from: readonly string[] = []): Room => ({
  at: `server/transports/${name}`,
  from: ['protocol/', 'server/session/session-api.ts', ...(name === '' ? [] : SHARED_BY_TRANSPORTS), ...from],
  typesFrom: ['server/ports/'],
  packages,
  node: 'any',
});

/** Files right in `server/transports/`, which belong to no wire. */
const SHARED_BY_TRANSPORTS = ['server/transports/*.ts'];

export const ROOMS: readonly Room[] = [
  { at: 'protocol/', from: [], packages: ['zod'], node: 'none' },
  { at: 'server/core/', from: ['protocol/'], node: 'none' },
  { at: 'server/ports/', from: ['protocol/'], typesFrom: ['server/core/'], node: 'none' },
  { at: 'server/session/', from: ['protocol/', 'server/core/', 'server/ports/'], node: ['node:crypto'] },
  { at: 'server/config/', from: ['protocol/', 'server/core/patterns.ts'], packages: ['zod'], node: ['node:net'] },
  { at: 'server/adapters/', from: ['server/ports/', 'server/core/', 'protocol/'], node: 'any' },
  adapter('ajv', 'ajv', 'ajv-formats'),
  adapter('anthropic', '@anthropic-ai/sdk', 'undici'),
  adapter('api-keys'),
  adapter('dev'),
  adapter('embedded', 'libsql'),
  adapter('function-tools'),
  adapter('http-tools', 'undici'),
  adapter('jose', 'jose'),
  adapter('prometheus', 'prom-client'),
  adapter('redis', 'ioredis'),
  adapter('scripted', 'zod'),
  adapter('system'),
  adapter('winston', 'winston'),
  transport(''),
  // SSE is answered on routes of HTTP.
  transport('http/', ['express'], ['server/transports/sse/index.ts']),
  transport('sse/', ['express']),
  transport('ws/', ['ws']),
  {
    at: 'server/policy-reload.ts',
    from: ['server/config/'],
    typesFrom: ['server/ports/'],
    node: 'none',
  },
  { at: 'server/app.ts', from: SERVER, node: 'any' },
  {
    at: 'server/compose/',
    from: ['server/adapters/', 'server/config/', 'server/core/', 'server/ports/'],
    typesFrom: ['server/session/'],
    node: 'none',
  },
  { at: 'server/index.ts', from: SERVER, node: 'any' },
  { at: 'server/testing.ts', from: SERVER, node: 'any' },
  { at: 'server/cli/', from: ['server/adapters/'], node: 'any' },
  {
    at: 'server/main.ts',
    from: ['server/app.ts', 'server/cli/index.ts', 'server/config/', 'server/adapters/'],
    node: 'any',
  },
  { at: 'client-sdk/', from: ZOD_FREE, typesFrom: ['protocol/'], node: 'none' },
];

const MAX_LINES = 400;

/** Everything that breaks a rule, one line each: `path: what`. */
export function findViolations(sources: Sources): string[] {
  const files = [...sources].map(([path, text]) => readFile(path, text));
  return [...files.flatMap((file) => checkFile(file, sources)), ...findCycles(files, sources)];
}

interface Import {
  readonly specifier: string;
  readonly isType: boolean;
}

interface SourceFile {
  readonly path: string;
  readonly lines: number;
  readonly imports: readonly Import[];
  readonly ast: ts.SourceFile;
}

function readFile(path: string, text: string): SourceFile {
  const ast = ts.createSourceFile(path, text, ts.ScriptTarget.ES2022, true);
  const imports: Import[] = [];
  visit(ast, (node) => {
    const found = toImport(node);
    if (found) imports.push(found);
  });
  return { path, lines: text.split('\n').length - 1, imports, ast };
}

/** Static, dynamic and `typeof import(…)` imports, and re-exports. */
function toImport(node: ts.Node): Import | undefined {
  if (ts.isImportDeclaration(node) && ts.isStringLiteral(node.moduleSpecifier)) {
    return { specifier: node.moduleSpecifier.text, isType: isTypeClause(node.importClause) };
  }
  if (ts.isExportDeclaration(node) && node.moduleSpecifier && ts.isStringLiteral(node.moduleSpecifier)) {
    const named = node.exportClause && ts.isNamedExports(node.exportClause) ? node.exportClause.elements : undefined;
    const isType = node.isTypeOnly || (named !== undefined && named.length > 0 && named.every((e) => e.isTypeOnly));
    return { specifier: node.moduleSpecifier.text, isType };
  }
  if (ts.isImportTypeNode(node) && ts.isLiteralTypeNode(node.argument) && ts.isStringLiteral(node.argument.literal)) {
    return { specifier: node.argument.literal.text, isType: true };
  }
  const isCall =
    ts.isCallExpression(node) &&
    (node.expression.kind === ts.SyntaxKind.ImportKeyword || node.expression.getText() === 'require');
  const [argument] = isCall ? node.arguments : [];
  return argument && ts.isStringLiteralLike(argument) ? { specifier: argument.text, isType: false } : undefined;
}

function isTypeClause(clause: ts.ImportClause | undefined): boolean {
  if (!clause) return false;
  if (clause.isTypeOnly) return true;
  const named = clause.namedBindings && ts.isNamedImports(clause.namedBindings) ? clause.namedBindings.elements : [];
  return clause.name === undefined && named.length > 0 && named.every((element) => element.isTypeOnly);
}

function checkFile(file: SourceFile, sources: Sources): string[] {
  const room = roomOf(file.path);
  const found = room ? file.imports.flatMap((one) => checkImport(file.path, room, one, sources)) : ['is in no room'];
  if (file.lines > MAX_LINES) found.push(`has ${file.lines} lines; at most ${MAX_LINES}, and 260 is the aim`);
  return [...found, ...checkWords(file)].map((what) => `${file.path}: ${what}`);
}

const roomOf = (path: string): Room | undefined =>
  ROOMS.filter(({ at }) => path.startsWith(at)).sort((a, b) => b.at.length - a.at.length)[0];

function checkImport(path: string, room: Room, { specifier, isType }: Import, sources: Sources): string[] {
  if (specifier.startsWith('node:')) {
    const isAllowed = room.node === 'any' || (room.node !== 'none' && room.node.includes(specifier));
    return isAllowed ? [] : [`may not import ${specifier}`];
  }
  if (!specifier.startsWith('.')) {
    const name = specifier
      .split('/')
      .slice(0, specifier.startsWith('@') ? 2 : 1)
      .join('/');
    return room.packages?.includes(name) ? [] : [`may not import the package ${name}`];
  }
  const target = resolve(path, specifier);
  // A file may import its JSON; whatever else is not a source is a mistake that the compiler reports.
  if (!sources.has(target)) return [];
  const isOwn = roomOf(target) === room;
  const allowed = isType ? [...room.from, ...(room.typesFrom ?? [])] : room.from;
  if (isOwn || allowed.some((prefix) => isBelow(target, prefix))) return [];
  const isTypeAllowed = room.typesFrom?.some((prefix) => isBelow(target, prefix));
  return [`may not import ${target}${isTypeAllowed ? ', except types' : ''}`];
}

function isBelow(target: string, prefix: string): boolean {
  if (!prefix.endsWith('*.ts')) return target.startsWith(prefix);
  const folder = prefix.slice(0, -'*.ts'.length);
  return target.startsWith(folder) && !target.slice(folder.length).includes('/');
}

const resolve = (from: string, specifier: string): string =>
  posix.join(posix.dirname(from), specifier).replace(/\.js$/, '.ts');

/** What must come by the constructor in the pure rooms: time, chance, timers, output. */
const IMPURE = new Set([
  'Date.now',
  'performance.now',
  'Math.random',
  'setTimeout',
  'setInterval',
  'setImmediate',
  'console',
  'crypto.randomUUID',
  'randomUUID',
  'randomBytes',
  'randomInt',
]);

function checkWords({ path, ast }: SourceFile): string[] {
  const isPure = path.startsWith('server/core/') || path.startsWith('server/session/');
  const found: string[] = [];
  visit(ast, (node) => {
    const name = toName(node);
    if (name === 'process.env' && path !== 'server/main.ts') found.push('may not read process.env');
    if (isPure && name !== undefined && IMPURE.has(name)) found.push(`may not use ${name}`);
    const isNow = ts.isNewExpression(node) && node.expression.getText() === 'Date' && !node.arguments?.length;
    if (isPure && isNow) found.push('may not use new Date()');
  });
  for (const statement of path.startsWith('server/') ? ast.statements : []) {
    if (!ts.isVariableStatement(statement)) continue;
    if (statement.declarationList.flags & ts.NodeFlags.Const) continue;
    const names = statement.declarationList.declarations.map((declaration) => declaration.name.getText());
    found.push(`may not hold the module-level mutable ${names.join(', ')}`);
  }
  return found;
}

/** `a.b`, or `a` where it stands for the global: not the name of a property, a parameter or a type. */
function toName(node: ts.Node): string | undefined {
  if (ts.isPropertyAccessExpression(node)) return node.getText().replace(/^globalThis\./, '');
  if (ts.isElementAccessExpression(node) && ts.isStringLiteralLike(node.argumentExpression)) {
    return `${node.expression.getText()}.${node.argumentExpression.text}`;
  }
  if (ts.isImportSpecifier(node)) return (node.propertyName ?? node.name).getText();
  if (!ts.isIdentifier(node)) return undefined;
  const { parent } = node;
  const isProperty = ts.isPropertyAccessExpression(parent) && parent.name === node;
  const isDeclared = 'name' in parent && parent.name === node;
  return isProperty || isDeclared ? undefined : node.text;
}

/** Imports, of types too, that lead back to where they began: such files can only be understood together. */
function findCycles(files: readonly SourceFile[], sources: Sources): string[] {
  const edges = new Map(
    files.map(({ path, imports }) => [
      path,
      imports
        .filter(({ specifier }) => specifier.startsWith('.'))
        .map(({ specifier }) => resolve(path, specifier))
        .filter((target) => sources.has(target)),
    ]),
  );
  const cycles: string[] = [];
  const done = new Set<string>();
  const walk = (path: string, trail: readonly string[]): void => {
    const at = trail.indexOf(path);
    if (at !== -1) cycles.push(`${path}: imports itself: ${[...trail.slice(at), path].join(' → ')}`);
    if (at !== -1 || done.has(path)) return;
    for (const target of edges.get(path) ?? []) walk(target, [...trail, path]);
    done.add(path);
  };
  for (const path of edges.keys()) walk(path, []);
  return cycles;
}

function visit(node: ts.Node, see: (node: ts.Node) => void): void {
  see(node);
  ts.forEachChild(node, (child) => visit(child, see));
}
