/** The audit log as it is read, and tools called without the model. */
import { z } from 'zod';
import type { InputBlock } from './content.js';

export const AUDIT_KINDS = [
  /** A credential was missing or refused. */
  'authentication',
  /**
   * A tool call was denied: by the policy, by an approver, or because nobody answered; or a command or a request was
   * refused for who asked (403).
   */
  'denial',
  /** Somebody answered a call that waited for an approval. */
  'approval',
  /** A tool was run for the model, or a client was asked to run it: one record when it begins, one with its outcome. */
  'tool_call',
  /** The same, for a tool called without the model. */
  'direct_tool_call',
  /** Somebody was made a member of a session, got another role in it, or is none any more; `rule` says which. */
  'membership_change',
  'policy_change',
  'revocation',
] as const;
export type AuditKind = (typeof AUDIT_KINDS)[number];

export const AUDIT_OUTCOMES = [
  'allowed',
  'denied',
  'refused',
  'applied',
  'started',
  'ok',
  'error',
  'timeout',
  'cancelled',
  'unknown',
] as const;
export type AuditOutcome = (typeof AUDIT_OUTCOMES)[number];

/** Who, what, by which rule, with what outcome. Never an argument, a result, a credential or a word of a prompt. */
export interface AuditRecord {
  /** RFC 3339, UTC. */
  readonly at: string;
  readonly kind: AuditKind;
  readonly user_id?: string;
  readonly org_id?: string;
  readonly session_id?: string;
  readonly turn_id?: string;
  readonly tool?: string;
  readonly tool_use_id?: string;
  readonly rule?: string;
  readonly outcome: AuditOutcome;
  readonly request_id?: string;
  readonly client_address?: string;
}

export const toolCallBodySchema = z.strictObject({ input: z.record(z.string(), z.unknown()).default({}) });

/** What a tool that was called without the model answered. */
export interface ToolCallResult {
  readonly content: readonly InputBlock[];
  readonly is_error: boolean;
  readonly outcome: 'ok' | 'error' | 'timeout' | 'cancelled' | 'unknown';
  readonly duration_ms: number;
  /** Set where this is the first answer to the same key, once more (CMD-2). */
  readonly duplicate?: true;
}
