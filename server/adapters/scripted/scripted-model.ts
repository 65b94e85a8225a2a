/** A deterministic model: answers from a script. For demos, and for tests of what is built on this server. */
import type { Clock, Timer } from '../../ports/clock.js';
import type { Model, ModelEnd, ModelEvent } from '../../ports/model.js';
import { builtInStep } from './built-in-script.js';
import { findPlace } from './conversation.js';
import type { Script } from './script.js';
import { applyToolChoice, chooseStep, fillTemplates } from './step-choice.js';
import { countInputTokens, planStream, type StreamPlan } from './stream-plan.js';

export interface ScriptedModelOptions {
  /** Without one it introduces itself. */
  readonly script?: Script;
  readonly clock?: Pick<Clock, 'schedule'>;
}

/** So that one stream of many deltas doesn't hold up the others. */
const MAX_BATCH = 64;

const machineClock: Pick<Clock, 'schedule'> = {
  schedule(delayMs, fire) {
    const timer = setTimeout(fire, delayMs);
    return { cancel: () => clearTimeout(timer) };
  },
};

export function createScriptedModel({ script, clock = machineClock }: ScriptedModelOptions = {}): Model {
  return {
    stream(request, onEvents, signal) {
      const place = findPlace(request);
      const step = script ? fillTemplates(chooseStep(script, place), place) : builtInStep(request, place);
      return play(planStream(applyToolChoice(step, request, place), request), onEvents, signal, clock);
    },
    countTokens: (request) => Promise.resolve(countInputTokens(request)),
    status: () => ({ ok: true, detail: script ? 'scripted, from a script' : 'scripted, without a key' }),
  };
}

/** One timer at a time, whatever the number of deltas. */
function play(
  plan: StreamPlan,
  onEvents: (events: readonly ModelEvent[]) => void,
  signal: AbortSignal,
  clock: Pick<Clock, 'schedule'>,
): Promise<ModelEnd> {
  if (signal.aborted) return Promise.resolve({ type: 'aborted' });
  return new Promise((resolve) => {
    const { beats, end, endAtMs } = plan;
    let next = 0;
    let nowMs = 0;
    let timer: Timer | undefined;

    const finish = (how: ModelEnd): void => {
      signal.removeEventListener('abort', abort);
      resolve(how);
    };
    const abort = (): void => {
      timer?.cancel();
      finish({ type: 'aborted' });
    };
    const wait = (): void => {
      const atMs = beats[next]?.atMs ?? endAtMs;
      const isOver = next === beats.length;
      // A stall: nothing but an abort ends it.
      if (isOver && end === undefined) return;
      timer = clock.schedule(Math.max(0, atMs - nowMs), () => {
        nowMs = Math.max(nowMs, atMs);
        if (isOver && end) finish(end);
        else step();
      });
    };
    const step = (): void => {
      const batch: ModelEvent[] = [];
      for (let beat = beats[next]; beat && beat.atMs <= nowMs && batch.length < MAX_BATCH; beat = beats[++next]) {
        batch.push(beat.event);
      }
      onEvents(batch);
      // The receiver may have aborted.
      if (!signal.aborted) wait();
    };

    signal.addEventListener('abort', abort, { once: true });
    wait();
  });
}
