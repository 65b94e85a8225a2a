/** Finds the programs that the tests start (Redis and a Chromium), and installs what is missing. */
import { spawnSync } from 'node:child_process';
import { accessSync, constants, statSync } from 'node:fs';
import { delimiter, join } from 'node:path';

const TOOLS = [
  { name: 'redis-server', binaries: ['redis-server'], apt: ['redis-server'], brew: ['redis'] },
  {
    name: 'chromium',
    variable: 'CHROMIUM_PATH',
    binaries: [
      'chromium',
      'chromium-browser',
      'google-chrome',
      '/Applications/Chromium.app/Contents/MacOS/Chromium',
      '/Applications/Google Chrome.app/Contents/MacOS/Google Chrome',
    ],
    apt: ['chromium'],
    brew: ['--cask', 'chromium'],
  },
];

/** The tools that are not there. */
export function missingTools(env) {
  return TOOLS.filter((tool) => {
    const named = tool.variable ? env[tool.variable] : undefined;
    if (named && isProgram(named)) return false;
    return !tool.binaries.some((binary) => findProgram(binary, env));
  });
}

/** The commands that install them here, or the sentence that says what to do where this process can't. */
export function toInstallPlan(tools, { platform, isRoot, env }) {
  const names = tools.map((tool) => tool.name).join(' and ');
  if (platform === 'darwin') {
    const commands = tools.map((tool) => ['brew', 'install', '--quiet', ...tool.brew]);
    if (findProgram('brew', env)) return { commands };
    return { advice: `install Homebrew (https://brew.sh), then run: ${toText(commands)}` };
  }
  const commands = [
    ['apt-get', 'update', '-qq'],
    ['apt-get', 'install', '-y', '-qq', '--no-install-recommends', ...tools.flatMap((tool) => tool.apt)],
  ];
  if (!findProgram('apt-get', env)) return { advice: `install ${names} with your system's package manager` };
  return isRoot ? { commands } : { advice: `run as root: ${toText(commands)}` };
}

/** Installs what the tests need. Throws with the command to run where that isn't possible. */
export function ensureTools(
  say,
  host = { platform: process.platform, isRoot: process.getuid?.() === 0, env: process.env },
) {
  const missing = missingTools(host.env);
  if (missing.length === 0) return;
  const plan = toInstallPlan(missing, host);
  if (!plan.commands) throw new Error(toComplaint(missing, plan.advice));
  say(`installing ${missing.map((tool) => tool.name).join(' and ')} for the tests …`);
  for (const [command, ...args] of plan.commands) {
    const env = { ...host.env, DEBIAN_FRONTEND: 'noninteractive' };
    const { status } = spawnSync(command, args, { stdio: ['ignore', 'ignore', 'inherit'], env });
    // An outdated list of packages is no reason to stop: the installation decides.
    if (status !== 0 && !args.includes('update'))
      throw new Error(toComplaint(missing, `run: ${toText(plan.commands)}`));
  }
  const still = missingTools(host.env);
  if (still.length > 0)
    throw new Error(toComplaint(still, `what this installed did not bring it: ${toText(plan.commands)}`));
}

function toComplaint(tools, advice) {
  const variable = tools.find((tool) => tool.variable)?.variable;
  const other = variable ? ` (or name one in ${variable})` : '';
  return `the tests need ${tools.map((tool) => tool.name).join(' and ')}${other}; ${advice}`;
}

const toText = (commands) => commands.map((command) => command.join(' ')).join(' && ');

function findProgram(name, env) {
  if (name.startsWith('/')) return isProgram(name);
  return (env.PATH ?? '').split(delimiter).some((folder) => folder !== '' && isProgram(join(folder, name)));
}

function isProgram(path) {
  try {
    accessSync(path, constants.X_OK);
    return statSync(path).isFile();
  } catch {
    return false;
  }
}
