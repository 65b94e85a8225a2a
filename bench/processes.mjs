/** Child processes of the bench: started on their cores, asked over IPC, ended one by one. */
import { spawn, spawnSync } from 'node:child_process';
import { readFileSync } from 'node:fs';

/** A list of the kernel's such as `0-2,5`. */
function parseCpuList(text) {
  return text.split(',').flatMap((range) => {
    const [first, last = first] = range.split('-').map(Number);
    return Array.from({ length: last - first + 1 }, (_, i) => first + i);
  });
}

/** One core for the server that is measured, the others for what drives it; undefined where that can't be had. */
export function findCores() {
  if (spawnSync('taskset', ['--version'], { stdio: 'ignore' }).status !== 0) return undefined;
  const allowed = /Cpus_allowed_list:\s*(\S+)/.exec(readFileSync('/proc/self/status', 'utf8'))?.[1];
  const cpus = allowed === undefined ? [] : parseCpuList(allowed);
  if (cpus.length < 2) return undefined;
  return { server: String(cpus[0]), drivers: cpus.slice(1).join(',') };
}

export class Child {
  #process;
  #cpus;
  #asked = new Map();
  #nextAsk = 1;
  #name;

  /** `cpus`: the cores it may use, as `taskset -c` takes them; undefined: all. */
  constructor(name, args, { cpus, env, cwd, stdout = 'inherit' } = {}) {
    this.#name = name;
    const command = [process.execPath, ...args];
    const [file, ...rest] = cpus === undefined ? command : ['taskset', '-c', cpus, ...command];
    this.#cpus = cpus;
    this.#process = spawn(file, rest, { cwd, env: env ?? process.env, stdio: ['ignore', stdout, 'inherit', 'ipc'] });
    this.#process.on('message', (message) => this.#take(message));
    this.#process.on('exit', (code, signal) => {
      const error = new Error(`${this.#name} ended (${signal ?? code})`);
      for (const { reject } of this.#asked.values()) reject(error);
      this.#asked.clear();
    });
  }

  get stdout() {
    return this.#process.stdout;
  }

  get pinnedTo() {
    return this.#cpus;
  }

  /** Asks, and resolves with the answer. `onMark` gets what the child reports meanwhile. */
  ask(question, onMark = () => {}) {
    const ask = this.#nextAsk++;
    return new Promise((resolve, reject) => {
      this.#asked.set(ask, { resolve, reject, onMark });
      if (this.#process.exitCode !== null) reject(new Error(`${this.#name} is gone`));
      else this.#process.send({ ask, question });
    });
  }

  /** Rejects where the process ends instead. */
  exited() {
    return new Promise((resolve) => {
      if (this.#process.exitCode !== null || this.#process.signalCode !== null) resolve();
      else this.#process.once('exit', () => resolve());
    });
  }

  /** Resolves when the process is gone; what its end means is the caller's. */
  async kill(signal) {
    const gone = this.exited();
    this.#process.kill(signal);
    await gone;
  }

  async stop() {
    const gone = this.exited();
    if (this.#process.connected) this.#process.send({ ask: 0, question: 'exit' });
    await gone;
  }

  #take({ ask, answer, mark, error }) {
    const asked = this.#asked.get(ask);
    if (asked === undefined) return;
    if (mark !== undefined) {
      asked.onMark(mark);
      return;
    }
    this.#asked.delete(ask);
    if (error !== undefined) asked.reject(new Error(`${this.#name}: ${error}`));
    else asked.resolve(answer);
  }
}

/** The child's side of `Child.ask`: `answer(question, mark)` returns, or resolves with, the answer. */
export function serveQuestions(answer) {
  process.on('disconnect', () => process.exit(0));
  process.on('message', async ({ ask, question }) => {
    if (question === 'exit') process.exit(0);
    try {
      process.send({ ask, answer: await answer(question, (mark) => process.send({ ask, mark })) });
    } catch (error) {
      process.send({ ask, error: error.message });
    }
  });
}
