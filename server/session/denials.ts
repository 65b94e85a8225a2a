/** The refusals that are a gate's: what somebody may not do, or not now, however well they ask. */
import type { ErrorCode } from '../../protocol/index.js';

const DENIALS: ReadonlySet<ErrorCode> = new Set<ErrorCode>([
  'forbidden',
  'forbidden_tool',
  'rate_limited',
  'budget_exhausted',
  'budget_held',
  'budget_too_small',
  'queue_full',
  'overloaded',
  'draining',
  'store_unavailable',
]);

export const isDenial = (code: string): code is ErrorCode => DENIALS.has(code as ErrorCode);
