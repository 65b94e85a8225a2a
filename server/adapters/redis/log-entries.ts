/** Entries of a session's streams, as Redis gives them back. */
import type { StoredEvent } from '../../ports/event-log.js';

export type Entry = [id: string, fields: string[]];

export const seqOf = (id: string): number => Number(id.slice(0, id.indexOf('-')));

/** The fields as `log-append` writes them: t, type, u, turn, a, when, j, JSON. */
export function toStoredEvent([id, fields]: Entry): StoredEvent {
  const [, type = '', , turnId = '', , , , json = ''] = fields;
  return { seq: seqOf(id), type, turnId: turnId || undefined, json };
}
