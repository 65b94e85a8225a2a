/** How holds, windows and records of spending are written in Redis. */

import { NO_USAGE } from '../../../protocol/index.js';
import {
  type Amounts,
  type BudgetWarning,
  type BudgetWindow,
  type Counter,
  type Limit,
  toWire,
  WARNING_PERCENTS,
} from '../../core/budget-math.js';
import type { Checkpoint, Hold, SpendRow } from '../../ports/ledger.js';

/** In the order of `windowsAt`, which the scripts go by. */
const WINDOWS = ['user/day', 'user/month', 'org/day', 'org/month'];

/** Three arguments each: the window, the unit, the bound. */
export const toLimitArgs = (limits: readonly Limit[]): (string | number)[] =>
  limits.flatMap(({ scope, window, unit, limit }) => [
    WINDOWS.indexOf(`${scope}/${window}`) + 1,
    unit === 'tokens' ? 1 : 2,
    limit,
  ]);

export const PERCENTS = WARNING_PERCENTS.join(' ');

export function parseCounter(text: string): Counter {
  const [usedTokens = 0, usedNanoUsd = 0, heldTokens = 0, heldNanoUsd = 0] = text.split(' ').map(Number);
  return {
    used: { tokens: usedTokens, nanoUsd: usedNanoUsd },
    held: { tokens: heldTokens, nanoUsd: heldNanoUsd },
  };
}

/** What a settlement says is to be warned of: of each the number of the limit, used and held. */
export function parseWarnings(
  reply: readonly string[],
  limits: readonly Limit[],
  windows: readonly BudgetWindow[],
): BudgetWarning[] {
  const warnings: BudgetWarning[] = [];
  for (let n = 0; n < reply.length; n += 3) {
    const [index = 0, used = 0, held = 0] = reply.slice(n, n + 3).map(Number);
    const limit = limits[index];
    const window = limit && windows.find((w) => w.scope === limit.scope && w.window === limit.window);
    if (!limit || !window) continue;
    const { scope, window: span, unit } = limit;
    warnings.push({
      scope,
      window: span,
      unit,
      limit: toWire(unit, limit.limit),
      used: toWire(unit, used),
      held: toWire(unit, held),
      resets_at: new Date(window.resetsAt).toISOString(),
    });
  }
  return warnings;
}

/** What of a hold Redis does not know by itself. */
type KeptHold = Omit<Hold, 'id' | 'windows' | 'heldAt' | 'leaseExpiresAt'>;

export function toHoldJson(hold: KeptHold): string {
  const { userId, orgId, sessionId, turnId, step, attempt, model, tags, amounts, limits, owner } = hold;
  const kept: KeptHold = { userId, orgId, sessionId, turnId, step, attempt, model, tags, amounts, limits, owner };
  return JSON.stringify(kept);
}

export interface LapsedHold {
  readonly hold: KeptHold & Pick<Hold, 'id' | 'heldAt'>;
  readonly known: Checkpoint;
}

/** Of the fields of a hold; undefined where it is gone. */
export function parseLapsed(id: string, { at, hold, known }: Readonly<Record<string, string>>): LapsedHold | undefined {
  if (at === undefined || hold === undefined) return undefined;
  return {
    hold: { ...(JSON.parse(hold) as KeptHold), id, heldAt: Number(at) },
    known: known === undefined ? NOTHING_KNOWN : (JSON.parse(known) as Checkpoint),
  };
}

const NOTHING_KNOWN: Checkpoint = { usage: NO_USAGE, costNanoUsd: 0 };

export const usedOf = ({ usage, costNanoUsd }: Checkpoint): Amounts => ({
  tokens: usage.input_tokens + usage.output_tokens + usage.cache_creation_input_tokens + usage.cache_read_input_tokens,
  nanoUsd: costNanoUsd,
});

export const toSpendField = ({ sessionId, model, tags }: Pick<Hold, 'sessionId' | 'model' | 'tags'>): string =>
  JSON.stringify([sessionId, model, ...new Set(tags)]);

export interface Spent extends Pick<SpendRow, 'requests' | 'usage' | 'costNanoUsd'> {
  readonly sessionId: string;
  readonly model: string;
  readonly tags: readonly string[];
}

export function parseSpent(field: string, sums: string): Spent {
  const [sessionId = '', model = '', ...tags] = JSON.parse(field) as string[];
  const [requests = 0, input = 0, output = 0, cacheWrite = 0, cacheRead = 0, costNanoUsd = 0] = sums
    .split(' ')
    .map(Number);
  return {
    sessionId,
    model,
    tags,
    requests,
    usage: {
      input_tokens: input,
      output_tokens: output,
      cache_creation_input_tokens: cacheWrite,
      cache_read_input_tokens: cacheRead,
    },
    costNanoUsd,
  };
}
