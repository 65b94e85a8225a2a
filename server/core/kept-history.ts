/** What of an ended turn stays in the history, so that a session can't be poisoned (TURN-5). */
import type { EventOf } from '../../protocol/index.js';
import type { HistoryItem, SessionState, StepBlock, Turn } from './session-state.js';

/** Whether it was the history, and not the message, that didn't fit the model's window: then no message would fit (TURN-5). */
export function isHistoryTooLong(state: SessionState, turn: Turn, event: EventOf<'turn.ended'>): boolean {
  const isWindow = event.error?.code === 'context_window_exceeded';
  return isWindow && turn.step <= 1 && sizeOf(turn.items) * 2 < sizeOf(state.history.slice(state.replayFrom));
}

/** The first turn of the later half of what is replayed now. */
export function toLaterHalf(state: SessionState): number {
  const { history, replayFrom } = state;
  const starts = history.flatMap((item, at) =>
    at > replayFrom && item.turnId !== history[at - 1]?.turnId ? [at] : [],
  );
  const half = replayFrom + (history.length - replayFrom) / 2;
  return starts.find((at) => at >= half) ?? history.length;
}

const sizeOf = (items: readonly HistoryItem[]): number => JSON.stringify(items).length;

/** What of an ended turn is replayed: nothing that would poison the session (TURN-5). */
export function toKept(turn: Turn, event: EventOf<'turn.ended'>): readonly HistoryItem[] {
  const isFailed = event.stop_reason !== 'cancelled' && event.partial && event.error !== undefined;
  if (event.stop_reason === 'refusal') {
    // The provider asks to take a refused exchange back: it would refuse whatever follows it.
    const kept = turn.items.filter((item) => !isStep(item, turn.step));
    return turn.step <= 1 ? [] : kept;
  }
  if (isFailed && !isProduced(turn)) return [];
  const isOurs = event.error?.code === 'upstream_refused' || event.error?.code === 'context_window_exceeded';
  return isOurs ? withoutLastAdditions(turn.items) : turn.items;
}

/** Takes back what the refused request added to the last one that was accepted: steers go, results become a note. */
function withoutLastAdditions(items: readonly HistoryItem[]): readonly HistoryItem[] {
  const kept = items.filter((item) => item.kind === 'user' || item.blocks.length > 0);
  while (kept.length > 1 && kept.at(-1)?.kind === 'user') kept.pop();
  const last = kept.at(-1);
  if (last?.kind === 'step') kept[kept.length - 1] = { ...last, blocks: last.blocks.map((b) => replaceResult(b)) };
  return kept;
}

/**
 * The history before an ended turn. Where the API refused the turn's first request, what it had never taken before is
 * as likely the cause as the new message: messages go, results become a note.
 */
export function toTrusted(state: SessionState, turn: Turn, event: EventOf<'turn.ended'>): readonly HistoryItem[] {
  const isRefused = event.error?.code === 'upstream_refused' && turn.step <= 1 && !isProduced(turn);
  if (!isRefused) return state.history;
  return state.history.flatMap((item, at) => {
    if (at < state.proven) return [item];
    return item.kind === 'user' ? [] : [{ ...item, blocks: item.blocks.map(replaceResult) }];
  });
}

const isProduced = (turn: Turn): boolean => turn.items.some((item) => item.kind === 'step' && item.blocks.length > 0);

const REPLACED = 'The result was left out: the model’s API did not accept it.';

export function replaceResult(block: StepBlock): StepBlock {
  if (block.kind !== 'call' || !block.result) return block;
  return { ...block, result: { content: [{ type: 'text', text: REPLACED }], isError: true } };
}

const isStep = (item: HistoryItem, step: number): boolean => item.kind === 'step' && item.step === step;
