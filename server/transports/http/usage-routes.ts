/** What the caller spent, and what is left of the budgets. */
import type { Router } from 'express';
import { MidstreamError } from '../../../protocol/index.js';
import type { SpendGroup } from '../../ports/ledger.js';
import type { UsageApi } from '../../session/session-api.js';
import { only } from './error-response.js';
import { listParam, numberParam } from './query.js';
import { callerOf } from './request-context.js';

const GROUPS: readonly string[] = ['session', 'model', 'tag', 'user'] satisfies SpendGroup[];
const DEFAULT_DAYS = 31;
const MAX_DAYS = 366;

export function addUsageRoute(router: Router, usage: UsageApi): void {
  router
    .route('/v1/usage')
    .get(async (req, res) => {
      const groupBy = listParam(req, 'group_by').flatMap((text) => text.split(','));
      const unknown = groupBy.find((group) => group !== 'day' && !GROUPS.includes(group));
      if (unknown !== undefined)
        throw new MidstreamError('invalid_request', 'group_by: takes day, session, model, tag and user');
      const days = numberParam(req, 'days', { min: 1, max: MAX_DAYS }) ?? DEFAULT_DAYS;
      const groups = groupBy.filter((group): group is SpendGroup => group !== 'day');
      res.json(await usage.report(callerOf(res), { groupBy: groups, days }));
    })
    .all(only('GET'));
}
