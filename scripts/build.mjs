/** Builds `dist/` from the sources: JavaScript and types, the browser bundle of the client, static files, and a stamp last. */
import { spawnSync } from 'node:child_process';
import { createHash } from 'node:crypto';
import { cpSync, existsSync, mkdirSync, readdirSync, readFileSync, rmSync, writeFileSync } from 'node:fs';
import { dirname, join, relative, sep } from 'node:path';
import { fileURLToPath, pathToFileURL } from 'node:url';

const SOURCE_FOLDERS = ['protocol', 'server', 'client-sdk'];
const SOURCE_FILES = ['package.json', 'tsconfig.json', 'tsconfig.build.json', 'scripts/build.mjs'];
const PAGE = join('server', 'transports', 'http', 'page');
const ADAPTERS = join('server', 'adapters');
const STAMP = join('dist', '.stamp');

/** Whether `dist/` was built, to the end, from exactly the sources that are there now. */
export function isBuilt(root) {
  const stamp = join(root, STAMP);
  return existsSync(stamp) && readFileSync(stamp, 'utf8') === fingerprint(root);
}

/** Throws with a sentence where it fails; then `dist/` has no stamp, so that the next run builds again. */
export async function build(root) {
  // Taken before the compiler reads: what is saved meanwhile makes the stamp stale, never the build.
  const stamp = fingerprint(root);
  rmSync(join(root, 'dist'), { recursive: true, force: true });
  compile(root);
  await bundleClient(root);
  copyStatic(root);
  packClient(root);
  writeFileSync(join(root, STAMP), stamp);
}

function compile(root) {
  const tsc = join(root, 'node_modules', 'typescript', 'bin', 'tsc');
  if (!existsSync(tsc)) throw new Error('TypeScript is not installed; run: npm ci');
  const args = [tsc, '-p', 'tsconfig.build.json', '--outDir', 'dist', '--noEmitOnError'];
  const { status } = spawnSync(process.execPath, args, { cwd: root, stdio: 'inherit' });
  if (status !== 0) throw new Error('the sources have type errors (above)');
}

async function bundleClient(root) {
  const entry = join(root, 'client-sdk', 'index.ts');
  if (!existsSync(entry)) return;
  const { build: bundle } = await import('esbuild');
  const { metafile } = await bundle({
    absWorkingDir: root,
    entryPoints: [entry],
    outfile: join(root, 'dist', 'client-sdk', 'midstream-client.js'),
    bundle: true,
    format: 'esm',
    platform: 'browser',
    target: 'es2022',
    sourcemap: true,
    metafile: true,
    logLevel: 'error',
  });
  const foreign = Object.keys(metafile.inputs).find((path) => path.includes('node_modules/'));
  if (foreign) throw new Error(`the client must run without dependencies, but its bundle holds ${foreign}`);
}

function copyStatic(root) {
  const page = files(join(root, PAGE)).filter((path) => !path.endsWith('.ts'));
  const beside = files(join(root, ADAPTERS)).filter((path) => /\.(lua|json)$/.test(path));
  for (const path of [...page, ...beside]) {
    const target = join(root, 'dist', relative(root, path));
    mkdirSync(dirname(target), { recursive: true });
    cpSync(path, target);
  }
}

/** Makes `dist/client-sdk` a package of its own: its description, and types that reach the protocol's beside them. */
function packClient(root) {
  const description = join(root, 'client-sdk', 'package.json');
  const target = join(root, 'dist', 'client-sdk');
  if (!existsSync(description)) return;
  cpSync(description, join(target, 'package.json'));
  for (const folder of ['protocol', 'client-sdk']) {
    const types = files(join(root, 'dist', folder)).filter((path) => path.endsWith('.d.ts'));
    for (const path of types) {
      const to = join(target, 'types', folder, relative(join(root, 'dist', folder), path));
      mkdirSync(dirname(to), { recursive: true });
      cpSync(path, to);
    }
  }
}

/** By content, not by time: a checkout, a copy or a removed file must not fool it. */
function fingerprint(root) {
  const paths = [
    ...SOURCE_FOLDERS.flatMap((folder) => files(join(root, folder))),
    ...SOURCE_FILES.map((f) => join(root, f)),
  ];
  const hash = createHash('sha256').update(process.version);
  for (const path of paths) {
    if (!existsSync(path)) continue;
    const content = readFileSync(path);
    hash.update(`\0${relative(root, path).split(sep).join('/')}\0${content.length}\0`).update(content);
  }
  return hash.digest('hex');
}

/** Every file below a folder, sorted; none where the folder is missing. */
function files(folder) {
  if (!existsSync(folder)) return [];
  return readdirSync(folder, { withFileTypes: true, recursive: true })
    .filter((entry) => entry.isFile())
    .map((entry) => join(entry.parentPath ?? entry.path, entry.name))
    .sort();
}

if (process.argv[1] && import.meta.url === pathToFileURL(process.argv[1]).href) {
  build(join(dirname(fileURLToPath(import.meta.url)), '..')).catch((error) => {
    console.error(`midstream: the build failed: ${error.message}`);
    process.exitCode = 1;
  });
}
