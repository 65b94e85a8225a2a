// @ts-check
/** The message box: prompts while nothing runs, steers or queues while something does, and stops it. */
import { byId } from './elements.js';

/** @typedef {import('../../../../client-sdk/index.js').Transcript} Transcript */

/**
 * @param {{ prompt(text: string): unknown, steer(text: string, apply: 'next_step' | 'now'): unknown, stop(): unknown }} deps
 */
export function createComposer({ prompt, steer, stop }) {
  /** @type {HTMLTextAreaElement} */
  const box = byId('prompt');
  const send = byId('send');
  const stopButton = byId('stop');
  const course = byId('course');
  const apply = byId('apply');
  const activity = byId('activity');
  let isRunning = false;

  const submit = () => {
    const text = box.value.trim();
    if (text === '') return;
    if (isRunning && apply.value !== 'queue') steer(text, apply.value);
    else prompt(text);
    box.value = '';
    grow();
  };
  const halt = () => {
    if (isRunning) stop();
    box.focus();
  };
  const grow = () => {
    box.style.height = 'auto';
    box.style.height = `${box.scrollHeight}px`;
  };
  const name = () => {
    const isSteer = isRunning && apply.value !== 'queue';
    box.placeholder = isSteer ? 'Steer the running answer' : isRunning ? 'Ask what comes next' : 'Ask something';
    send.textContent = isSteer ? 'Steer' : isRunning ? 'Queue' : 'Send';
  };

  byId('composer').addEventListener('submit', (/** @type {Event} */ event) => {
    event.preventDefault();
    submit();
  });
  box.addEventListener('keydown', (event) => {
    // Enter also ends the composition of a word in some languages; then it sends nothing.
    if (event.key !== 'Enter' || event.shiftKey || event.isComposing) return;
    event.preventDefault();
    submit();
  });
  box.addEventListener('input', grow);
  apply.addEventListener('change', name);
  stopButton.addEventListener('click', halt);
  addEventListener('keydown', (event) => {
    if (event.key === 'Escape' && isRunning) halt();
  });

  return {
    /** @param {Transcript} transcript */
    update({ turn, status }) {
      isRunning = turn !== undefined;
      stopButton.hidden = !isRunning;
      course.hidden = !isRunning;
      activity.hidden = !isRunning;
      const step = turn && turn.step > 1 ? `, step ${turn.step}` : '';
      activity.textContent =
        status === 'requires_action' ? `Waiting for an answer to a tool call${step}` : `Working${step}`;
      name();
    },
  };
}
