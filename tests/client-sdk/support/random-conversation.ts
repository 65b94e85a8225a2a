/** A whole conversation as the server would log it: several turns with text, thinking, tools, approvals, queues, steps run again, and cancels. */
import type { SessionEvent } from '../../../protocol/events.js';
import { createRandom, type Random } from './random.js';

const USAGE = { input_tokens: 3, output_tokens: 5, cache_creation_input_tokens: 0, cache_read_input_tokens: 1 };

class Author {
  readonly events: SessionEvent[] = [];
  #ids = 0;
  constructor(readonly random: Random) {}

  newId(prefix: string): string {
    this.#ids += 1;
    return `${prefix}_${this.#ids}`;
  }

  log(draft: Record<string, unknown>): void {
    const seq = this.events.length + 1;
    const own =
      draft['type'] === 'event_delta' ? {} : { id: `sevt_at_${seq}`, processed_at: '2026-01-01T00:00:00.000Z' };
    this.events.push({ ...own, session_id: 's', seq, ...draft } as unknown as SessionEvent);
  }
}

export function randomConversation(seed: number): SessionEvent[] {
  const author = new Author(createRandom(seed));
  const { random } = author;
  const queue: string[] = [];
  const say = (): void => {
    const turnId = author.newId('turn');
    const content = [{ type: 'text', text: `prompt of ${turnId}` }];
    const ids = { turn_id: turnId, message_id: author.newId('msg'), command_id: turnId };
    author.log({ type: 'user.message', ...ids, position: queue.length, content, actor: { user_id: 'ann' } });
    queue.push(turnId);
  };
  let turns = 1 + random.below(3);
  say();
  while (queue.length > 0) {
    const turnId = queue.shift()!;
    runTurn(author, turnId, () => {
      if (turns-- > 0) say();
    });
    if (queue.length === 0) author.log({ type: 'session.status_idle', stop_reason: { type: 'end_turn' } });
  }
  return author.events;
}

function runTurn(author: Author, turnId: string, mayQueue: () => void): void {
  const { random } = author;
  const payer = { user_id: 'ann', org_id: 'o' };
  const deadline_at = '2026-01-01T00:05:00.000Z';
  author.log({ type: 'turn.started', turn_id: turnId, model: 'm', payer, deadline_at, tools: [], client_tools: [] });
  author.log({ type: 'session.status_running' });
  const steps = 1 + random.below(3);
  let isCancelled = false;
  for (let step = 1; step <= steps && !isCancelled; step++) {
    if (random.chance(0.15)) runStep(author, turnId, step, 'superseded');
    isCancelled = random.chance(0.15);
    runStep(author, turnId, step, isCancelled ? 'cancelled' : 'complete', step < steps ? 'calls' : 'any');
    if (random.chance(0.3)) mayQueue();
  }
  const stop_reason = isCancelled ? 'cancelled' : 'end_turn';
  const end = { usage: USAGE, estimated: isCancelled, cost_usd: 0.002, duration_ms: 5, partial: isCancelled };
  author.log({ type: 'turn.ended', turn_id: turnId, stop_reason, ...end });
}

type Fate = 'complete' | 'cancelled' | 'superseded';

/** `calls`: the last block is a tool call, for only then does another step follow. */
function runStep(author: Author, turnId: string, step: number, fate: Fate, last: 'calls' | 'any' = 'any'): void {
  const { random } = author;
  const at = { turn_id: turnId, step, attempt: 1 };
  author.log({ type: 'span.model_request_start', ...at, model: 'm' });
  const made: string[] = [];
  const tools: string[] = [];
  const blocks = 1 + random.below(4);
  for (let index = 0; index < blocks; index++) {
    const isCut = fate !== 'complete' && index === blocks - 1;
    const id = author.newId('block');
    made.push(id);
    const kind = last === 'calls' && index === blocks - 1 ? 2 : random.below(3);
    if (kind === 0) writeThinking(author, { ...at, index }, id, isCut);
    else if (kind === 1) writeMessage(author, { ...at, index }, id, isCut ? fate : 'complete');
    else if (writeTool(author, { ...at, index }, id, isCut)) tools.push(id);
  }
  if (fate === 'superseded') {
    author.log({ type: 'step.superseded', turn_id: turnId, step, discard_event_ids: made });
    return;
  }
  const span = { model_request_start_id: 'x', is_error: false, stop_reason: 'end_turn', model_usage: USAGE };
  author.log({ type: 'span.model_request_end', ...at, ...span, estimated: false, cost_usd: 0.001 });
  for (const id of tools.sort(() => random.next() - 0.5)) runTool(author, turnId, id);
}

type Place = Record<string, unknown> & { index: number };

function writeDeltas(author: Author, place: Place, id: string, toDelta: (text: string) => object): string {
  let whole = '';
  for (let left = 1 + author.random.below(4); left > 0; left--) {
    const text = `${author.newId('w')} `;
    whole += text;
    author.log({ type: 'event_delta', turn_id: place['turn_id'], event_id: id, delta: toDelta(text) });
  }
  return whole;
}

function writeMessage(author: Author, place: Place, id: string, fate: Fate): void {
  author.log({ type: 'event_start', ...place, event: { type: 'agent.message', id } });
  const toDelta = (text: string): object => ({ type: 'content_delta', index: 0, content: { type: 'text', text } });
  const text = writeDeltas(author, place, id, toDelta);
  if (fate === 'superseded') return;
  const status = fate === 'cancelled' ? 'incomplete' : 'complete';
  author.log({ type: 'agent.message', ...place, id, content: [{ type: 'text', text }], status });
}

function writeThinking(author: Author, place: Place, id: string, isCut: boolean): void {
  author.log({ type: 'event_start', ...place, event: { type: 'agent.thinking', id } });
  const thinking = writeDeltas(author, place, id, (text) => ({ type: 'thinking_delta', thinking: text }));
  if (!isCut) author.log({ type: 'agent.thinking', ...place, id, thinking, signature: 's', model: 'm' });
}

/** Whether the call became one. */
function writeTool(author: Author, place: Place, id: string, isCut: boolean): boolean {
  const { random } = author;
  const type = random.chance(0.5) ? 'agent.tool_use' : 'agent.custom_tool_use';
  author.log({ type: 'event_start', ...place, event: { type, id } });
  writeDeltas(author, place, id, (text) => ({ type: 'input_json_delta', partial_json: text }));
  if (isCut) return false;
  const evaluated_permission = random.chance(0.3) ? 'ask' : 'allow';
  const call = { name: 'look', label: 'look', input: { id }, model_tool_use_id: `toolu_${id}` };
  author.log({ type, ...place, id, ...call, evaluated_permission });
  return true;
}

function runTool(author: Author, turnId: string, id: string): void {
  const { random } = author;
  const use = author.events.find((event) => 'id' in event && event.id === id);
  const isAsked = use && 'evaluated_permission' in use && use.evaluated_permission === 'ask';
  const at = { turn_id: turnId, tool_use_id: id };
  let outcome = random.chance(0.8) ? 'ok' : 'error';
  if (isAsked) {
    const pending = [{ kind: 'confirmation', tool_use_id: id, expires_at: '2026-01-01T00:05:00.000Z' }];
    author.log({ type: 'turn.waiting', turn_id: turnId, pending });
    author.log({ type: 'session.status_idle', stop_reason: { type: 'requires_action', event_ids: [id] } });
    const isAllowed = random.chance(0.6);
    const answer = { result: isAllowed ? 'allow' : 'deny', command_id: `c_${id}` };
    const edit = isAllowed && random.chance(0.5) ? { updated_input: { id, edited: true } } : {};
    author.log({ type: 'user.tool_confirmation', ...at, ...answer, ...edit });
    author.log({ type: 'turn.resumed', turn_id: turnId, deadline_at: '2026-01-01T00:06:00.000Z' });
    author.log({ type: 'session.status_running' });
    if (!isAllowed) outcome = 'denied';
  }
  if (outcome === 'denied') {
    author.log({ type: 'tool.denied', ...at, rule: 'asked' });
  } else if (use?.type === 'agent.custom_tool_use') {
    author.log({ type: 'tool.offered', ...at, connection_id: 'conn_1', expires_at: '2026-01-01T00:05:00.000Z' });
    if (random.chance(0.5)) author.log({ type: 'tool.progress', ...at, percent: 50 });
  } else {
    author.log({ type: 'tool.started', ...at, name: 'look', label: 'look' });
    if (random.chance(0.5)) author.log({ type: 'tool.progress', ...at, message: 'half' });
  }
  const content = [{ type: 'text', text: `result of ${id}` }];
  author.log({ type: 'agent.tool_result', ...at, content, is_error: outcome !== 'ok', outcome, duration_ms: 3 });
}
