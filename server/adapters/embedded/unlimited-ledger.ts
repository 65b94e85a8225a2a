/** A ledger without limits: every hold is granted, nothing is counted. For one machine without budgets. */
import type { Ledger } from '../../ports/ledger.js';

export function createUnlimitedLedger(): Ledger {
  let held = 0;
  return {
    async reserve() {
      return { granted: true, hold: { id: `hold_${++held}` } };
    },
    async settle() {},
  };
}
