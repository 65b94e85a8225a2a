/** Sharing a session: who becomes a member, who is none any more, and what goes with them. */
import type { MemberUpdate } from '../../protocol/index.js';
import { isAtLeast, refusalOf } from './membership.js';
import { isSame, type Participant } from './session-state.js';
import { advance } from './step-flow.js';
import { deny, mayNoLonger, offerAll, withdrawOffers } from './tool-plan.js';
import { type Reply, refuse, type Transition } from './transition.js';
import { endQueued } from './turn-end.js';

const MAX_MEMBERS = 100;

export function updateMember(t: Transition, command: MemberUpdate, from: Participant): Reply {
  const { user_id: userId, role } = command;
  const isLeaving = role === null && userId === from.user_id;
  const refusal = refusalOf(t.state, from, isLeaving ? 'viewer' : 'owner');
  if (refusal) return refuse(refusal.code, refusal.message);
  const { members } = t.state;
  const was = members.find((member) => member.user_id === userId)?.role;
  if (role === null && was === undefined) return refuse('not_found', `${userId} is no member of this session.`);
  const result = { user_id: userId, role };
  if (was === role) return { ok: true, appliedAtSeq: t.state.seq, result };
  const isLastOwner = was === 'owner' && members.filter((member) => member.role === 'owner').length === 1;
  if (isLastOwner) return refuse('last_owner');
  if (was === undefined && members.length >= MAX_MEMBERS)
    return refuse('invalid_request', `user_id: a session has at most ${MAX_MEMBERS} members.`);
  const { seq } = t.emit({
    type: 'session.member_updated',
    actor: { user_id: from.user_id },
    command_id: command.id,
    user_id: userId,
    role,
  });
  if (!isAtLeast(role ?? undefined, 'editor')) endPart(t, { user_id: userId, org_id: t.state.owner.org_id });
  return { ok: true, appliedAtSeq: seq, result };
}

/** Somebody prompts no more: their tools go, what they queued is cancelled, what waits in a turn of theirs is denied (TOOL-1). */
function endPart(t: Transition, who: Participant): void {
  const theirs = t.state.registrations.filter(({ from }) => isSame(from, who));
  t.state = { ...t.state, registrations: t.state.registrations.filter((r) => !theirs.includes(r)) };
  for (const queued of t.state.queue) if (isSame(queued.from, who)) endQueued(t, queued.turnId, 'cancelled');
  const { turn } = t.state;
  if (!turn) return;
  // They could not send a result any more: nobody waits for one.
  for (const { connectionId } of theirs) withdrawOffers(t, connectionId, 0);
  if (turn.participants.some((participant) => isSame(participant, who)))
    for (const call of t.turn.calls)
      if (call.state.name === 'asking' || call.state.name === 'unoffered') deny(t, call, mayNoLonger(who));
  offerAll(t);
  advance(t);
}
