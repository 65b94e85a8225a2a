/** What the request that streams is known to have used so far: the ledger's checkpoint, should its server die (BUD-4). */
import type { Usage } from '../../protocol/index.js';
import { toCostNanoUsd } from './prices.js';
import type { SessionState } from './session-state.js';
import { type RequestKey, type StepContext, Transition } from './transition.js';
import { estimateUsage } from './turn-end.js';

export interface KnownUsage {
  readonly usage: Usage;
  readonly costNanoUsd: number;
}

/** Undefined where no request streams. */
export function toKnownUsage(state: SessionState, context: StepContext): readonly [RequestKey, KnownUsage] | undefined {
  const { turn } = state;
  if (turn?.phase.name !== 'streaming') return undefined;
  const { turnId, step, attempt } = turn;
  const usage = estimateUsage(new Transition(state, context));
  const costNanoUsd = toCostNanoUsd(context.factsOf(turn.request.model, turn.phase.pricedAt).price, usage);
  return [
    { turnId, step, attempt },
    { usage, costNanoUsd },
  ];
}
