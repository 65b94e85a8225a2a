/** Format, lint, lint with types, and types, side by side: what each says comes in one piece, and all are told though one fails. */
import { spawn } from 'node:child_process';
import { dirname, join } from 'node:path';
import { fileURLToPath } from 'node:url';

const root = join(dirname(fileURLToPath(import.meta.url)), '..');
const biome = ['@biomejs', 'biome', 'bin', 'biome'];

const CHECKS = [
  { name: 'format', program: biome, args: ['format', '--colors=off', '.'] },
  { name: 'lint', program: biome, args: ['lint', '--colors=off', '.'] },
  { name: 'lint with types', program: ['eslint', 'bin', 'eslint.js'], args: ['.'] },
  { name: 'types', program: ['typescript', 'bin', 'tsc'], args: ['-p', 'tsconfig.json', '--noEmit'] },
];

/** Resolves with whether it is content. */
function check({ name, program, args }) {
  const startedAt = performance.now();
  const script = join(root, 'node_modules', ...program);
  const child = spawn(process.execPath, [script, ...args], { cwd: root, stdio: ['ignore', 'pipe', 'pipe'] });
  let said = '';
  for (const stream of [child.stdout, child.stderr])
    stream.setEncoding('utf8').on('data', (text) => {
      said += text;
    });
  return new Promise((resolve, reject) => {
    child.once('error', reject);
    child.once('close', (status, signal) => {
      const seconds = ((performance.now() - startedAt) / 1_000).toFixed(1);
      const isContent = status === 0;
      process.stdout.write(`${said}${name}: ${isContent ? 'good' : `failed (${signal ?? status})`}, ${seconds} s\n`);
      resolve(isContent);
    });
  });
}

const results = await Promise.all(CHECKS.map(check));
if (results.includes(false)) process.exitCode = 1;
