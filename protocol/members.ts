/** Who shares a session, and what they may do in it. */
import { z } from 'zod';
import type { TurnCommand } from './commands.js';

/** Each may do what those before it may: a viewer watches, an editor prompts, an owner shares and deletes. */
export const MEMBER_ROLES = ['viewer', 'editor', 'owner'] as const;
export const memberRoleSchema = z.enum(MEMBER_ROLES);
export type MemberRole = z.infer<typeof memberRoleSchema>;

/** A user of the session's org. */
export const memberSchema = z.object({ user_id: z.string(), role: memberRoleSchema });
export type Member = z.infer<typeof memberSchema>;

/** The body of `POST /v1/sessions/:id/members`. */
export const memberBodySchema = z.strictObject({
  user_id: z
    .string()
    .min(1)
    .max(200)
    .refine((id) => !/[\p{Cc}\p{Cs}]/u.test(id), 'must have no control characters, and no half of a character'),
  role: memberRoleSchema,
});

/** Shares a session, changes a share, or ends it (`role: null`). Sent over REST only. */
export interface MemberUpdate {
  readonly type: 'session.member_update';
  readonly id: string;
  readonly session_id: string;
  readonly user_id: string;
  readonly role: MemberRole | null;
}

/** All that the session's one writer takes from users. */
export type SessionCommand = TurnCommand | MemberUpdate;
