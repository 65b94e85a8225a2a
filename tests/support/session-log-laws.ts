/** What must hold of a whole log, once its session is at rest: TURN-1, and how a turn may end after what happened to it. */
import type { LoggedEvent } from './command-book.js';
import type { Disturbance } from './node-saboteur.js';

const MAX_RECOVERIES = 3;
/** What a turn may say of an upstream that fails. */
const UPSTREAM_CODES = /^(upstream_|circuit_open$|overloaded$)/;
const STOPS = ['end_turn', 'cancelled', 'interrupted_by_message', 'max_steps'];

export interface Happened {
  readonly disturbances: readonly Disturbance[];
  readonly faults: 'none' | 'some';
}

export function lawsOfLog(log: readonly LoggedEvent[], happened: Happened): readonly string[] {
  const found: string[] = [];
  const turns = new Set<string>();
  const ended = new Set<string>();
  const recoveries = new Map<string, number>();
  let running: string | undefined;
  let last = 0;
  for (const event of log) {
    const { type, seq, turn_id: turnId } = event;
    if (seq <= last) found.push(`[LOG-1] ${type} ${seq} follows ${last}`);
    last = seq;
    if (turnId === undefined) continue;
    if (ended.has(turnId)) found.push(`[TURN-1] ${type} ${seq} follows the end of ${turnId}`);
    if (type === 'user.message' || type === 'turn.queued') turns.add(turnId);
    if (type === 'turn.resumed' && event['recovery'] !== undefined)
      recoveries.set(turnId, (recoveries.get(turnId) ?? 0) + 1);
    if (type === 'turn.started') {
      if (running !== undefined) found.push(`[TURN-1] ${turnId} began at ${seq} while ${running} ran`);
      running = turnId;
    }
    if (type !== 'turn.ended') continue;
    ended.add(turnId);
    if (running === turnId) running = undefined;
    found.push(...lawsOfEnd(event, recoveries.get(turnId) ?? 0, happened));
  }
  for (const turnId of turns) if (!ended.has(turnId)) found.push(`[TURN-1] ${turnId} has no end`);
  return found;
}

/** A loss is told only after as many recoveries as NODE-2 allows, each of which was somebody's deed. */
function lawsOfEnd(event: LoggedEvent, recovered: number, { disturbances, faults }: Happened): readonly string[] {
  const stop = String(event['stop_reason']);
  const error = event['error'] as { readonly code?: string } | undefined;
  const sentence = `the turn of ${event.seq} ended with ${stop} ${JSON.stringify(error ?? {})} after ${recovered} recoveries`;
  if (recovered > disturbances.length) return [`[NODE-2] ${sentence} and ${disturbances.length} disturbances`];
  if (STOPS.includes(stop)) return [];
  if (stop === 'node_lost') return recovered >= MAX_RECOVERIES ? [] : [`[NODE-2] ${sentence}`];
  if (stop === 'error' && faults === 'some' && UPSTREAM_CODES.test(error?.code ?? '')) return [];
  return [`[TURN-1] ${sentence}`];
}
