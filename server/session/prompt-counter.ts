/** Asks the provider how many tokens a request would send, for as long as a hold may wait. */

import type { Clock } from '../ports/clock.js';
import { LEDGER_TIMES } from '../ports/ledger.js';
import type { Logger } from '../ports/logger.js';
import type { Model, ModelRequest } from '../ports/model.js';

export interface CounterDeps {
  readonly model: Model;
  readonly clock: Clock;
  readonly logger: Logger;
}

/** Undefined where the provider does not tell in time. Never rejects. */
export type CountPrompt = (request: ModelRequest) => Promise<number | undefined>;

export function createPromptCounter({ model, clock, logger }: CounterDeps): CountPrompt {
  return async (request) => {
    if (!model.countTokens) return undefined;
    const abort = new AbortController();
    const timer = clock.schedule(LEDGER_TIMES.waitMs, () => abort.abort(new Error('no count in time')));
    const gaveUp = new Promise<never>((_, reject) => {
      abort.signal.addEventListener('abort', () => reject(abort.signal.reason as Error), { once: true });
    });
    try {
      return withMargin(await Promise.race([model.countTokens(request, abort.signal), gaveUp]));
    } catch (error) {
      // The provider's words stay out of the log: they may quote the prompt.
      const reason = error instanceof Error ? error.name : 'unknown';
      logger.warn('the tokens of a prompt could not be counted', { session_id: request.sessionId, reason });
      return undefined;
    } finally {
      timer.cancel();
    }
  };
}

/** The provider calls its count an estimate that may be off by a little. */
const withMargin = (count: number): number => Math.ceil(count * 1.05) + 50;
