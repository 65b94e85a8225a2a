/** The stop button: cancels what runs or waits, at any moment, and is never an error for what has already ended (CAN-1, CAN-4). */
import type { UserInterrupt } from '../../protocol/index.js';
import type { EndedTurn, Named, Participant, SessionState } from './session-state.js';
import { type Reply, refuse, type Transition } from './transition.js';
import { endQueued, endTurn } from './turn-end.js';

export function interrupt(t: Transition, command: UserInterrupt, from: Participant): Reply {
  const target = findTarget(t.state, command);
  if (target === undefined) return refuse('turn_not_found');
  if (typeof target === 'object') {
    if (command.scope === 'turn_and_queue' && t.state.queue.length > 0) return interruptQueue(t, command, from, target);
    return accept(target.endedSeq, target.turnId === '' ? undefined : target.turnId, 'already_ended');
  }
  const logged = echo(t, command, from, target);
  if (command.scope === 'turn_and_queue') {
    // Steers would become turns of their own.
    if (t.state.turn?.turnId === target) t.patchTurn({ steers: [] });
    for (const queued of t.state.queue) if (queued.turnId !== target) endQueued(t, queued.turnId, 'cancelled');
  }
  if (t.state.turn?.turnId === target) endTurn(t, 'cancelled');
  else endQueued(t, target, 'cancelled');
  return accept(logged.seq, target, 'cancelled');
}

/** The turn has ended, but what was to follow it is cancelled. */
function interruptQueue(t: Transition, command: UserInterrupt, from: Participant, ended: EndedTurn): Reply {
  const logged = echo(t, command, from, undefined);
  for (const queued of t.state.queue) endQueued(t, queued.turnId, 'cancelled');
  return accept(logged.seq, ended.turnId === '' ? undefined : ended.turnId, 'already_ended');
}

function echo(t: Transition, command: UserInterrupt, from: Participant, turnId: string | undefined) {
  return t.emit({
    type: 'user.interrupt',
    ...(turnId !== undefined && { turn_id: turnId }),
    actor: { user_id: from.user_id },
    command_id: command.id,
    outcome: turnId === undefined ? 'already_ended' : 'cancelled',
    ...(command.scope && { scope: command.scope }),
    ...(command.reason !== undefined && { reason: command.reason }),
  });
}

const NEVER: EndedTurn = { turnId: '', messageId: '', commandId: '', endedSeq: 0, joined: [] };

/** The id of a running or queued turn, the record of an ended one, or nothing. */
function findTarget(state: SessionState, command: UserInterrupt): string | EndedTurn | undefined {
  const { turn_id, message_id, command_id } = command;
  if (turn_id === undefined && message_id === undefined && command_id === undefined)
    return state.turn?.turnId ?? state.queue[0]?.turnId ?? state.ended.at(-1) ?? { ...NEVER, endedSeq: state.seq };
  const isNamed = (ids: Named & { readonly turnId: string }): boolean =>
    (turn_id === undefined || ids.turnId === turn_id) &&
    (message_id === undefined || ids.messageId === message_id) &&
    (command_id === undefined || ids.commandId === command_id);
  // A message that steers is part of the turn it joined.
  const isIn = (of: Named & { readonly turnId: string }, joined: readonly Named[]): boolean =>
    isNamed(of) || joined.some((names) => isNamed({ turnId: of.turnId, ...names }));
  const { turn } = state;
  if (turn) {
    const pending = turn.steers.map(({ steerId, commandId }) => ({ messageId: steerId, commandId }));
    if (isIn(turn, [...turn.joined, ...pending])) return turn.turnId;
  }
  return state.queue.find(isNamed)?.turnId ?? state.ended.find((ended) => isIn(ended, ended.joined));
}

const accept = (appliedAtSeq: number, turnId: string | undefined, outcome: 'cancelled' | 'already_ended'): Reply => ({
  ok: true,
  appliedAtSeq,
  result: { ...(turnId !== undefined && { turn_id: turnId }), outcome },
});
