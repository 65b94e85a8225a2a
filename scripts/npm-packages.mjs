/** Brings `node_modules` to what `package-lock.json` says. */
import { spawnSync } from 'node:child_process';
import { existsSync, readFileSync } from 'node:fs';
import { join } from 'node:path';

/** Whether every package of the lock that is not optional is installed, in the locked version. */
export function isInstalled(root) {
  const installed = readPackages(join(root, 'node_modules', '.package-lock.json'));
  if (!installed) return false;
  const locked = readPackages(join(root, 'package-lock.json')) ?? {};
  return Object.entries(locked).every(([path, { version, optional, devOptional, peer }]) => {
    if (path === '' || optional || devOptional) return true;
    return installed[path] ? installed[path].version === version : peer === true;
  });
}

/** Runs `npm ci`, and `npm install` where that fails. Throws with a sentence where both do. */
export function install(root, say) {
  say('installing npm packages …');
  // The compiler and the bundler are development packages: NODE_ENV=production must not leave them out.
  const options = ['--include=dev', '--no-audit', '--no-fund', '--loglevel=error'];
  if (existsSync(join(root, 'package-lock.json'))) {
    if (npm(root, ['ci', ...options])) return;
    say('npm ci failed (above), so that the locked versions may not be met; trying npm install …');
  }
  if (!npm(root, ['install', '--no-package-lock', ...options])) {
    throw new Error(
      'the npm packages could not be installed (above); check the network and the registry, then run: npm ci',
    );
  }
}

function npm(root, args) {
  const cli = process.env.npm_execpath ?? '';
  // Under `npm run` the path of npm's own script is known: no look-up in PATH, and no .cmd file on Windows.
  const [command, first] = cli.endsWith('npm-cli.js') ? [process.execPath, [cli]] : ['npm', []];
  const { status, error } = spawnSync(command, [...first, ...args], {
    cwd: root,
    stdio: ['ignore', 'ignore', 'inherit'],
  });
  if (error) console.error(`npm could not be started: ${error.message}`);
  return status === 0;
}

function readPackages(path) {
  try {
    return JSON.parse(readFileSync(path, 'utf8')).packages;
  } catch {
    // Missing, or cut off by a killed install: both mean that it must be made.
    return undefined;
  }
}
