/** Counts of tokens where the provider's own did not come: from characters, on the high side. */
import type { Block } from '../../protocol/index.js';
import type { OpenBlock, SessionState, StepBlock, Turn } from './session-state.js';

/** English text is about 4 characters a token, code and other languages fewer. */
const CHARS_PER_TOKEN = 3.5;
/** What an image or a page costs is known to the provider alone; a usual one is below this. */
const TOKENS_PER_ATTACHMENT = 1_600;

const fromChars = (chars: number): number => Math.ceil(chars / CHARS_PER_TOKEN);

export function estimateOutputTokens(blocks: readonly StepBlock[], open: readonly OpenBlock[]): number {
  let chars = 0;
  for (const block of blocks) {
    if (block.kind === 'message') chars += charsOf(block.content);
    else if (block.kind === 'thinking') chars += String(block.block['thinking'] ?? block.block['data'] ?? '').length;
    else chars += block.name.length + JSON.stringify(block.input).length;
  }
  for (const block of open) {
    if (block.kind === 'message') chars += charsOf(block.content);
    else if (block.kind === 'thinking') chars += block.thinking.length;
    else chars += block.name.length + block.json.length;
  }
  return fromChars(chars);
}

export function estimateInputTokens(state: SessionState, turn: Turn): number {
  let chars = state.agent.system?.length ?? 0;
  let attachments = 0;
  for (const item of [...state.history, ...turn.items]) {
    if (item.kind === 'user') {
      chars += charsOf(item.content);
      attachments += item.content.filter((b) => b.type !== 'text').length;
    } else if (item.step !== turn.step || item.turnId !== turn.turnId) {
      for (const block of item.blocks) chars += charsOfStepBlock(block);
    }
  }
  return fromChars(chars) + attachments * TOKENS_PER_ATTACHMENT;
}

function charsOfStepBlock(block: StepBlock): number {
  if (block.kind === 'message') return charsOf(block.content);
  if (block.kind === 'thinking') return 0;
  return JSON.stringify(block.input).length + (block.result ? charsOf(block.result.content) : 0);
}

const charsOf = (content: readonly Block[]): number =>
  content.reduce((sum, block) => sum + (block.type === 'text' ? String(block['text'] ?? '').length : 0), 0);
