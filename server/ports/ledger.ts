/** Budgets: what may be spent, held before each model request and settled once after it (BUD-1, BUD-2). */
import type { ErrorBody, Usage } from '../../protocol/index.js';

export interface HoldRequest {
  readonly userId: string;
  readonly orgId: string;
  readonly roles: readonly string[];
  readonly sessionId: string;
  readonly turnId: string;
  readonly step: number;
  readonly attempt: number;
  readonly model: string;
  /** Upper bound of the input side. */
  readonly inputTokens: number;
  /** Upper bound of the output side: `max_tokens`. */
  readonly outputTokens: number;
  readonly tags: readonly string[];
}

export interface Hold {
  readonly id: string;
}

export type Reservation =
  | { readonly granted: true; readonly hold: Hold }
  | { readonly granted: false; readonly error: ErrorBody };

export interface Settlement {
  readonly usage: Usage;
  /** True where the provider's count did not come. */
  readonly estimated: boolean;
  readonly costNanoUsd: number;
}

export interface Ledger {
  /** All windows or none, atomically. Waits at most 2 s where only holds are in the way. */
  reserve(request: HoldRequest): Promise<Reservation>;
  /** Settles a hold, once; again is a no-op. Never rejects: what can't be written now is queued. */
  settle(hold: Hold, settlement: Settlement): Promise<void>;
}
