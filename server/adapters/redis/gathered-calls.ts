/** Calls of one script that come within one turn of the event loop, as one write to each server. */
import type { ScriptCall, ScriptOutcome } from './redis-connection.js';
import type { Script } from './scripts.js';
import { type StoreDoor, toFailed } from './store-door.js';

interface Waiting {
  readonly call: ScriptCall;
  readonly resolve: (reply: unknown) => void;
  readonly reject: (error: unknown) => void;
}

export class GatheredCalls {
  readonly #door: StoreDoor;
  readonly #script: Script;
  #waiting: Waiting[] = [];

  constructor(door: StoreDoor, script: Script) {
    this.#door = door;
    this.#script = script;
  }

  run(call: ScriptCall): Promise<unknown> {
    return new Promise((resolve, reject) => {
      this.#waiting.push({ call, resolve, reject });
      if (this.#waiting.length === 1) setImmediate(() => void this.#send());
    });
  }

  async #send(): Promise<void> {
    const sent = this.#waiting;
    this.#waiting = [];
    const calls = sent.map(({ call }) => call);
    let outcomes: readonly ScriptOutcome[];
    try {
      outcomes = await this.#door.do((redis) => redis.runAll(this.#script, calls));
    } catch (error) {
      for (const { reject } of sent) reject(error);
      return;
    }
    for (const [n, { resolve, reject }] of sent.entries()) {
      const outcome = outcomes[n] as ScriptOutcome;
      if ('error' in outcome) reject(toFailed(outcome.error));
      else resolve(outcome.reply);
    }
  }
}
