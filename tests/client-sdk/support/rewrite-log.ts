/** The same log as another subscriber may get it: deltas merged, or trimmed once their event is complete. */
import type { SessionEvent } from '../../../protocol/events.js';
import type { Random } from './random.js';

export function mergeDeltas(events: readonly SessionEvent[], random: Random): SessionEvent[] {
  const merged: SessionEvent[] = [];
  for (const event of events) {
    const last = merged.at(-1);
    const isMerged = last?.type === 'event_delta' && event.type === 'event_delta' && random.chance(0.7);
    const joined = isMerged ? join(last, event) : undefined;
    if (joined) merged[merged.length - 1] = joined;
    else merged.push(event);
  }
  return merged;
}

type DeltaEvent = Extract<SessionEvent, { type: 'event_delta' }>;

function join(a: DeltaEvent, b: DeltaEvent): DeltaEvent | undefined {
  if (a.event_id !== b.event_id) return undefined;
  const left = a.delta;
  const right = b.delta;
  if (left.type === 'content_delta' && right.type === 'content_delta' && left.index === right.index)
    return { ...b, delta: { ...left, content: { type: 'text', text: left.content.text + right.content.text } } };
  if (left.type === 'thinking_delta' && right.type === 'thinking_delta')
    return { ...b, delta: { type: 'thinking_delta', thinking: left.thinking + right.thinking } };
  if (left.type === 'input_json_delta' && right.type === 'input_json_delta')
    return { ...b, delta: { type: 'input_json_delta', partial_json: left.partial_json + right.partial_json } };
  return undefined;
}

/** Without the deltas, and the starts, of everything that has its completed event. */
export function trimDeltas(events: readonly SessionEvent[]): SessionEvent[] {
  const completed = new Set(events.map((event) => ('id' in event ? event.id : undefined)));
  return events.filter((event) => {
    if (event.type === 'event_delta') return !completed.has(event.event_id);
    return event.type === 'event_start' ? !completed.has(event.event.id) : true;
  });
}
