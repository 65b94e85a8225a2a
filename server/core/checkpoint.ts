/** The state as it is kept beside the log, so that a session opens without reading its whole past. */
import { type SessionState, toFirstMembers } from './session-state.js';

/** Only between turns: a turn's state lives in its events. */
export const canCheckpoint = (state: SessionState): boolean => state.turn === undefined;

export function toCheckpoint(state: SessionState): string {
  const { registrations, ...kept } = state;
  return JSON.stringify(kept);
}

/** Reads what `toCheckpoint` wrote; `epoch` is the log's of today. */
export function fromCheckpoint(json: string, epoch: string): SessionState {
  const kept = JSON.parse(json) as Omit<SessionState, 'registrations'>;
  // Written before sessions were shared, it names none.
  const members = kept.members ?? toFirstMembers(kept.owner);
  return { ...kept, members, turn: undefined, registrations: [], epoch };
}
