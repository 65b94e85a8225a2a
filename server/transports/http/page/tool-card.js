// @ts-check
/** A tool call on the screen: its label, progress, input and result, and the form of an approver. */
import { make } from './elements.js';
import { toText } from './rich-text.js';

/** @typedef {import('../../../../client-sdk/index.js').ToolItem} ToolItem */
/** @typedef {import('../../../../client-sdk/index.js').Decision} Decision */

/** @type {Record<ToolItem['status'], string>} */
const STATUS = {
  writing: 'Preparing',
  planned: 'Waiting to run',
  waiting_approval: 'Needs your approval',
  offered: 'Running in a client',
  running: 'Running',
  denied: 'Denied',
  done: 'Done',
};

/** @type {Record<string, string>} */
const OUTCOME = {
  ok: 'Done',
  error: 'Failed',
  denied: 'Denied',
  timeout: 'Timed out',
  cancelled: 'Cancelled',
  unknown: 'Outcome unknown',
};

/** @param {(toolUseId: string, decision: Decision) => Promise<void>} decide */
export function createToolCard(decide) {
  const label = make('span', 'tool-label');
  const name = make('code', 'tool-name');
  const status = make('span', 'tool-status');
  const head = make('div', 'tool-head', label, name, status);
  const bar = /** @type {HTMLProgressElement} */ (make('progress', ''));
  bar.max = 100;
  const message = make('span', '');
  const progress = make('div', 'tool-progress', bar, message);
  const input = createFold('Input');
  const result = createFold('Result');
  const element = make('li', 'item tool', head, progress, input.element, result.element);
  /** @type {HTMLElement | undefined} */
  let approval;

  /** @param {ToolItem} item */
  const update = (item) => {
    element.dataset['status'] = item.status;
    element.dataset['outcome'] = item.result?.outcome ?? '';
    label.textContent = item.label || item.name || 'A tool call';
    name.textContent = item.label && item.label !== item.name ? item.name : '';
    status.textContent = toStatus(item);
    progress.hidden = item.progress === undefined;
    bar.hidden = item.progress?.percent === undefined;
    if (item.progress?.percent !== undefined) bar.value = item.progress.percent;
    bar.setAttribute('aria-label', `Progress of ${label.textContent}`);
    message.textContent = item.progress?.message ?? '';
    const isAsked = item.status === 'waiting_approval';
    input.show(isAsked ? '' : item.status === 'writing' ? item.inputJson : toJson(item.input));
    result.show(item.result ? toText(/** @type {never} */ (item.result.content)) : '');
    if (isAsked && !approval) {
      approval = createApproval(item, decide);
      element.append(approval);
    } else if (!isAsked && approval) {
      approval.remove();
      approval = undefined;
    }
  };
  return { element, update };
}

/** @param {ToolItem} item */
function toStatus(item) {
  const { outcome, durationMs } = item.result ?? {};
  const word = outcome ? (OUTCOME[outcome] ?? outcome) : item.result?.isError ? 'Failed' : STATUS[item.status];
  return durationMs === undefined || durationMs < 100 ? word : `${word} in ${(durationMs / 1000).toFixed(1)} s`;
}

/** @param {string} title */
function createFold(title) {
  const summary = make('summary', '');
  summary.textContent = title;
  const text = make('pre', '');
  text.tabIndex = 0;
  const element = make('details', '', summary, text);
  return {
    element,
    /** @param {string} content */
    show(content) {
      element.hidden = content === '' || content === '{}';
      if (text.textContent !== content) text.textContent = content;
    },
  };
}

/** @param {unknown} value */
const toJson = (value) => JSON.stringify(value, null, 2);

/**
 * @param {ToolItem} item
 * @param {(toolUseId: string, decision: Decision) => Promise<void>} decide
 */
function createApproval(item, decide) {
  const given = toJson(item.input);
  const input = /** @type {HTMLTextAreaElement} */ (make('textarea', ''));
  input.value = given;
  input.rows = Math.min(10, given.split('\n').length + 1);
  input.spellcheck = false;
  const reason = /** @type {HTMLInputElement} */ (make('input', ''));
  reason.type = 'text';
  reason.placeholder = 'The model is told';
  const problem = make('p', 'problem');
  problem.setAttribute('role', 'alert');
  const approve = /** @type {HTMLButtonElement} */ (make('button', 'approve'));
  approve.type = 'button';
  approve.textContent = 'Approve';
  const deny = /** @type {HTMLButtonElement} */ (make('button', 'deny'));
  deny.type = 'button';
  deny.textContent = 'Deny';

  /** @param {() => Decision} toDecision */
  const send = async (toDecision) => {
    problem.textContent = '';
    try {
      const decision = toDecision();
      approve.disabled = true;
      deny.disabled = true;
      await decide(item.id, decision);
    } catch (error) {
      problem.textContent = error instanceof Error ? error.message : String(error);
      approve.disabled = false;
      deny.disabled = false;
    }
  };
  approve.addEventListener('click', () =>
    send(() =>
      input.value === given ? { result: 'allow' } : { result: 'allow', updated_input: toInput(input.value) },
    ),
  );
  deny.addEventListener('click', () =>
    send(() => ({ result: 'deny', ...(reason.value.trim() !== '' && { deny_message: reason.value.trim() }) })),
  );
  return make(
    'div',
    'approval',
    labelled('Input, as it will run', input),
    labelled('Reason, if you deny', reason),
    problem,
    make('div', 'approval-actions', approve, deny),
  );
}

/** @param {string} text */
function toInput(text) {
  /** @type {unknown} */
  let value;
  try {
    value = JSON.parse(text);
  } catch {
    throw new Error('The input is not valid JSON.');
  }
  if (typeof value !== 'object' || value === null || Array.isArray(value))
    throw new Error('The input must be a JSON object.');
  return /** @type {Record<string, unknown>} */ (value);
}

/**
 * @param {string} text
 * @param {HTMLElement} control
 */
function labelled(text, control) {
  const words = make('span', '');
  words.textContent = text;
  return make('label', '', words, control);
}
