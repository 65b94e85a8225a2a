/** The laws that a session's whole log can be held against. */
import type { LoggedEvent } from '../../../protocol/index.js';
import type { Witness } from './witness.js';

export function checkLogLaws(events: readonly LoggedEvent[], witness: Witness): void {
  checkTurns(events, witness);
  checkCancelled(events, witness);
  checkResults(events, witness);
  checkMessages(events, witness);
}

/** TURN-1: one turn at a time, each ended once, nothing of it afterwards. */
function checkTurns(events: readonly LoggedEvent[], { report }: Witness): void {
  const ended = new Set<string>();
  let running: string | undefined;
  for (const { type, seq, turn_id } of events) {
    if (turn_id === undefined) continue;
    if (ended.has(turn_id)) report(`[TURN-1] ${type} ${seq} came after the end of ${turn_id}`);
    if (type === 'turn.started') {
      if (running !== undefined) report(`[TURN-1] ${turn_id} started at ${seq} while ${running} ran`);
      running = turn_id;
    }
    if (type !== 'turn.ended') continue;
    ended.add(turn_id);
    if (running === turn_id) running = undefined;
  }
  if (running !== undefined) report(`[TURN-1] ${running} never ended`);
}

/** CAN-2: no delta and no new tool above the interrupt. */
function checkCancelled(events: readonly LoggedEvent[], { report, deltas }: Witness): void {
  const cancelled = new Map<string, number>();
  for (const { type, seq, turn_id } of events) {
    if (turn_id === undefined) continue;
    if (type === 'user.interrupt') cancelled.set(turn_id, seq);
    else if (type === 'tool.started' && cancelled.has(turn_id))
      report(`[CAN-2] a tool started at ${seq}, after the interrupt at ${cancelled.get(turn_id)}`);
  }
  for (const { seq, turnId } of deltas)
    if (seq > (cancelled.get(turnId) ?? seq))
      report(`[CAN-2] delta ${seq} of ${turnId} came after the interrupt at ${cancelled.get(turnId)}`);
}

/** Each call that stands has one result. */
function checkResults(events: readonly LoggedEvent[], { report }: Witness): void {
  const open = new Set<string>();
  for (const event of events) {
    if (event.type === 'agent.tool_use' || event.type === 'agent.custom_tool_use') open.add(event.id);
    else if (event.type === 'step.superseded') for (const id of event.discard_event_ids) open.delete(id);
    else if (event.type === 'agent.tool_result' && !open.delete(event.tool_use_id))
      report(`[TURN-3] the result ${event.seq} is for no call, or its second`);
  }
  if (open.size > 0) report(`[TURN-3] calls without a result: ${[...open].join()}`);
}

/** What was streamed is what was said. */
function checkMessages(events: readonly LoggedEvent[], { report, deltas }: Witness): void {
  const streamed = new Map<string, string>();
  for (const { eventId, text } of deltas) streamed.set(eventId, (streamed.get(eventId) ?? '') + text);
  for (const event of events) {
    if (event.type !== 'agent.message') continue;
    const text = event.content.map((block) => String(block['text'] ?? '')).join('');
    const said = streamed.get(event.id);
    if (said !== undefined && said !== text) report(`[CAN-3] ${event.seq} says ${text}; streamed was ${said}`);
  }
}
