/** Tells what was spent, and how much of the budgets is left. */
import { MidstreamError } from '../../protocol/index.js';
import {
  amountOf,
  type BudgetPolicy,
  type BudgetWarning,
  canInspect,
  limitsOf,
  toDay,
  toWire,
} from '../core/budget-math.js';
import { toUsd } from '../core/session-state.js';
import type { Clock } from '../ports/clock.js';
import type { Ledger, SpendRow } from '../ports/ledger.js';
import type { Directory } from './directory.js';
import type { SpendEntry, UsageApi } from './session-api.js';

export interface UsageDeskDeps {
  readonly ledger: Ledger;
  readonly clock: Clock;
  readonly budgets: () => BudgetPolicy;
  readonly directory: Pick<Directory, 'knows' | 'rolesOf'>;
}

const DAY_MS = 86_400_000;
const MAX_ROWS = 1_000;

export function createUsageDesk({ ledger, clock, budgets, directory }: UsageDeskDeps): UsageApi {
  return {
    async report({ principal }, { groupBy, days }) {
      const { user_id: userId, org_id: orgId } = principal;
      directory.knows(principal);
      const roles = directory.rolesOf(principal);
      const isOfAll = groupBy.includes('user');
      if (isOfAll && !canInspect(budgets(), roles))
        throw new MidstreamError('forbidden', 'group_by=user: only for roles with "inspect"');
      try {
        const counted = await ledger.usage({ userId, orgId });
        const spend = await ledger.spend({
          orgId,
          userId: isOfAll ? undefined : userId,
          sinceDay: toDay(clock.now() - (days - 1) * DAY_MS),
          groupBy,
          limit: MAX_ROWS,
        });
        const windows = (limitsOf(budgets(), roles) ?? []).flatMap(
          ({ scope, window, unit, limit }): BudgetWarning[] => {
            const found = counted.find((c) => c.window.scope === scope && c.window.window === window);
            if (!found) return [];
            const [used, held] = [found.used, found.held].map((amounts) => toWire(unit, amountOf(amounts, unit)));
            const resets_at = new Date(found.window.resetsAt).toISOString();
            return [{ scope, window, unit, limit: toWire(unit, limit), used: used ?? 0, held: held ?? 0, resets_at }];
          },
        );
        return { windows, spend: spend.map(toEntry) };
      } catch (cause) {
        throw Object.assign(new MidstreamError('store_unavailable', undefined, { retryAfterMs: 1_000 }), { cause });
      }
    },
  };
}

function toEntry({ day, sessionId, model, tag, userId, requests, usage, costNanoUsd }: SpendRow): SpendEntry {
  return {
    day,
    ...(sessionId !== undefined && { session_id: sessionId }),
    ...(model !== undefined && { model }),
    ...(tag !== undefined && { tag }),
    ...(userId !== undefined && { user_id: userId }),
    requests,
    ...usage,
    cost_usd: toUsd(costNanoUsd),
  };
}
