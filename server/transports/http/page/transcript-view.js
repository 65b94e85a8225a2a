// @ts-check
/** Draws a transcript: one element per item, kept as long as the item is there, changed only where the item changed. */
import { make } from './elements.js';
import { showText, toText } from './rich-text.js';
import { createToolCard } from './tool-card.js';

/** @typedef {import('../../../../client-sdk/index.js').Transcript} Transcript */
/** @typedef {import('../../../../client-sdk/index.js').TranscriptItem} Item */
/** @typedef {import('../../../../client-sdk/index.js').EndItem} EndItem */
/** @typedef {import('../../../../client-sdk/index.js').Decision} Decision */
/** @typedef {{ element: HTMLElement, update(item: any): void }} ItemView */

/** @type {Record<EndItem['stopReason'], string>} */
const ENDED = {
  end_turn: 'Done',
  max_tokens: 'Reached the token limit',
  stop_sequence: 'Done',
  refusal: 'Refused',
  max_steps: 'Reached the step limit',
  deadline: 'Reached the deadline',
  cancelled: 'Stopped',
  interrupted_by_message: 'Interrupted by the next message',
  budget_exhausted: 'The budget is spent',
  tool_timeout: 'A tool took too long',
  context_window_exceeded: 'The conversation no longer fits the model',
  error: 'Failed',
  node_lost: 'Failed',
};

/**
 * @param {HTMLElement} list
 * @param {(toolUseId: string, decision: Decision) => Promise<void>} decide
 */
export function createTranscriptView(list, decide) {
  /** @type {Map<string, { view: ItemView, item: Item, key: string }>} */
  let shown = new Map();

  /** @param {readonly Item[]} items */
  return (items) => {
    /** @type {typeof shown} */
    const next = new Map();
    let place = list.firstElementChild;
    for (const item of items) {
      const key = `${item.kind}:${item.id}`;
      const known = shown.get(key);
      const view = known?.view ?? createItemView(item, decide);
      if (known?.item !== item) view.update(item);
      next.set(key, { view, item, key });
      if (view.element === place) place = place.nextElementSibling;
      else list.insertBefore(view.element, place);
    }
    for (const { view, key } of shown.values()) if (!next.has(key)) view.element.remove();
    shown = next;
  };
}

/**
 * @param {Item} item
 * @param {(toolUseId: string, decision: Decision) => Promise<void>} decide
 * @returns {ItemView}
 */
function createItemView(item, decide) {
  switch (item.kind) {
    case 'user':
    case 'assistant':
      return createMessage(item.kind);
    case 'thinking':
      return createThinking();
    case 'tool':
      return createToolCard(decide);
    case 'end':
      return createLine('end', toEndLine);
    case 'error':
      return createLine('error', ({ message, code }) => `${message} (${code})`);
  }
}

/** @param {'user' | 'assistant'} kind */
function createMessage(kind) {
  const speaker = make('span', 'hidden');
  speaker.textContent = kind === 'user' ? 'You said:' : 'Answer:';
  const text = make('div', 'text');
  const element = make('li', `item ${kind}`, speaker, text);
  return {
    element,
    /** @param {any} item */
    update(item) {
      if (kind === 'user') element.dataset['steer'] = String(item.isSteer);
      else element.dataset['status'] = item.status;
      showText(text, toText(item.content));
    },
  };
}

function createThinking() {
  const summary = make('summary', '');
  const text = make('div', 'text');
  const element = make('li', 'item thinking', make('details', '', summary, text));
  return {
    element,
    /** @param {any} item */
    update(item) {
      summary.textContent = item.status === 'streaming' ? 'Thinking…' : 'Thought about it';
      showText(text, item.status === 'redacted' ? 'Not shown by the provider.' : item.text);
    },
  };
}

/**
 * @param {string} kind
 * @param {(item: any) => string} toLine
 */
function createLine(kind, toLine) {
  const element = make('li', `item ${kind}`);
  return {
    element,
    /** @param {any} item */
    update(item) {
      element.textContent = toLine(item);
    },
  };
}

/** @param {EndItem} item */
function toEndLine(item) {
  const { usage, costUsd, durationMs, estimated, error } = item;
  const tokens = `${estimated ? 'about ' : ''}${formatTokens(usage.input_tokens + usage.output_tokens)} tokens`;
  const parts = [ENDED[item.stopReason] ?? item.stopReason, ...(error ? [error.message] : []), tokens];
  if (costUsd > 0) parts.push(formatCost(costUsd));
  parts.push(`${(durationMs / 1000).toFixed(1)} s`);
  return parts.join(' · ');
}

/** @param {number} count */
export const formatTokens = (count) => count.toLocaleString('en');

/** @param {number} usd */
export const formatCost = (usd) => (usd === 0 ? '$0' : `$${usd.toFixed(usd < 0.1 ? 4 : 2)}`);
