// @ts-check
/** Tells a screen reader what matters, when it is whole: an answer, a question, an end; never single tokens. */
import { toText } from './rich-text.js';

/** @typedef {import('../../../../client-sdk/index.js').SessionEvent} SessionEvent */

/** @param {HTMLElement} region */
export function createAnnouncer(region) {
  /** @param {string} text */
  const say = (text) => {
    const line = document.createElement('p');
    line.textContent = text;
    region.append(line);
    while (region.childElementCount > 5) region.firstElementChild?.remove();
  };
  return {
    /** @param {SessionEvent} event */
    event(event) {
      switch (event.type) {
        case 'agent.message':
          return say(
            `${event.status === 'complete' ? 'Answer' : 'Unfinished answer'}: ${toText(/** @type {never} */ (event.content))}`,
          );
        case 'agent.tool_use':
        case 'agent.mcp_tool_use':
        case 'agent.custom_tool_use':
          return say(event.evaluated_permission === 'ask' ? `Approval needed: ${event.label}` : event.label);
        case 'turn.ended':
          if (event.partial) say(event.stop_reason === 'cancelled' ? 'Stopped.' : 'The turn ended early.');
          return;
        default:
          return;
      }
    },
  };
}
