/** Counts of tokens where the provider's own are not there: estimates of what was used, bounds of what may be. */
import type { Block, ClientTool } from '../../protocol/index.js';
import type { HistoryItem, OpenBlock, SessionState, StepBlock, Turn } from './session-state.js';

/** English text is about 4 characters a token, code and other languages fewer. */
const CHARS_PER_TOKEN = 3.5;
/** What an image or a document costs is known to the provider alone; a usual one is below this. */
const TOKENS_PER_ATTACHMENT = 1_600;
/** The provider scales images down until they cost less, whatever their bytes and pixels. */
const MOST_TOKENS_PER_IMAGE = 5_000;
/** Neither bytes nor anything else that is quickly read bounds a PDF; the context window of the models does. */
const MOST_TOKENS_PER_PDF = 1_000_000;
/** What a message, a block or a tool costs beside its text. */
const TOKENS_PER_PART = 8;
/** What the request's own structure costs: roles, block markers, the tool-use preamble. */
const TOKENS_OF_FRAME = 500;

interface ToolText {
  readonly name: string;
  readonly description: string;
  readonly input_schema: object;
}

interface Size {
  readonly chars: number;
  /** Of the text as UTF-8; no tokenizer makes more tokens than bytes. */
  readonly bytes: number;
  readonly parts: number;
  readonly attachments: number;
  /** The most that the attachments may cost. */
  readonly attachedTokens: number;
}

/** The most that the next request may send. */
export interface InputBound {
  readonly tokens: number;
  /** Whether it holds images or PDFs: then the bound is far above what is usual, and a count is better. */
  readonly hasAttachments: boolean;
}

/** Tokens of what a step made so far, complete and in the making. */
export function estimateOutputTokens(blocks: readonly StepBlock[], open: readonly OpenBlock[]): number {
  const texts = [...blocks.flatMap(textsOfStepBlock), ...open.flatMap(textsOfOpenBlock)];
  // By bytes: scripts in which a character is a token or two have two or three bytes for it.
  return Math.ceil(texts.reduce((sum, text) => sum + utf8Length(text), 0) / CHARS_PER_TOKEN);
}

/** Tokens that the request of the running step sent. */
export function estimateInputTokens(state: SessionState, turn: Turn, tools: ReadonlyMap<string, ToolText>): number {
  const sent = turn.items.filter((item) => item.kind === 'user' || item.step !== turn.step);
  const { chars, attachments } = measure(state, sent, toolsOf(turn, tools));
  return Math.ceil(chars / CHARS_PER_TOKEN) + attachments * TOKENS_PER_ATTACHMENT;
}

/** At least the tokens that the next request will send (BUD-1). */
export function boundInputTokens(state: SessionState, turn: Turn, tools: ReadonlyMap<string, ToolText>): InputBound {
  return toBound(measure(state, turn.items, toolsOf(turn, tools)));
}

/** The same for the first request of a turn that does not exist yet. */
export function boundFirstInputTokens(
  state: SessionState,
  content: readonly Block[],
  tools: ReadonlyMap<string, ToolText>,
): InputBound {
  const clientTools = state.registrations.flatMap((registration) => registration.tools);
  return toBound(measure(state, [{ kind: 'user', turnId: '', id: '', content }], [...tools.values(), ...clientTools]));
}

const toBound = ({ bytes, parts, attachments, attachedTokens }: Size): InputBound => ({
  tokens: bytes + parts * TOKENS_PER_PART + attachedTokens + TOKENS_OF_FRAME,
  hasAttachments: attachments > 0,
});

function toolsOf(turn: Turn, tools: ReadonlyMap<string, ToolText>): readonly (ToolText | ClientTool)[] {
  return [...turn.serverTools.flatMap((name) => tools.get(name) ?? []), ...turn.clientTools];
}

function measure(state: SessionState, items: readonly HistoryItem[], tools: readonly ToolText[]): Size {
  let chars = 0;
  let bytes = 0;
  let parts = 0;
  let attachments = 0;
  let attachedTokens = 0;
  const add = (text: string): void => {
    parts++;
    chars += text.length;
    bytes += utf8Length(text);
  };
  add(state.agent.system ?? '');
  for (const { name, description, input_schema } of tools) add(name + description + JSON.stringify(input_schema));
  for (const item of [...state.history.slice(state.replayFrom), ...items]) {
    const contents = item.kind === 'user' ? [item.content] : item.blocks.map(resultOf);
    if (item.kind === 'step') for (const text of item.blocks.flatMap(textsOfStepBlock)) add(text);
    for (const block of contents.flat()) {
      const text = block.type === 'text' ? block['text'] : plainTextOf(block);
      if (block.type === 'document') add(`${block['title'] ?? ''}${block['context'] ?? ''}`);
      if (typeof text === 'string') {
        add(text);
        continue;
      }
      attachments++;
      attachedTokens += block.type === 'image' ? MOST_TOKENS_PER_IMAGE : MOST_TOKENS_PER_PDF;
    }
  }
  return { chars, bytes, parts, attachments, attachedTokens };
}

/** A document that is plain text costs what its text costs. */
function plainTextOf(block: Block): unknown {
  const source = block['source'] as { type?: string; data?: string } | undefined;
  return source?.type === 'text' ? source.data : undefined;
}

const resultOf = (block: StepBlock): readonly Block[] => (block.kind === 'call' ? (block.result?.content ?? []) : []);

function textsOfStepBlock(block: StepBlock): string[] {
  switch (block.kind) {
    case 'message':
      return block.content.map(textOf);
    case 'thinking':
      return [String(block.block['thinking'] ?? block.block['data'] ?? '')];
    case 'call':
      return [block.name, JSON.stringify(block.input)];
  }
}

function textsOfOpenBlock(block: OpenBlock): string[] {
  switch (block.kind) {
    case 'message':
      return block.content.map(textOf);
    case 'thinking':
      return [block.thinking];
    case 'call':
      return [block.name, block.json];
  }
}

const textOf = (block: Block): string => (block.type === 'text' ? String(block['text'] ?? '') : JSON.stringify(block));

function utf8Length(text: string): number {
  let bytes = text.length;
  for (let at = 0; at < text.length; at++) {
    const code = text.charCodeAt(at);
    if (code < 0x80) continue;
    // Each half of a surrogate pair is two of its four bytes.
    bytes += code < 0x800 || (code >= 0xd800 && code < 0xe000) ? 1 : 2;
  }
  return bytes;
}
