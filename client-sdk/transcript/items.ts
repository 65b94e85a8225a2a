/** Finds, places and changes items of a transcript. A change copies the list and the one item, nothing else. */
import type { EventOf } from '../../protocol/events.js';
import type { Transcript, TranscriptItem } from './transcript.js';

/** Begins the ids of what a snapshot's history doesn't name; they never meet those of events. */
export const SNAPSHOT_ID = 'snapshot:';

/** From the end: what changes is nearly always among the last. */
export function findItem(items: readonly TranscriptItem[], id: string): number {
  for (let at = items.length - 1; at >= 0; at--) if (items[at]!.id === id) return at;
  return -1;
}

const stepIndexOf = (item: TranscriptItem): number | undefined => ('index' in item ? item.index : undefined);

const isSameStep = (a: TranscriptItem, b: TranscriptItem): boolean =>
  'step' in a && 'step' in b && a.step !== undefined && a.turnId === b.turnId && a.step === b.step;

/**
 * Puts an item where it belongs, or in the place of the one with its id. Blocks of one step are sorted by their index,
 * so that the order is the same whether or not the deltas were seen.
 */
export function putItem(items: readonly TranscriptItem[], item: TranscriptItem): readonly TranscriptItem[] {
  const known = findItem(items, item.id);
  if (known >= 0) return items.with(known, item);
  const index = stepIndexOf(item);
  let at = items.length;
  if (index !== undefined)
    while (at > 0 && isSameStep(items[at - 1]!, item) && (stepIndexOf(items[at - 1]!) ?? -1) > index) at -= 1;
  return at === items.length ? [...items, item] : items.toSpliced(at, 0, item);
}

/** Changes one item, if it is there and of that kind. */
export function changeItem<K extends TranscriptItem['kind']>(
  state: Transcript,
  id: string,
  kind: K,
  change: (item: Extract<TranscriptItem, { kind: K }>) => Extract<TranscriptItem, { kind: K }>,
): Transcript {
  const at = findItem(state.items, id);
  const item = state.items[at];
  if (item?.kind !== kind) return state;
  return { ...state, items: state.items.with(at, change(item as Extract<TranscriptItem, { kind: K }>)) };
}

const isUnfinished = (item: TranscriptItem): boolean =>
  ('status' in item && item.status === 'streaming') || (item.kind === 'tool' && item.status === 'writing');

/** Takes away what a turn began and the log never completed: it is in no history. */
export function dropUnfinished(state: Transcript, turnId: string | undefined): Transcript {
  const isLeft = (item: TranscriptItem): boolean => !(isUnfinished(item) && item.turnId === turnId);
  return state.items.every(isLeft) ? state : { ...state, items: state.items.filter(isLeft) };
}

/** Takes away a step that is to be run again: by the ids of its events, and what a snapshot told of it without ids. */
export function dropStep(
  state: Transcript,
  { turn_id: turnId, step, discard_event_ids: ids }: EventOf<'step.superseded'>,
): Transcript {
  const isNameless = (item: TranscriptItem): boolean =>
    item.id.startsWith(SNAPSHOT_ID) && 'step' in item && item.turnId === turnId && item.step === step;
  const items = state.items.filter((item) => !ids.includes(item.id) && !isNameless(item));
  return dropUnfinished({ ...state, items }, turnId);
}
