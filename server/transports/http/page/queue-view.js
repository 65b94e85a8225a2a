// @ts-check
/** What comes next: queued messages with their positions, and steers that wait for the next step. */
import { make } from './elements.js';
import { toText } from './rich-text.js';

/** @typedef {import('../../../../client-sdk/index.js').QueuedItem} QueuedItem */
/** @typedef {import('../../../../client-sdk/index.js').SteerItem} SteerItem */

/**
 * @param {HTMLElement} panel
 * @param {HTMLElement} list
 * @param {(turnId: string) => unknown} cancel
 */
export function createQueueView(panel, list, cancel) {
  /** @type {readonly unknown[]} */
  let shown = [];

  /**
   * @param {readonly QueuedItem[]} queue
   * @param {readonly SteerItem[]} steers
   */
  return (queue, steers) => {
    const rows = [...steers, ...queue.filter(({ position }) => position > 0)];
    if (rows.length === shown.length && rows.every((row, at) => row === shown[at])) return;
    shown = rows;
    panel.hidden = rows.length === 0;
    list.replaceChildren(...rows.map((row) => toRow(row, cancel)));
  };
}

/**
 * @param {QueuedItem | SteerItem} row
 * @param {(turnId: string) => unknown} cancel
 */
function toRow(row, cancel) {
  const place = make('span', 'place');
  const said = make('span', 'said');
  said.textContent = toText(/** @type {never} */ (row.content));
  said.title = said.textContent;
  if ('steerId' in row) {
    place.textContent = 'steer';
    return make('li', '', place, said);
  }
  place.textContent = String(row.position);
  place.setAttribute('aria-label', `Position ${row.position}`);
  const remove = make('button', 'quiet');
  remove.type = 'button';
  remove.textContent = 'Remove';
  remove.setAttribute('aria-label', `Remove “${said.textContent}” from the queue`);
  remove.addEventListener('click', () => cancel(row.turnId));
  return make('li', '', place, said, remove);
}
