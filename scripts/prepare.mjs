/** Makes `npm start` and `npm test` work from a fresh clone: packages, build, and for the tests the programs they start. */
import { dirname, join } from 'node:path';
import { fileURLToPath } from 'node:url';
import { build, isBuilt } from './build.mjs';
import { install, isInstalled } from './npm-packages.mjs';
import { ensureTools } from './system-tools.mjs';

const root = join(dirname(fileURLToPath(import.meta.url)), '..');
const say = (sentence) => console.error(`midstream: ${sentence}`);

async function prepare(purpose) {
  if (purpose !== 'start' && purpose !== 'test') throw new Error('usage: node scripts/prepare.mjs start|test');
  if (!isInstalled(root)) install(root, say);
  if (purpose === 'test') ensureTools(say);
  if (!isBuilt(root)) {
    say('building …');
    await build(root);
  }
}

prepare(process.argv[2]).catch((error) => {
  say(error.message);
  process.exitCode = 1;
});
