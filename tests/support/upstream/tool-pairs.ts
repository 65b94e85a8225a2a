/** How tool calls and their results must follow each other in a history. */
import { isObject, type Json, SERVER_RESULT } from './block-rules.js';

interface Turn {
  readonly role: unknown;
  readonly blocks: readonly Json[];
}

export function checkToolPairs(messages: readonly unknown[], problems: string[]): void {
  const turns = messages.map(toTurn);
  const seen = new Set<string>();
  turns.forEach((turn, at) => {
    if (turn.role === 'assistant') {
      checkUniqueIds(turn, at, seen, problems);
      checkAnswered(turn, turns[at + 1], at, problems);
    } else {
      checkResults(turn, turns[at - 1], at, problems);
    }
  });
  checkServerTools(turns, problems);
}

function toTurn(message: unknown): Turn {
  const content = isObject(message) ? message['content'] : undefined;
  const blocks = Array.isArray(content) ? content.filter(isObject) : [];
  return { role: isObject(message) ? message['role'] : undefined, blocks };
}

const idsOf = (turn: Turn | undefined, type: string, field: string): string[] =>
  (turn?.blocks ?? []).filter((b) => b['type'] === type).map((b) => String(b[field]));

function checkUniqueIds(turn: Turn, at: number, seen: Set<string>, problems: string[]): void {
  for (const id of [...idsOf(turn, 'tool_use', 'id'), ...idsOf(turn, 'server_tool_use', 'id')]) {
    if (seen.has(id)) problems.push(`messages.${at}: \`tool_use\` ids must be unique; ${id} was used before`);
    seen.add(id);
  }
}

/** Each call of the turn has its result in the very next message. */
function checkAnswered(turn: Turn, next: Turn | undefined, at: number, problems: string[]): void {
  const answered = new Set(next?.role === 'user' ? idsOf(next, 'tool_result', 'tool_use_id') : []);
  const open = idsOf(turn, 'tool_use', 'id').filter((id) => !answered.has(id));
  if (open.length > 0) {
    problems.push(
      `messages.${at}: \`tool_use\` ids were found without \`tool_result\` blocks immediately after: ${open.join(', ')}`,
    );
  }
}

/** Each result answers a call of the message before, once; results come first. */
function checkResults(turn: Turn, before: Turn | undefined, at: number, problems: string[]): void {
  const calls = new Set(before?.role === 'assistant' ? idsOf(before, 'tool_use', 'id') : []);
  const answered = new Set<string>();
  let others = 0;
  turn.blocks.forEach((block, i) => {
    if (block['type'] !== 'tool_result') {
      others += 1;
      return;
    }
    const id = String(block['tool_use_id']);
    const path = `messages.${at}.content.${i}`;
    if (!calls.has(id)) problems.push(`${path}: unexpected \`tool_use_id\`: ${id} is no call of the message before`);
    if (answered.has(id)) problems.push(`${path}: each \`tool_use\` must have a single result; ${id} has more`);
    if (others > 0) problems.push(`${path}: \`tool_result\` blocks must come before any other content`);
    answered.add(id);
  });
}

/** A server tool's result follows its call; only the last assistant message may have one that is not finished. */
function checkServerTools(turns: readonly Turn[], problems: string[]): void {
  const lastAssistant = turns.findLastIndex((t) => t.role === 'assistant');
  const open = new Map<string, number>();
  turns.forEach((turn, at) => {
    for (const block of turn.blocks) {
      const type = String(block['type']);
      if (type === 'server_tool_use') open.set(String(block['id']), at);
      else if (SERVER_RESULT.test(type) && !open.delete(String(block['tool_use_id']))) {
        problems.push(`messages.${at}: \`${type}\` without its \`server_tool_use\``);
      }
    }
  });
  for (const [id, at] of open) {
    if (at !== lastAssistant) problems.push(`messages.${at}: \`server_tool_use\` ${id} has no result`);
  }
}
