/** Reads from a request what a script goes by: which prompt, how many rounds since, and what tools answered. */
import type { Block, Message } from '../../../protocol/index.js';
import type { ModelRequest } from '../../ports/model.js';

export interface Place {
  /** The text of the prompt that is answered. */
  readonly prompt: string;
  /** Its number in the conversation, from 1. */
  readonly turn: number;
  /** Answers of the model since that prompt; 0 for its first one. */
  readonly round: number;
  /** The newest text of the user: the prompt, or what was said beside the tool results since. */
  readonly lastUserText: string;
  /** What the tools of the last round answered. */
  readonly toolResult: string;
}

export function findPlace({ messages, step }: Pick<ModelRequest, 'messages' | 'step'>): Place {
  let round = 0;
  let at = messages.length - 1;
  for (; at > 0; at--) {
    const message = messages[at] as Message;
    if (message.role === 'assistant') round += 1;
    // A prompt stands alone, or behind the results of a turn that was cancelled: then the step tells it from a steer.
    else if (!hasResults(message) || (round === step - 1 && textsOf(message).length > 0)) break;
  }
  const prompts = messages.slice(0, at).reduce((sum, message) => sum + promptsIn(message), 0);
  const prompt = messages[at];
  const last = messages.at(-1);
  return {
    prompt: (prompt && textsOf(prompt).at(-1)) ?? '',
    turn: prompts + (prompt && !hasResults(prompt) ? promptsIn(prompt) : 1),
    round,
    lastUserText: messages.filter(isUser).flatMap(textsOf).at(-1) ?? '',
    toolResult: last && isUser(last) ? last.content.filter(isResult).map(toResultText).join('\n') : '',
  };
}

/** Prompts that no answer came between are one message: each of its texts counts. */
const promptsIn = (message: Message): number =>
  isUser(message) && !hasResults(message) ? Math.max(1, textsOf(message).length) : 0;

const isUser = (message: Message): boolean => message.role === 'user';
const isResult = (block: Block): boolean => block.type === 'tool_result';
const hasResults = (message: Message): boolean => message.content.some(isResult);

const toTexts = (blocks: readonly Block[]): string[] =>
  blocks.flatMap((block) => (block.type === 'text' ? [String(block['text'])] : []));

const textsOf = (message: Message): string[] => toTexts(message.content);

function toResultText({ content }: Block): string {
  if (typeof content === 'string') return content;
  return Array.isArray(content) ? toTexts(content as Block[]).join('\n') : '';
}
