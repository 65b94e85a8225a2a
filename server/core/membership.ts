/** Who may do what in a session: a viewer watches, an editor prompts, an owner shares and deletes. */
import { type ErrorCode, MEMBER_ROLES, type Member, type MemberRole } from '../../protocol/index.js';
import type { Participant, SessionState } from './session-state.js';

/** As much of a session as says whose it is. */
export type Shared = Pick<SessionState, 'owner' | 'members'>;

/** The role of somebody in a session; undefined where they are no member. */
export function roleOf({ owner, members }: Shared, who: Participant): MemberRole | undefined {
  if (who.org_id !== owner.org_id) return undefined;
  return members.find((member) => member.user_id === who.user_id)?.role;
}

export function isAtLeast(role: MemberRole | undefined, needed: MemberRole): boolean {
  return role !== undefined && MEMBER_ROLES.indexOf(role) >= MEMBER_ROLES.indexOf(needed);
}

/** Whether somebody may prompt, and so be answered for. */
export const isEditor = (shared: Shared, who: Participant): boolean => isAtLeast(roleOf(shared, who), 'editor');

export interface Refusal {
  readonly code: ErrorCode;
  /** Left out: the code's own sentence. */
  readonly message?: string;
}

const NEEDS: Record<MemberRole, string> = {
  viewer: '',
  editor: 'this takes an editor. Ask an owner of the session to make you one.',
  owner: 'this takes an owner. Ask an owner of the session.',
};

/** Why somebody may not do what takes `needed`; undefined where they may. Who is no member is told nothing (AUTH-3). */
export function refusalOf(shared: Shared, who: Participant, needed: MemberRole): Refusal | undefined {
  const role = roleOf(shared, who);
  if (role === undefined) return { code: 'session_not_found' };
  if (isAtLeast(role, needed)) return undefined;
  return {
    code: 'forbidden',
    message: `You are ${role === 'editor' ? 'an editor' : 'a viewer'} of this session; ${NEEDS[needed]}`,
  };
}

/** The members after one of them was added, got another role, or was taken away (`role: null`). */
export function withMember(members: readonly Member[], userId: string, role: MemberRole | null): readonly Member[] {
  if (role === null) return members.filter((member) => member.user_id !== userId);
  const changed: Member = { user_id: userId, role };
  const isKnown = members.some((member) => member.user_id === userId);
  return isKnown ? members.map((member) => (member.user_id === userId ? changed : member)) : [...members, changed];
}
